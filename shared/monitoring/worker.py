"""The life of a worker's process, until an operator stops it."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from prometheus_client import CollectorRegistry

from shared.monitoring.monitor import monitored
from shared.settings.process import MonitorSettings


class WorkerMetrics(Protocol):
    """The metrics of a worker, and why it waits."""

    registry: CollectorRegistry

    async def why_waiting(self) -> str | None:
        """The reason to wait, for the monitor."""


_Settings = TypeVar("_Settings", bound=MonitorSettings)
_Metrics = TypeVar("_Metrics", bound=WorkerMetrics)
_Run = Callable[[_Settings, _Metrics, asyncio.Event], Awaitable[None]]


async def run_worker(
    settings: _Settings, metrics: _Metrics, run: _Run[_Settings, _Metrics], stop_seconds: float
) -> None:
    """Runs one process with its monitor. SIGTERM and SIGINT set the event that `run` gets; `run` then has
    `stop_seconds` to end. Raises what `run` raises."""

    async def work(stop: asyncio.Event) -> None:
        async with monitored(settings, metrics.registry, metrics.why_waiting):
            await run(settings, metrics, stop)

    await _until_stopped(work, stop_seconds)


async def _until_stopped(work: Callable[[asyncio.Event], Awaitable[None]], seconds: float) -> None:
    """Runs `work` with an event that SIGTERM and SIGINT set. `work` then has `seconds` to end, for a server
    that does not answer, before it is cancelled. Raises what `work` raises."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    try:
        async with asyncio.timeout(None) as patience:

            def end() -> None:
                if not stop.is_set():
                    stop.set()
                    patience.reschedule(loop.time() + seconds)

            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, end)
            await work(stop)
    except TimeoutError:
        if not patience.expired():
            raise
