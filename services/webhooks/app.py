"""The webhooks service: sends due deliveries until it is stopped.

One loop speaks with the database: it stores the outcomes of attempts, and reads due deliveries into a queue
for each endpoint. Attempts start from the queues. They wait for endpoints, and never for each other.
"""

import asyncio
import logging
import math
import random
import time
from collections import Counter, deque
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain
from typing import Final
from uuid import uuid4

from services.webhooks.due_deliveries import (
    DueDelivery,
    Endpoint,
    EndpointKey,
    Room,
    due_deliveries,
    due_endpoints,
    release_endpoints,
)
from services.webhooks.endpoint_client import Answer, EndpointClient, endpoint_client
from services.webhooks.metrics import Metrics
from services.webhooks.outcomes import Disabled, Outcome, store_outcomes
from services.webhooks.upkeep import disable_overdue, remove_old_messages
from shared.database.connection import Connection
from shared.database.distributed import is_distributed, with_custom_plans
from shared.database.faults import PASSING_TYPES
from shared.database.patient_connection import PatientConnection, database_outage
from shared.database.timeouts import OWN_LOCK_TIMEOUT
from shared.first_of import first_of
from shared.secret_box import SecretsLocked
from shared.settings.webhooks import WebhooksSettings
from shared.webhooks.retry_schedule import next_attempt
from shared.webhooks.signing import signed_headers

logger = logging.getLogger("callfold.webhooks")

