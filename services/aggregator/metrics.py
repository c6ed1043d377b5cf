"""The aggregator's metrics, as docs/reference/metrics.md lists them."""

from prometheus_client import Counter, Gauge, Histogram

from shared.monitoring.metrics import BATCH_SECONDS, new_registry


class Metrics:
    """The metrics of one process; `waiting` says why it does not follow the deltas now, or is None."""

    def __init__(self) -> None:
        self.waiting: str | None = "connects to the database"
        registry = self.registry = new_registry("aggregator")
        self._deltas_applied = Counter(
            "callfold_aggregator_deltas_applied", "Deltas added to the counts", registry=registry
        )
        self._statement_seconds = Histogram(
            "callfold_aggregator_statement_seconds",
            "One application of deltas",
            buckets=BATCH_SECONDS,
            registry=registry,
        )
        self._deltas_waiting = Gauge(
            "callfold_aggregator_deltas_waiting",
            "Deltas not applied yet, counted up to 1,000,000 every 15 s",
            registry=registry,
        )
        self._oldest_delta_seconds = Gauge(
            "callfold_aggregator_oldest_delta_seconds",
            "How long the oldest of them has waited",
            registry=registry,
        )
        self._progress = Gauge(
            "callfold_aggregator_progress_timestamp_seconds",
            "When it last looked for deltas",
            registry=registry,
        )
        waiting = Gauge("callfold_aggregator_waiting", "1 while it waits for the database", registry=registry)
        waiting.set_function(lambda: self.waiting is not None)

    async def why_waiting(self) -> str | None:
        """As a monitor asks it."""
        return self.waiting

    def applied(self, deltas: int, seconds: float) -> None:
        """So many deltas were added to the counts, in one statement that took so long."""
        self._deltas_applied.inc(deltas)
        self._statement_seconds.observe(seconds)
        self._progress.set_to_current_time()

    def wait(self, deltas: int, oldest_seconds: float) -> None:
        """So many deltas wait, the oldest for so long."""
        self._deltas_waiting.set(deltas)
        self._oldest_delta_seconds.set(oldest_seconds)
