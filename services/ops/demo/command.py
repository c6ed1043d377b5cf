"""`callfold demo`: the whole pipeline with a simulated telephony system that publishes to it."""

from pathlib import Path
from typing import Annotated

import typer

from services.ops.terminal.failure import Failure
from services.ops.terminal.options import JsonOption
from services.ops.terminal.program import DEFAULT_STATE
from shared.extras import needs_extra


def demo(
    state: Annotated[
        Path,
        typer.Option(
            "--state", metavar="DIRECTORY", help="The directory for the stack's data, ports and logs."
        ),
    ] = DEFAULT_STATE,
    calls: Annotated[
        int, typer.Option(min=1, max=5_000_000, metavar="COUNT", help="The number of calls in the backlog.")
    ] = 20_000,
    days: Annotated[
        int,
        typer.Option(
            min=1, max=360, metavar="COUNT", help="The number of past days over which the backlog is spread."
        ),
    ] = 30,
    seed: Annotated[
        int,
        typer.Option(
            metavar="NUMBER",
            help="The seed of the traffic. The same seed makes the same traffic, with new organizations, ids "
            "and times in each run.",
        ),
    ] = 1,
    leave: Annotated[
        bool, typer.Option("--exit", help="Publish the backlog, check the results, print the proof and exit.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """See it work: start the stack, publish the calls of four organizations and watch the counts.

    Three producers deliver a backlog of calls: one publishes callfold's own events to Kafka. A SIP proxy
    publishes its reports of up to 500 calls to a topic of its own, and a vendor posts signed webhooks of up
    to 100 calls to the receiver. Deliveries come late, twice and out of order, and a few records are invalid.
    Then live traffic follows, a few calls per second, until Ctrl-C.

    Each run creates new organizations, so it can run again on the same state directory. The sources
    `demo-proxy` and `demo-vendor` stay. If the stack already runs, the demo uses it and leaves it running;
    otherwise it stops the stack at the end.

    With --exit, it waits until the pipeline has caught up and checks the results. Each event must be stored
    once, and each invalid record quarantined. Each call of the proxy and of the vendor must be as simulated.
    The API's stats and trends must equal the calls of all three. The proof of `verify` must hold. Then one
    more call must arrive in the topic of calls, on GET /calls/stream and at a webhook of the demo, each
    within 15 s. The call and the webhook are deleted again. With --json as well, the result is one line of
    JSON, with the calls of each producer.

    Exit status: 0 when it ran and, with --exit, all checks hold; 1 otherwise.
    """
    with needs_extra("embedded", "This command", Failure):
        from services.ops.demo.run import run
    run(state, calls, days, seed, leave=leave, as_json=as_json)
