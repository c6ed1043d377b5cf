"""`python -m services.aggregator`: one aggregator, until a signal or a permanent fault."""

import asyncio
import signal

import uvloop

from services.aggregator.app import run
from services.aggregator.metrics import Metrics
from shared.monitoring import logs
from shared.monitoring.monitor import monitored
from shared.settings.aggregator import AggregatorSettings
from shared.settings.base import exit_when_invalid

STOP_SECONDS = 5
"""How long a stop waits for a database that does not answer. A cancelled statement has changed nothing."""


async def main(settings: AggregatorSettings) -> None:
    loop, stop, metrics = asyncio.get_running_loop(), asyncio.Event(), Metrics()
    try:
        async with (
            asyncio.timeout(None) as patience,
            monitored(settings, metrics.registry, metrics.why_waiting),
        ):

            def end() -> None:
                if not stop.is_set():
                    stop.set()
                    patience.reschedule(loop.time() + STOP_SECONDS)

            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, end)
            await run(settings, metrics, stop)
    except TimeoutError:
        if not patience.expired():
            raise


if __name__ == "__main__":
    with exit_when_invalid():
        logs.configure("aggregator")
        read = AggregatorSettings()
    uvloop.run(main(read))
