"""`python -m services.publisher`: one publisher, until a signal or a permanent fault."""

import asyncio
import logging
import signal
import sys

import uvloop

from services.publisher.app import run
from services.publisher.metrics import Metrics
from shared.kafka.client import KafkaRefusal
from shared.monitoring import logs
from shared.monitoring.monitor import monitored
from shared.settings.base import exit_when_invalid
from shared.settings.publisher import PublisherSettings
from shared.upstream import UpstreamChanged

STOP_SECONDS = 5
"""How long a stop waits for a server that does not answer. The next process repeats what was not
acknowledged."""


async def main(settings: PublisherSettings) -> None:
    """Runs one process. Raises a permanent fault."""
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
        logs.configure("publisher")
        read = PublisherSettings()
    try:
        uvloop.run(main(read))
    except (KafkaRefusal, UpstreamChanged) as refusal:
        logging.getLogger("callfold.publisher").critical("ends: %s", refusal)
        sys.exit(1)
