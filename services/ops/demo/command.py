"""`callfold demo`: the whole pipeline with a simulated telephony system that publishes to it."""

from pathlib import Path
from typing import Annotated

import typer

from services.ops.terminal.failure import Failure
from services.ops.terminal.program import DEFAULT_STATE
from shared.extras import needs_extra


def demo(
    state: Annotated[
        Path,
        typer.Option("--state", metavar="DIRECTORY", help="Where the stack keeps its data, ports and logs."),
    ] = DEFAULT_STATE,
    calls: Annotated[
        int, typer.Option(min=1, max=5_000_000, metavar="COUNT", help="How many calls the backlog has.")
    ] = 20_000,
    days: Annotated[
        int, typer.Option(min=1, max=360, metavar="COUNT", help="Over how many days they are spread.")
    ] = 30,
    seed: Annotated[
        int,
        typer.Option(
            metavar="NUMBER",
            help="The same seed makes the same traffic; organizations, ids and times are new in each run.",
        ),
    ] = 1,
    leave: Annotated[
        bool, typer.Option("--exit", help="Publish, check all of it, print the proof, and leave.")
    ] = False,
) -> None:
    """See it work: start everything, publish the calls of four organizations, and watch the counts.

    A backlog of calls is published to Kafka as telephony systems would do it, with duplicates, late and
    out-of-order events and a few broken records; then live traffic, a few calls a second, until Ctrl-C.
    Each run makes new organizations, so it can run again on the same state directory. A stack that runs
    there already is used, and left running; otherwise all of it is stopped at the end.

    With --exit, it waits until the pipeline has caught up and checks everything: each event stored once, each
    broken record quarantined, the API's stats and trends equal to what was sent, and the proof of `verify`.

    Exit status: 0 when it did what it says and, with --exit, all checks hold; else 1.
    """
    with needs_extra("embedded", "This command", Failure):
        from services.ops.demo.run import run
    run(state, calls, days, seed, leave)
