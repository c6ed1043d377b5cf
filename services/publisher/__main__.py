"""`python -m services.publisher`: one publisher, until a signal or a permanent fault."""

import asyncio
import logging
import sys

import uvloop

from services.publisher.app import run
from services.publisher.metrics import Metrics
from shared.kafka.client import KafkaRefusal
from shared.monitoring import logs
from shared.monitoring.monitor import monitored
from shared.settings.base import exit_when_invalid
from shared.settings.publisher import PublisherSettings
from shared.until_stopped import until_stopped
from shared.upstream import UpstreamChanged

STOP_SECONDS = 5
"""How long a stop waits for a server that does not answer. The next process repeats what was not
acknowledged."""


async def main(settings: PublisherSettings) -> None:
    """Runs one process. Raises a permanent fault."""
    metrics = Metrics()

    async def work(stop: asyncio.Event) -> None:
        async with monitored(settings, metrics.registry, metrics.why_waiting):
            await run(settings, metrics, stop)

    await until_stopped(work, STOP_SECONDS)


if __name__ == "__main__":
    with exit_when_invalid():
        logs.configure("publisher")
        read = PublisherSettings()
    try:
        uvloop.run(main(read))
    except (KafkaRefusal, UpstreamChanged) as refusal:
        logging.getLogger("callfold.publisher").critical("ends: %s", refusal)
        sys.exit(1)
