"""The metrics of the webhooks service, as docs/reference/metrics.md lists them."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from shared.monitoring.metrics import new_registry

OUTCOMES: Final = ("delivered", "failed", "given_up")


class Metrics:
    """The metrics of one process. `waiting` is the reason why it cannot send, or None."""

    def __init__(self) -> None:
        self.waiting: str | None = "connects to the database"
        registry = self.registry = new_registry("webhooks")
        self._attempts = Counter(
            "callfold_webhooks_attempts",
            "Messages that were sent, by outcome: delivered, failed or given_up",
            ["outcome"],
            registry=registry,
        )
        for outcome in OUTCOMES:
            self._attempts.labels(outcome)
        self._seconds = Histogram(
            "callfold_webhooks_attempt_seconds",
            "Seconds from the start of an attempt to its answer or fault",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=registry,
        )
        self.in_flight = Gauge(
            "callfold_webhooks_in_flight", "Messages that are being sent", registry=registry
        )
        self.disabled = Counter(
            "callfold_webhooks_disabled", "Endpoints that callfold has disabled", registry=registry
        )
        self._progress = Gauge(
            "callfold_webhooks_progress_timestamp_seconds",
            "When the process last looked for due deliveries",
            registry=registry,
        )
        waiting = Gauge(
            "callfold_webhooks_waiting", "1 while the process waits for the database", registry=registry
        )
        waiting.set_function(lambda: self.waiting is not None)

    async def why_waiting(self) -> str | None:
        """The reason to wait, for the monitor."""
        return self.waiting

    def worked(self) -> None:
        """Notes that the process has looked for due deliveries."""
        self.waiting = None
        self._progress.set_to_current_time()

    def attempted(self, outcome: str, seconds: float) -> None:
        """Counts an attempt; `outcome` is one of `OUTCOMES`."""
        self._attempts.labels(outcome).inc()
        self._seconds.observe(seconds)
