"""Faults of the services: killed, stopped, frozen and resumed."""

import asyncio
import signal
from collections.abc import Awaitable, Callable

from tests.storm.schedule import Planned
from tests.storm.stage import Stage

Happen = Callable[[Stage, Planned], Awaitable[None]]


def kill(service: str) -> Happen:
    """Sends SIGKILL, and starts a new process after a while."""

    async def happen(stage: Stage, planned: Planned) -> None:
        replica = stage.services[f"{service} {planned.target}"]
        replica.kill()
        await asyncio.sleep(planned.lasts_seconds)
        replica.up()

    return happen


def stop(service: str) -> Happen:
    """Sends SIGTERM, on which the service must exit cleanly and in time. Starts a new process after a
    while."""

    async def happen(stage: Stage, planned: Planned) -> None:
        replica = stage.services[f"{service} {planned.target}"]
        await replica.stop()
        await asyncio.sleep(planned.lasts_seconds)
        replica.up()

    return happen


def freeze(service: str) -> Happen:
    """Sends SIGSTOP, later SIGCONT. Ingest, publishers and webhooks are frozen for longer than their
    session time-out or lease, so that they resume as zombies whose part has another owner."""

    async def happen(stage: Stage, planned: Planned) -> None:
        replica = stage.services[f"{service} {planned.target}"]
        replica.send(signal.SIGSTOP)
        await asyncio.sleep(planned.lasts_seconds)
        replica.send(signal.SIGCONT)

    return happen
