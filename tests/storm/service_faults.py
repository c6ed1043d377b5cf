"""What happens to the services: killed, stopped, frozen and woken."""

import asyncio
import signal
from collections.abc import Awaitable, Callable

from tests.storm.schedule import Planned
from tests.storm.stage import Stage

Happen = Callable[[Stage, Planned], Awaitable[None]]


def kill(service: str) -> Happen:
    """SIGKILL, and after a while a new process."""

    async def happen(stage: Stage, planned: Planned) -> None:
        replica = stage.services[f"{service} {planned.target}"]
        replica.kill()
        await asyncio.sleep(planned.lasts_seconds)
        replica.up()

    return happen


def stop(service: str) -> Happen:
    """SIGTERM, which must end it well and in time, and after a while a new process."""

    async def happen(stage: Stage, planned: Planned) -> None:
        replica = stage.services[f"{service} {planned.target}"]
        await replica.stop()
        await asyncio.sleep(planned.lasts_seconds)
        replica.up()

    return happen


def freeze(service: str) -> Happen:
    """SIGSTOP, and SIGCONT: of ingest for longer than its session lasts, so that it wakes as a zombie whose
    partitions have another owner."""

    async def happen(stage: Stage, planned: Planned) -> None:
        replica = stage.services[f"{service} {planned.target}"]
        replica.send(signal.SIGSTOP)
        await asyncio.sleep(planned.lasts_seconds)
        replica.send(signal.SIGCONT)

    return happen
