"""The receiver's metrics, as docs/reference/metrics.md lists them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from prometheus_client import Counter, Gauge, Histogram

from services.receiver.refusals import Reason
from shared.http.server import STATUSES
from shared.monitoring.metrics import new_registry

Outcome = Literal["accepted", "refused", "answered", "unknown", "unavailable", "too_large", "malformed"]
NO_SOURCE: Final = ""
"""The label of requests that name no known source."""
_REQUEST_SECONDS: Final = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


@dataclass(frozen=True)
class Standing:
    """The values that are read at each scrape."""

    kafka_is_up: Callable[[], bool]
    sources_are_read: Callable[[], bool]
    waiting_requests: Callable[[], int]
    body_bytes: Callable[[], int]


class Metrics:
    """The metrics of one process."""

    def __init__(self, standing: Standing) -> None:
        registry = self.registry = new_registry("receiver")
        self._requests = Counter(
            "callfold_receiver_requests",
            "Answered requests by the name of their source, which is empty for unknown ones, and by outcome",
            ["source", "outcome"],
            registry=registry,
        )
        self._refusals = Counter(
            "callfold_receiver_refusals",
            "Refused requests by the name of their source and by the class of the reason",
            ["source", "reason"],
            registry=registry,
        )
        self._seconds = Histogram(
            "callfold_receiver_request_seconds",
            "Seconds from a request's head to its answer",
            buckets=_REQUEST_SECONDS,
            registry=registry,
        )
        self._published = Counter(
            "callfold_receiver_published", "Records that Kafka has acknowledged", registry=registry
        )
        self._not_seen = Counter(
            "callfold_receiver_rejected",
            "Requests that the server rejected before they named a source, by error code",
            ["code"],
            registry=registry,
        )
        for code in STATUSES:
            self._not_seen.labels(code)
        for name, documentation, value in (
            ("kafka_up", "1 while Kafka can be used", standing.kafka_is_up),
            (
                "sources_up",
                "1 while the database can be read; the sources that were read before take requests anyway",
                standing.sources_are_read,
            ),
            ("waiting_requests", "Records that Kafka has not acknowledged yet", standing.waiting_requests),
            ("body_bytes", "Bytes of the bodies in memory", standing.body_bytes),
        ):
            gauge = Gauge(f"callfold_receiver_{name}", documentation, registry=registry)
            gauge.set_function(value)

    def answered(self, source: str, outcome: Outcome, seconds: float) -> None:
        """Counts an answered request."""
        self._requests.labels(source, outcome).inc()
        self._seconds.observe(seconds)

    def refused(self, source: str, reason: Reason) -> None:
        """Counts a refusal, by the class of its reason."""
        self._refusals.labels(source, reason).inc()

    def published(self) -> None:
        """Counts an acknowledged record."""
        self._published.inc()

    def rejected(self, code: str) -> None:
        """Counts a request that the server rejected, with a code of `STATUSES`."""
        self._not_seen.labels(code).inc()
