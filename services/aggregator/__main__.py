"""`python -m services.aggregator`: one aggregator, until a signal or a permanent fault."""

import uvloop

from services.aggregator.app import run
from services.aggregator.metrics import Metrics
from shared.monitoring import logs
from shared.monitoring.worker import run_worker
from shared.settings.aggregator import AggregatorSettings
from shared.settings.base import exit_when_invalid

STOP_SECONDS = 5
"""How long a stop waits for a database that does not answer. A cancelled statement has changed nothing."""


if __name__ == "__main__":
    with exit_when_invalid():
        logs.configure("aggregator")
        read = AggregatorSettings()
    uvloop.run(run_worker(read, Metrics(), run, STOP_SECONDS))
