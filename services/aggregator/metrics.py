"""The aggregator's metrics, as docs/reference/metrics.md lists them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from shared.monitoring.metrics import BATCH_SECONDS, new_registry

CONNECTS: Final = "connects to the database"


@dataclass
class OfServer:
    """The aggregator's work on one server. `waiting` is the reason why it does not apply deltas there now,
    or None. `looked_at` is a time in seconds since 1970."""

    _metrics: "Metrics"
    waiting: str | None = CONNECTS
    deltas: int = 0
    oldest_seconds: float = 0
    looked_at: float = 0

    def applied(self, deltas: int, seconds: float) -> None:
        """Counts the deltas that one statement added to the counts, and its duration."""
        self.looked_at = time.time()
        self._metrics.applied(deltas, seconds)

    def wait(self, deltas: int, oldest_seconds: float) -> None:
        """Sets the number of waiting deltas and the age of the oldest."""
        self.deltas, self.oldest_seconds = deltas, oldest_seconds


class Metrics:
    """The metrics of one process: those of all servers of a distributed database, or of its only one."""

    def __init__(self) -> None:
        self._servers: dict[str, OfServer] = {}
        registry = self.registry = new_registry("aggregator")
        self._deltas_applied = Counter(
            "callfold_aggregator_deltas_applied", "Deltas added to the counts", registry=registry
        )
        self._statement_seconds = Histogram(
            "callfold_aggregator_statement_seconds",
            "Time of one statement that applies deltas",
            buckets=BATCH_SECONDS,
            registry=registry,
        )
        deltas_waiting = Gauge(
            "callfold_aggregator_deltas_waiting",
            "Deltas that wait to be applied, counted every 15 s up to 1,000,000",
            registry=registry,
        )
        deltas_waiting.set_function(lambda: sum(one.deltas for one in self._servers.values()))
        oldest_delta = Gauge(
            "callfold_aggregator_oldest_delta_seconds", "Age of the oldest waiting delta", registry=registry
        )
        oldest_delta.set_function(
            lambda: max((one.oldest_seconds for one in self._servers.values()), default=0)
        )
        progress = Gauge(
            "callfold_aggregator_progress_timestamp_seconds",
            "When the aggregator last looked for deltas",
            registry=registry,
        )
        progress.set_function(lambda: min((one.looked_at for one in self._servers.values()), default=0))
        waiting = Gauge(
            "callfold_aggregator_waiting", "1 while the aggregator waits for the database", registry=registry
        )
        waiting.set_function(lambda: self.waiting is not None)

    @contextmanager
    def server(self, name: str) -> Iterator[OfServer]:
        """The metrics of one server, which count during the block."""
        self._servers[name] = OfServer(self)
        try:
            yield self._servers[name]
        finally:
            del self._servers[name]

    @property
    def waiting(self) -> str | None:
        """The reason why it does not apply deltas now, on one server at least; None if there is none."""
        if not self._servers:
            return CONNECTS
        return next((one.waiting for one in self._servers.values() if one.waiting is not None), None)

    async def why_waiting(self) -> str | None:
        """The reason to wait, for the monitor."""
        return self.waiting

    def applied(self, deltas: int, seconds: float) -> None:
        """Counts the deltas that one statement added to the counts, and its duration."""
        self._deltas_applied.inc(deltas)
        self._statement_seconds.observe(seconds)
