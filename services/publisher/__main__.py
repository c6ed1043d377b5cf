"""`python -m services.publisher`: one publisher, until a signal or a permanent fault."""

import logging
import sys

import uvloop

from services.publisher.app import run
from services.publisher.metrics import Metrics
from shared.kafka.client import KafkaRefusal
from shared.monitoring import logs
from shared.monitoring.worker import run_worker
from shared.settings.base import exit_when_invalid
from shared.settings.publisher import PublisherSettings
from shared.upstream import UpstreamChanged

STOP_SECONDS = 5
"""How long a stop waits for a server that does not answer. The next process repeats what was not
acknowledged."""


if __name__ == "__main__":
    with exit_when_invalid():
        logs.configure("publisher")
        read = PublisherSettings()
    try:
        uvloop.run(run_worker(read, Metrics(), run, STOP_SECONDS))
    except (KafkaRefusal, UpstreamChanged) as refusal:
        logging.getLogger("callfold.publisher").critical("ends: %s", refusal)
        sys.exit(1)
