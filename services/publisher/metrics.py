"""The publisher's metrics, as docs/reference/metrics.md lists them."""

from prometheus_client import Counter, Gauge

from shared.monitoring.metrics import new_registry


class Metrics:
    """The metrics of one process. `waiting` is the reason why it can neither publish nor stand by, or None.
    `leads` tells whether it publishes."""

    def __init__(self) -> None:
        self.waiting: str | None = "connects to the database"
        self.leads = False
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
        leads.set_function(lambda: self.leads)
        waiting = Gauge(
            "callfold_publisher_waiting",
            "1 while the publisher waits for the database or for Kafka",
            registry=registry,
        )
        waiting.set_function(lambda: self.waiting is not None)

    async def why_waiting(self) -> str | None:
        """The reason to wait, for the monitor."""
        return self.waiting

    def worked(self, *, leads: bool) -> None:
        """Notes that the process did its part: it published what waited, or stood by."""
        self.waiting = None
        self.leads = leads
        self._progress.set_to_current_time()

    def published(self, present: int, deleted: int) -> None:
        """Counts states that Kafka has stored."""
        self._calls.labels("present").inc(present)
        self._calls.labels("deleted").inc(deleted)

    def told(self, deliveries: int) -> None:
        """Counts deliveries that are stored for webhooks."""
        self._deliveries.inc(deliveries)

    def wait(self, rows: int, oldest_seconds: float) -> None:
        """Sets the number of rows in the outbox and the age of the oldest."""
        self._rows_waiting.set(rows)
        self._oldest_seconds.set(oldest_seconds)
