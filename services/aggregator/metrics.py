"""The aggregator's metrics, as docs/reference/metrics.md lists them."""

from prometheus_client import Counter, Gauge, Histogram

from shared.monitoring.metrics import BATCH_SECONDS, new_registry


class Metrics:
    """The metrics of one process. `waiting` is the reason why it does not apply deltas now, or None."""

    def __init__(self) -> None:
        self.waiting: str | None = "connects to the database"
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
        self._deltas_waiting = Gauge(
            "callfold_aggregator_deltas_waiting",
            "Deltas that wait to be applied, counted every 15 s up to 1,000,000",
            registry=registry,
        )
        self._oldest_delta_seconds = Gauge(
            "callfold_aggregator_oldest_delta_seconds",
            "Age of the oldest waiting delta",
            registry=registry,
        )
        self._progress = Gauge(
            "callfold_aggregator_progress_timestamp_seconds",
            "When the aggregator last looked for deltas",
            registry=registry,
        )
        waiting = Gauge(
            "callfold_aggregator_waiting", "1 while the aggregator waits for the database", registry=registry
        )
        waiting.set_function(lambda: self.waiting is not None)

    async def why_waiting(self) -> str | None:
        """The reason to wait, for the monitor."""
        return self.waiting

    def applied(self, deltas: int, seconds: float) -> None:
        """Counts the deltas that one statement added to the counts, and its duration."""
        self._deltas_applied.inc(deltas)
        self._statement_seconds.observe(seconds)
        self._progress.set_to_current_time()

    def wait(self, deltas: int, oldest_seconds: float) -> None:
        """Sets the number of waiting deltas and the age of the oldest."""
        self._deltas_waiting.set(deltas)
        self._oldest_delta_seconds.set(oldest_seconds)
