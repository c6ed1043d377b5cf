"""Ingest's metrics, as docs/reference/metrics.md lists them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.ingest.arrivals import Sorted
from services.ingest.lane import RETRY_REASONS
from shared.calls.event import READ_FIELDS, Status
from shared.monitoring.metrics import BATCH_SECONDS, GaugeAtScrape, new_registry
from shared.store.changes import Changes

_BATCH_RECORDS: Final = (1, 10, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000)
_DELAY_SECONDS: Final = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600, 21_600, 86_400)


@dataclass(frozen=True)
class Standing:
    """The values that are read at each scrape."""

    is_waiting: Callable[[], bool]
    partitions: Callable[[], int]
    lag: Callable[[], Mapping[tuple[str, ...], float]]
    """Records by topic and partition."""
    unowned_partitions: Callable[[], int]
    progress_at: Callable[[], float]
    """In seconds since 1970."""


class Metrics:
    """The metrics of one process."""

    def __init__(self, standing: Standing) -> None:
        registry = self.registry = new_registry("ingest")
        self._records = Counter(
            "callfold_ingest_records",
            "Records of stored batches, by outcome",
            ["outcome"],
            registry=registry,
        )
        self._calls = Counter(
            "callfold_ingest_calls",
            "New and changed calls, by the status that they reached",
            ["status"],
            registry=registry,
        )
        self._fields = Counter(
            "callfold_ingest_fields_left_out",
            "Fields without a clear meaning that were left out of the events stored with a batch",
            ["field"],
            registry=registry,
        )
        self._batch_records = Histogram(
            "callfold_ingest_batch_records", "Records of a batch", buckets=_BATCH_RECORDS, registry=registry
        )
        self._batch_seconds = Histogram(
            "callfold_ingest_batch_seconds",
            "Time to store a batch and commit it, including waits for the database",
            buckets=BATCH_SECONDS,
            registry=registry,
        )
        self._delay_seconds = Histogram(
            "callfold_ingest_delay_seconds",
            "Age of the oldest record of each batch at the commit, by its Kafka timestamp",
            buckets=_DELAY_SECONDS,
            registry=registry,
        )
        self._retries = Counter(
            "callfold_ingest_retries", "Retries of storing a batch, by reason", ["reason"], registry=registry
        )
        self._paused = Gauge(
            "callfold_ingest_paused",
            "1 after ingest paused because too many records were invalid, until it is restarted",
            registry=registry,
        )
        _show_standing(standing, registry)
        # Created at the start: a rate over a series that appears with its first count misses that count.
        for outcome in (
            "stored",
            "duplicate",
            "conflicting",
            "deleted",
            "quarantined",
            "no_value",
            "ignored",
        ):
            self._records.labels(outcome)
        for field in READ_FIELDS:
            self._fields.labels(field)
        for status in get_args(Status):
            self._calls.labels(status)
        for reason in RETRY_REASONS:
            self._retries.labels(reason)

    def retried(self, reason: str) -> None:
        """Counts a retry of a batch, for one of `RETRY_REASONS`."""
        self._retries.labels(reason).inc()

    def paused(self) -> None:
        """Notes that the breaker is open."""
        self._paused.set(1)

    def batch_stored(self, timestamps_ms: Sequence[int], found: Sorted, seconds: float, now: float) -> None:
        """Counts a batch of records with these timestamps, which was stored in `seconds`, including waits.
        `now` is in seconds since 1970."""
        self._batch_records.observe(len(timestamps_ms))
        self._batch_seconds.observe(seconds)
        self._delay_seconds.observe(max(now - min(timestamps_ms) / 1000, 0))
        self._records.labels("no_value").inc(found.no_value)
        self._records.labels("ignored").inc(found.ignored)

    def count(self, stored: Changes, bad_records: int) -> None:
        """Counts the outcomes of a committed transaction's records and calls."""
        self._records.labels("stored").inc(len(stored.events))
        self._records.labels("duplicate").inc(stored.duplicates)
        self._records.labels("conflicting").inc(len(stored.conflicting))
        self._records.labels("deleted").inc(len(stored.of_deleted_calls))
        self._records.labels("quarantined").inc(bad_records + len(stored.refused))
        for event in stored.events:
            for note in event.notes:
                self._fields.labels(note.field).inc()
        for status, calls in stored.statuses.items():
            self._calls.labels(status).inc(calls)


def _show_standing(standing: Standing, registry: CollectorRegistry) -> None:
    """Gauges that are read at each scrape."""
    waiting = Gauge(
        "callfold_ingest_waiting", "1 while ingest waits for the database or Kafka", registry=registry
    )
    waiting.set_function(standing.is_waiting)
    progress = Gauge(
        "callfold_ingest_progress_timestamp_seconds",
        "When ingest last polled Kafka or stored a batch: of its topics, the one that has waited longest",
        registry=registry,
    )
    progress.set_function(standing.progress_at)
    partitions = Gauge("callfold_ingest_partitions", "Partitions that this process reads", registry=registry)
    partitions.set_function(standing.partitions)
    unowned_partitions = Gauge(
        "callfold_ingest_unowned_partitions",
        "Partitions of the topics that no process of the group reads",
        registry=registry,
    )
    unowned_partitions.set_function(standing.unowned_partitions)
    GaugeAtScrape(
        "callfold_ingest_lag_records",
        "Records from the stored offset to the end of each partition that this process reads or reports",
        ("topic", "partition"),
        standing.lag,
        registry,
    )
