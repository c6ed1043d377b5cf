"""`python -m services.webhooks`: sends messages to webhooks, until a signal or a permanent fault."""

import uvloop

from services.webhooks.app import run
from services.webhooks.metrics import Metrics
from shared.monitoring import logs
from shared.monitoring.worker import run_worker
from shared.settings.base import exit_when_invalid
from shared.settings.webhooks import WebhooksSettings

STOP_SECONDS = 5
"""How long a stop may take, with the time for messages in flight and for the database."""


if __name__ == "__main__":
    with exit_when_invalid():
        logs.configure("webhooks")
        read = WebhooksSettings()
    uvloop.run(run_worker(read, Metrics(), run, STOP_SECONDS))
