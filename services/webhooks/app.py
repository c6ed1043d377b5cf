"""The webhooks service: sends due deliveries until it is stopped.

One loop speaks with the database: it stores the outcomes of attempts, looks for due deliveries, and starts an
attempt for each. The attempts wait for endpoints, and never for each other.
"""

import asyncio
import logging
import math
import random
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import uuid4

from services.webhooks.due_deliveries import (
    DueDelivery,
    Endpoint,
    EndpointKey,
    due_deliveries,
    due_endpoints,
    release_endpoints,
)
from services.webhooks.endpoint_client import Answer, EndpointClient, endpoint_client
from services.webhooks.metrics import Metrics
from services.webhooks.outcomes import Disabled, Outcome, store_outcomes
from services.webhooks.upkeep import disable_overdue, remove_old_messages
from shared.database.connection import Connection
from shared.database.faults import PASSING_TYPES
from shared.database.patient_connection import PatientConnection
from shared.database.timeouts import OWN_LOCK_TIMEOUT
from shared.outage import Outage
from shared.secret_box import SecretsLocked
from shared.settings.webhooks import WebhooksSettings
from shared.webhooks.retry_schedule import next_attempt
from shared.webhooks.signing import signed_headers

logger = logging.getLogger("callfold.webhooks")

CHANNEL: Final = "callfold_webhooks"
SESSION: Final = {"lock_timeout": OWN_LOCK_TIMEOUT, "jit": "off"}
BODY_BYTES_MAX: Final = 32 * 1024 * 1024
"""Bytes of the messages that are being sent; a single one may be longer."""
UPKEEP_SECONDS: Final = 60
_GONE: Final = 410


async def run(settings: WebhooksSettings, metrics: Metrics, stop: asyncio.Event) -> None:
    """Sends until `stop` is set. Waits for an unreachable database. Raises the first permanent fault."""
    async with endpoint_client(settings.webhook_networks, settings.webhook_timeout_seconds) as client:
        await _Sender(settings, metrics, client, stop).run()


