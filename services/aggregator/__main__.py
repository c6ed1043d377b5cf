"""`python -m services.aggregator`: one aggregator, until a signal or a permanent fault."""

import asyncio

import uvloop

from services.aggregator.app import run
from services.aggregator.metrics import Metrics
from shared.monitoring import logs
from shared.monitoring.monitor import monitored
from shared.settings.aggregator import AggregatorSettings
from shared.settings.base import exit_when_invalid
from shared.until_stopped import until_stopped

STOP_SECONDS = 5
"""How long a stop waits for a database that does not answer. A cancelled statement has changed nothing."""


async def main(settings: AggregatorSettings) -> None:
    """Runs one process. Raises a permanent fault."""
    metrics = Metrics()

    async def work(stop: asyncio.Event) -> None:
        async with monitored(settings, metrics.registry, metrics.why_waiting):
            await run(settings, metrics, stop)

    await until_stopped(work, STOP_SECONDS)


if __name__ == "__main__":
    with exit_when_invalid():
        logs.configure("aggregator")
        read = AggregatorSettings()
    uvloop.run(main(read))