CHANNEL: Final = "callfold_webhooks"
SESSION: Final = {"lock_timeout": OWN_LOCK_TIMEOUT, "jit": "off"}
BODY_BYTES_MAX: Final = 32 * 1024 * 1024
"""Bytes of the messages that are queued and sent. Each endpoint has a share, and may exceed it by one."""
ENDPOINTS_MAX: Final = 500
"""Endpoints of which messages are read at once."""
QUEUED_MAX: Final = 200
"""Messages of one endpoint that are queued and sent, so that none waits for the database in between."""
UPKEEP_SECONDS: Final = 60
FINISH_SECONDS: Final = 3
"""How long a stop waits for the answers to messages in flight. The others are sent again."""
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
        self._endpoints: dict[EndpointKey, Endpoint] = {}
        self._queues: dict[EndpointKey, deque[DueDelivery]] = {}
        self._attempts: dict[asyncio.Task[None], DueDelivery] = {}
        self._running: Counter[EndpointKey] = Counter()
        self._running_failing = 0
        self._outcomes: list[Outcome] = []
        self._fault: BaseException | None = None
        """A fault of an attempt that no rule expects. It ends the process."""
        self._news = asyncio.Event()
        self._kept_up_at = -math.inf
        self._locked: set[bytes] = set()
        """Encrypted secrets that no key of this process decrypts."""
        self._database = PatientConnection(settings, application_name="callfold-webhooks", session=SESSION)
        self._outage = database_outage(logger)

    async def run(self) -> None:
        """Sends until the stop. Raises permanent faults."""
        try:
            while not self._stop.is_set():
                try:
                    await self._send_due(await self._database.opened())
                except PASSING_TYPES as error:
                    self._metrics.waiting = self._outage.begin(self._database.failed(error))
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
        if await is_distributed(connection):
            await with_custom_plans(connection)
        if self._settings.database_pooler == "none":
            await connection.add_listener(CHANNEL, hear)
        while not self._stop.is_set():
            if self._fault is not None:
                raise RuntimeError("an attempt failed in a way that is not expected") from self._fault
            self._news.clear()
            await self._store_outcomes(connection)
            await self._fetch_due(connection)
            self._start_attempts()
            await self._keep_up(connection)
            self._metrics.worked()
            self._database.succeeded()
            self._outage.end()
            if not self._outcomes:
                await first_of(self._news, self._stop, seconds=self._settings.webhook_interval_seconds)
        self._queues.clear()
        if self._attempts:
            await asyncio.wait(self._attempts, timeout=FINISH_SECONDS)
        await self._store_outcomes(connection)
        await release_endpoints(connection, self._process)

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

    async def _fetch_due(self, connection: Connection) -> None:
        """Reads due deliveries into the queues of their endpoints."""
        lease_seconds = self._settings.webhook_lease_seconds
        found = await due_endpoints(connection, self._process, lease_seconds, self._locked)
        self._endpoints = {endpoint.key: endpoint for endpoint in found}
        # A queued delivery is also due. If not, its endpoint was disabled or removed, or has another sender.
        self._queues = {key: queue for key, queue in self._queues.items() if key in self._endpoints}
        held = [*self._attempts.values(), *chain.from_iterable(self._queues.values())]
        rooms = self._rooms(held)
        if not rooms:
            return
        known = {delivery.id for delivery in held} | {outcome.delivery_id for outcome in self._outcomes}
        for delivery in await due_deliveries(connection, rooms, known):
            self._queues.setdefault(delivery.endpoint, deque()).append(delivery)

    def _rooms(self, held: Sequence[DueDelivery]) -> dict[EndpointKey, Room]:
        """How much may be read of some endpoints. Each has an equal share of the memory, so that large
        messages of one do not keep others waiting."""
        held_messages = Counter(delivery.endpoint for delivery in held)
        held_bytes: Counter[EndpointKey] = Counter()
        for delivery in held:
            held_bytes[delivery.endpoint] += len(delivery.body)
        share = BODY_BYTES_MAX // max(1, len(self._endpoints.keys() | held_messages.keys()))
        rooms: dict[EndpointKey, Room] = {}
        for key in random.sample(list(self._endpoints), min(len(self._endpoints), ENDPOINTS_MAX)):
            most = 1 if self._endpoints[key].failing_since else QUEUED_MAX
            if held_messages[key] < most and held_bytes[key] < share:
                rooms[key] = Room(most - held_messages[key], share - held_bytes[key])
        return rooms

    def _start_attempts(self, only: EndpointKey | None = None) -> None:
        """Starts attempts from all queues, or from one, while there are connections.

        An endpoint that fails gets one message at a time, and all that fail may use half of the connections.
        Each other endpoint gets an equal share of half of the connections, but at least one."""
        keys = self._queues if only is None else self._queues.keys() & {only}
        for key in sorted(random.sample(list(keys), len(keys)), key=self._fails):
            queue = self._queues[key]
            while queue and self._may_start(key):
                delivery = queue.popleft()
                attempt = asyncio.create_task(self._attempt(self._endpoints[key], delivery))
                self._attempts[attempt] = delivery
                self._running[key] += 1
                self._running_failing += self._fails(key)
                attempt.add_done_callback(partial(self._ended, failed_before=self._fails(key)))
            if not queue:
                del self._queues[key]
        self._metrics.in_flight.set(len(self._attempts))

    def _may_start(self, key: EndpointKey) -> bool:
        connections = self._settings.webhook_connections
        if len(self._attempts) >= connections:
            return False
        if self._fails(key):
            return not self._running[key] and self._running_failing < connections // 2
        share = max(1, connections // (2 * max(1, len(self._running.keys() | self._queues.keys()))))
        return self._running[key] < min(share, self._settings.webhook_connections_per_endpoint)

    def _fails(self, key: EndpointKey) -> bool:
        return self._endpoints[key].failing_since is not None

    def _ended(self, attempt: asyncio.Task[None], *, failed_before: bool) -> None:
        key = self._attempts.pop(attempt).endpoint
        self._running[key] -= 1
        self._running_failing -= failed_before
        if not self._running[key]:
            del self._running[key]
        self._news.set()
        if attempt.cancelled():
            return
        self._fault = self._fault or attempt.exception()
        if self._fault is None:
            self._start_attempts(key)

    async def _attempt(self, endpoint: Endpoint, delivery: DueDelivery) -> None:
        """Sends one message, and notes the outcome."""
        now, started = datetime.now(UTC), time.monotonic()
        try:
            secrets = self._secrets(endpoint, now)
        except SecretsLocked as locked:
            if endpoint.secrets in self._locked:
                return
            self._locked.add(endpoint.secrets)
            self._queues.pop(endpoint.key, None)
            about = {"organization_id": str(endpoint.key[0]), "webhook_id": str(endpoint.key[1])}
            logger.error("cannot sign messages of the webhook %s: %s", endpoint.key[1], locked, extra=about)
            return
        headers = signed_headers(delivery.message_id, delivery.body, now, secrets)
        answer = await self._client.post(endpoint.url, delivery.body, headers)
        outcome = _outcome(delivery, now, answer, random.random())  # noqa: S311
        ended_as = "delivered" if outcome.delivered else "failed" if outcome.due_at else "given_up"
        self._metrics.attempted(ended_as, time.monotonic() - started)
        self._outcomes.append(outcome)
        if not outcome.delivered:
            # The rest stays due. The next look finds that the endpoint fails.
            self._queues.pop(endpoint.key, None)

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
            logger.warning("disabled the webhook %s: %s", endpoint[1], reason, extra=about)


def _outcome(delivery: DueDelivery, attempted_at: datetime, answer: Answer, jitter: float) -> Outcome:
    """The outcome of a delivery after this answer."""
    attempts = delivery.attempts + 1
    delivered = answer.error is None
    is_gone = answer.status == _GONE
    again = None
    if not delivered and not is_gone and not delivery.is_test:
        again = next_attempt(attempts, attempted_at, jitter, answer.retry_after)
    return Outcome(
        delivery.endpoint,
        delivery.id,
        attempts,
        attempted_at,
        delivered,
        again,
        delivery.due_at,
        answer.status,
        answer.body,
        answer.error,
        is_gone,
    )
