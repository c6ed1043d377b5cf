"""The publisher's metrics, as docs/reference/metrics.md lists them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client import Counter, Gauge

from shared.monitoring.metrics import new_registry


@dataclass
class OfServer:
    """One process on one server. `waiting` is the reason why it can neither publish nor stand by,
    or None. `leads` tells whether it publishes."""

    waiting: str | None = "connects to the database"
    leads: bool = False
    rows_waiting: int = 0
    oldest_seconds: float = 0

    def worked(self, *, leads: bool) -> None:
        """Notes that the process did its part: it published what waited, or stood by."""
        self.waiting = None
        self.leads = leads

    def wait(self, rows: int, oldest_seconds: float) -> None:
        """Notes the number of rows in the outbox and the age of the oldest."""
        self.rows_waiting = rows
        self.oldest_seconds = oldest_seconds


class Metrics:
    """The metrics of one process, over all servers of its database."""

    def __init__(self) -> None:
        self.waiting: str | None = "connects to the database"
        self._servers: list[OfServer] = []
        registry = self.registry = new_registry("publisher")
        self._calls = Counter(
            "callfold_publisher_calls",
            "States of calls that Kafka has stored, by kind: present or deleted",
            ["kind"],
            registry=registry,
        )
        for kind in ("present", "deleted"):
            self._calls.labels(kind)
        self._deliveries = Counter(
            "callfold_publisher_webhook_deliveries", "Deliveries stored for webhooks", registry=registry
        )
        self._rows_waiting = Gauge(
            "callfold_publisher_changes_waiting",
            "Rows of the outbox, counted every 15 s up to 1,000,000",
            registry=registry,
        )
        self._oldest_seconds = Gauge(
            "callfold_publisher_oldest_change_seconds",
            "Age of the oldest row of the outbox",
            registry=registry,
        )
        self._progress = Gauge(
            "callfold_publisher_progress_timestamp_seconds",
            "When the publisher last looked for changes, or for the leader",
            registry=registry,
        )
        leads = Gauge("callfold_publisher_leads", "1 while this process publishes", registry=registry)
        leads.set_function(lambda: any(one.leads for one in self._servers))
        waiting = Gauge(
            "callfold_publisher_waiting",
            "1 while the publisher waits for the database or for Kafka",
            registry=registry,
        )
        waiting.set_function(lambda: self._why_waiting() is not None)
        self._rows_waiting.set_function(lambda: sum(one.rows_waiting for one in self._servers))
        self._oldest_seconds.set_function(
            lambda: max((one.oldest_seconds for one in self._servers), default=0)
        )

    @contextmanager
    def of_server(self) -> Iterator[OfServer]:
        """Counts a server for the duration of the block."""
        server = OfServer()
        self._servers.append(server)
        try:
            yield server
        finally:
            self._servers.remove(server)

    async def why_waiting(self) -> str | None:
        """The reason to wait, for the monitor."""
        return self._why_waiting()

    def _why_waiting(self) -> str | None:
        if not self._servers:
            return self.waiting
        return next((one.waiting for one in self._servers if one.waiting is not None), None)

    def worked(self) -> None:
        """Notes that the process did its part on one server."""
        self._progress.set_to_current_time()

    def published(self, present: int, deleted: int) -> None:
        """Counts states that Kafka has stored."""
        self._calls.labels("present").inc(present)
        self._calls.labels("deleted").inc(deleted)

    def told(self, deliveries: int) -> None:
        """Counts deliveries that are stored for webhooks."""
        self._deliveries.inc(deliveries)
