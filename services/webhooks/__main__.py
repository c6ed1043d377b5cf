"""`python -m services.webhooks`: sends messages to webhooks, until a signal or a permanent fault."""

import asyncio

import uvloop

from services.webhooks.app import run
from services.webhooks.metrics import Metrics
from shared.monitoring import logs
from shared.monitoring.monitor import monitored
from shared.settings.base import exit_when_invalid
from shared.settings.webhooks import WebhooksSettings
from shared.until_stopped import until_stopped

STOP_SECONDS = 5
"""How long a stop may take, with the time for messages in flight and for the database."""


async def main(settings: WebhooksSettings) -> None:
    """Runs one process. Raises a permanent fault."""
    metrics = Metrics()

    async def work(stop: asyncio.Event) -> None:
        async with monitored(settings, metrics.registry, metrics.why_waiting):
            await run(settings, metrics, stop)

    await until_stopped(work, STOP_SECONDS)


if __name__ == "__main__":
    with exit_when_invalid():
        logs.configure("webhooks")
        read = WebhooksSettings()
    uvloop.run(main(read))