class _Sender:
    """One process of the service."""

    def __init__(
        self, settings: WebhooksSettings, metrics: Metrics, client: EndpointClient, stop: asyncio.Event
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._client = client
        self._stop = stop
        self._process = uuid4()
        self._box = settings.secret_box()
        self._attempts: dict[asyncio.Task[None], DueDelivery] = {}
        self._outcomes: list[Outcome] = []
        self._news = asyncio.Event()
        self._kept_up_at = -math.inf
        self._locked: set[EndpointKey] = set()
        self._database = PatientConnection(settings, application_name="callfold-webhooks", session=SESSION)
        self._outage = Outage(logger, "waits for the database", "the database answers again")

    async def run(self) -> None:
        """Sends until the stop. Raises permanent faults."""
        try:
            while not self._stop.is_set():
                try:
                    await self._send_due(await self._database.opened())
                except PASSING_TYPES as error:
                    reason = self._database.failed(error)
                    self._outage.begin(reason)
                    self._metrics.waiting = f"waits for the database: {reason}"
                    await self._database.pause(self._stop)
        finally:
            for attempt in self._attempts:
                attempt.cancel()
            await asyncio.gather(*self._attempts, return_exceptions=True)
            self._database.close()

    async def _send_due(self, connection: Connection) -> None:
        """Sends until the stop. Then waits for the attempts in flight, and releases the endpoints."""

        def hear(*_: object) -> None:
            self._news.set()

        logger.info("sends the messages for webhooks")
        if self._settings.database_pooler == "none":
            await connection.add_listener(CHANNEL, hear)
        while not self._stop.is_set():
            self._news.clear()
            await self._store_outcomes(connection)
            await self._start_attempts(connection)
            await self._keep_up(connection)
            self._metrics.worked()
            self._database.succeeded()
            self._outage.end()
            if not self._outcomes:
                await self._pause()
        if self._attempts:
            await asyncio.wait(self._attempts)
        await self._store_outcomes(connection)
        await release_endpoints(connection, self._process)

    async def _pause(self) -> None:
        """Waits for news, the stop, or the next check."""
        events = [asyncio.ensure_future(event.wait()) for event in (self._news, self._stop)]
        seconds = self._settings.webhook_interval_seconds
        await asyncio.wait(events, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for event in events:
            event.cancel()

    async def _store_outcomes(self, connection: Connection) -> None:
        """Stores what has become of attempts. Keeps it if the database fails."""
        outcomes, self._outcomes = self._outcomes, []
        if not outcomes:
            return
        try:
            self._note(await store_outcomes(connection, outcomes))
        except BaseException:
            self._outcomes = outcomes + self._outcomes
            raise

    async def _start_attempts(self, connection: Connection) -> None:
        """Starts an attempt for each due delivery for which there is a connection."""
        endpoints = {
            endpoint.key: endpoint
            for endpoint in await due_endpoints(
                connection, self._process, self._settings.webhook_lease_seconds
            )
            if endpoint.key not in self._locked
        }
        sending = {delivery.id for delivery in self._attempts.values()}
        in_flight = sending | {outcome.delivery_id for outcome in self._outcomes}
        slots = self._slots(list(endpoints.values()))
        free_bytes = BODY_BYTES_MAX - sum(len(delivery.body) for delivery in self._attempts.values())
        if not slots or free_bytes <= 0:
            return
        for delivery in await due_deliveries(connection, slots, in_flight, free_bytes):
            attempt = asyncio.create_task(self._attempt(endpoints[delivery.endpoint], delivery))
            self._attempts[attempt] = delivery
            attempt.add_done_callback(self._ended)
        self._metrics.in_flight.set(len(self._attempts))

    def _slots(self, endpoints: list[Endpoint]) -> dict[EndpointKey, int]:
        """How many messages may be started for each endpoint. An endpoint that fails gets one at a time. All
        together may use half of the connections, so that endpoints that become due later find some."""
        settings = self._settings
        free = settings.webhook_connections - len(self._attempts)
        used = Counter(delivery.endpoint for delivery in self._attempts.values())
        active = len(used.keys() | {endpoint.key for endpoint in endpoints})
        share = max(1, settings.webhook_connections // (2 * max(1, active)))
        random.shuffle(endpoints)
        slots: dict[EndpointKey, int] = {}
        for endpoint in endpoints:
            most = 1 if endpoint.failing_since else min(share, settings.webhook_connections_per_endpoint)
            if (given := min(most - used[endpoint.key], free)) > 0:
                slots[endpoint.key] = given
                free -= given
        return slots

    def _ended(self, attempt: asyncio.Task[None]) -> None:
        del self._attempts[attempt]
        self._metrics.in_flight.set(len(self._attempts))
        self._news.set()
        if not attempt.cancelled():
            attempt.result()

    async def _attempt(self, endpoint: Endpoint, delivery: DueDelivery) -> None:
        """Sends one message, and notes the outcome."""
        now, started = datetime.now(UTC), time.monotonic()
        try:
            secrets = self._secrets(endpoint, now)
        except SecretsLocked as locked:
            self._locked.add(endpoint.key)
            logger.error("cannot sign messages: %s", locked, extra={"webhook_id": str(endpoint.key[1])})
            return
        headers = signed_headers(delivery.message_id, delivery.body, now, secrets)
        answer = await self._client.post(endpoint.url, delivery.body, headers)
        outcome = _outcome(delivery, now, answer, random.random())  # noqa: S311
        ended_as = "delivered" if outcome.delivered else "failed" if outcome.due_at else "given_up"
        self._metrics.attempted(ended_as, time.monotonic() - started)
        self._outcomes.append(outcome)

    def _secrets(self, endpoint: Endpoint, now: datetime) -> Sequence[str]:
        """The secrets that sign messages now. Raises SecretsLocked."""
        stored = self._box.decrypted(endpoint.secrets)
        names = ["current"]
        if endpoint.previous_secret_until is not None and endpoint.previous_secret_until > now:
            names.append("previous")
        return [stored[name] for name in names]

    async def _keep_up(self, connection: Connection) -> None:
        """Removes old messages and disables endpoints with too many deliveries, at intervals."""
        if time.monotonic() - self._kept_up_at < UPKEEP_SECONDS:
            return
        retention = timedelta(days=self._settings.webhook_retention_days)
        if not await remove_old_messages(connection, retention):
            self._kept_up_at = time.monotonic()
        self._note(await disable_overdue(connection, self._settings.webhook_waiting_deliveries))

    def _note(self, disabled: Sequence[Disabled]) -> None:
        for endpoint, reason in disabled:
            self._metrics.disabled.inc()
            about = {"organization_id": str(endpoint[0]), "webhook_id": str(endpoint[1])}
            logger.warning("disabled a webhook: %s", reason, extra=about)


def _outcome(delivery: DueDelivery, attempted_at: datetime, answer: Answer, jitter: float) -> Outcome:
    """The outcome of a delivery after this answer."""
    attempts = delivery.attempts + 1
    delivered = answer.error is None
    is_gone = answer.status == _GONE
    again = None
    if not delivered and not is_gone:
        again = next_attempt(attempts, attempted_at, jitter, answer.retry_after)
    return Outcome(
        delivery.endpoint,
        delivery.id,
        attempts,
        attempted_at,
        delivered,
        again,
        answer.status,
        answer.body,
        answer.error,
        is_gone,
    )
