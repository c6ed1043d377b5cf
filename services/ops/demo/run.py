"""The run of the demo: starts the stack, publishes traffic, and stops the stack unless it already ran."""

import asyncio
import signal
from collections.abc import Coroutine
from pathlib import Path
from types import FrameType
from typing import Final

import typer

from services.ops.demo.check import check_pipeline
from services.ops.demo.screen import Client, print_addresses, show
from services.ops.demo.traffic import prepare, publish_backlog, publish_live_traffic
from services.ops.embedded import stack
from services.ops.embedded.state import State, load
from services.ops.terminal.environment import settings_from_environment
from services.ops.terminal.failure import Failure
from services.ops.terminal.program import suggestion
from shared.settings.kafka import KafkaSettings

ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(state: Path, calls: int, days: int, seed: int, *, leave: bool, as_json: bool) -> None:
    """Runs `callfold demo` with its options. Raises Failure when it cannot run or a check fails."""
    if as_json and not leave:
        raise Failure("--json needs --exit: the live screen has no JSON.")
    directory = state.resolve()
    used = _runs(directory)
    started = _start(directory)
    try:
        if leave:
            work = check_pipeline(started, seed, calls, days, as_json=as_json)
        else:
            work = _watch(started, seed, calls, days)
        finished = _run_until_interrupted(work)
    finally:
        if not used:
            stack.stop(started)
    if leave and not finished:
        raise Failure("Interrupted before all checks were complete.")
    again = suggestion("up", "--detach", state=state)
    ended = f"Stopped. The data stays in {state}: {again} starts the stack again with it."
    typer.echo("The stack is still running." if used else ended, err=True)


async def _watch(started: State, seed: int, calls: int, days: int) -> None:
    """Publishes the backlog, then live traffic, and shows the API's answers until it is cancelled."""
    demo = await prepare(started, settings_from_environment(KafkaSettings).topic)
    print_addresses(started, demo.topic, demo.customers)
    await publish_backlog(demo, seed, calls, days)
    client = Client(started.api_url)
    tasks = [
        asyncio.create_task(publish_live_traffic(demo, seed)),
        asyncio.create_task(show(client, demo.customers, demo.producers)),
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
    """Raises Failure when another command or a fault stops the stack."""
    while True:
        await asyncio.sleep(1)
        if not stack.running(started):
            raise Failure(f"The stack in {started.directory} was stopped by another command or by a fault.")


def _run_until_interrupted(work: Coroutine[None, None, None]) -> bool:
    """Runs the work, which a signal cancels. Returns whether it finished. Signals are blocked from then on,
    so that the stack can be stopped without interruption."""

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
    """Starts the stack unless it runs. Raises Failure, also when a signal arrives before the stack is
    ready."""
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
