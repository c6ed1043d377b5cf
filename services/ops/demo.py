"""`callfold demo`: the whole pipeline with a simulated telephony system that publishes to it."""

import asyncio
import signal
from collections.abc import Coroutine
from pathlib import Path
from types import FrameType
from typing import Annotated, Final

import typer

from services.ops.addresses import settings_from_environment
from services.ops.demo_check import check_pipeline
from services.ops.demo_screen import Client, print_addresses, show
from services.ops.demo_traffic import make_customers, publish_backlog, publish_live_traffic
from services.ops.embedded import stack
from services.ops.embedded.state import State, load
from services.ops.failure import Failure
from services.ops.program import DEFAULT_STATE, suggestion
from shared.settings import KafkaSettings

ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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
    directory = state.resolve()
    used = _runs(directory)
    started = _start(directory)
    try:
        work = check_pipeline if leave else _watch
        finished = _run_until_interrupted(work(started, seed, calls, days))
    finally:
        if not used:
            stack.stop(started)
    if leave and not finished:
        raise Failure("Interrupted before all was checked.")
    again = suggestion("up", "--detach", state=state)
    ended = f"Ended. The data stays in {state}: {again} goes on with it."
    typer.echo("The stack runs on." if used else ended, err=True)


async def _watch(started: State, seed: int, calls: int, days: int) -> None:
    """Backlog, then live traffic and what the API says of it, until it is cancelled."""
    topic = settings_from_environment(KafkaSettings).topic
    customers = await make_customers(started)
    print_addresses(started.api_url, started.kafka, topic, customers)
    await publish_backlog(started, topic, customers, seed, calls, days)
    client = Client(started.api_url)
    tasks = [
        asyncio.create_task(publish_live_traffic(started, topic, customers, seed)),
        asyncio.create_task(show(client, customers)),
        asyncio.create_task(_fail_when_gone(started)),
    ]
    try:
        (first, *_), _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        first.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await client.close()


async def _fail_when_gone(started: State) -> None:
    """Raises Failure when another command, or a fault, ends the stack."""
    while True:
        await asyncio.sleep(1)
        if not stack.running(started):
            raise Failure(f"The stack in {started.directory} was ended by another command, or by a fault.")


def _run_until_interrupted(work: Coroutine[None, None, None]) -> bool:
    """Does the work, and whether it came to its end; a signal ends it before. From then on signals wait:
    what has to be stopped is stopped."""

    async def main() -> bool:
        task = asyncio.create_task(work)
        for number in ENDING:
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        try:
            await task
        except asyncio.CancelledError:
            return False
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        return True

    return asyncio.run(main())


def _start(directory: Path) -> State:
    """Starts the stack, or makes sure of it. Raises Failure, also when a signal comes before it is ready."""
    for number in ENDING:
        signal.signal(number, _interrupt)
    try:
        return stack.start(directory)
    except KeyboardInterrupt:
        raise Failure("Interrupted before the stack was ready.") from None


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _runs(directory: Path) -> bool:
    return (directory / "stack.json").exists() and stack.running(load(directory))
