"""The publisher service: leads or stands by.

The leader reads the oldest rows of the outbox, reads the present state of their calls, writes the states to
the topic, and then removes the rows. It does one after the other, so a state is never older than the one
published before. A crash repeats a part of this. In the transaction that removes the rows, it stores the
messages for webhooks; another service sends them.
"""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final
from uuid import uuid4

from aiokafka.errors import KafkaError, ProducerFenced

from services.publisher.calls_on_shards import outboxes_are_complete, overtaken, states_on_shards
from services.publisher.changed_calls import (
    CALLS_MAX,
    CallKey,
    Change,
    Changed,
    Overtaken,
    State,
    calls_after,
    changed_calls,
    forget,
    hold,
    states,
    waiting,
)
from services.publisher.leadership import Lease, lease, note_place, release, start_outbox
from services.publisher.metrics import Metrics, OfServer
from services.publisher.topic_writer import TopicWriter, record, topic_writer
from services.publisher.webhook_outbox import MessageOutbox, Reported, subscriptions
from shared.backoff import Backoff
from shared.database.connection import Connection
from shared.database.distributed import COORDINATOR, local_group, with_custom_plans
from shared.database.each_server import on_each_server
from shared.database.faults import PASSING_TYPES, outbox_needed
from shared.database.patient_connection import PatientConnection, database_outage
from shared.database.timeouts import OWN_LOCK_TIMEOUT
from shared.first_of import first_of
from shared.kafka.client import KafkaRefusal, address, fault, refusal
from shared.kafka.topic import wait_for_topic
from shared.outage import Outage
from shared.settings.publisher import PublisherSettings

logger = logging.getLogger("callfold.publisher")

CHANGES_CHANNEL: Final = "callfold_changes"
SESSION: Final = {"lock_timeout": OWN_LOCK_TIMEOUT, "jit": "off"}
WAITING_SECONDS: Final = 15
"""The interval at which the rows of the outbox are counted."""


async def run(settings: PublisherSettings, metrics: Metrics, stop: asyncio.Event) -> None:
    """Leads or stands by until `stop` is set. Waits for an unreachable database or broker. Raises the first
    permanent fault."""
    metrics.waiting = f"waits for the topic {settings.calls_topic}"
    await wait_for_topic(settings, settings.calls_topic, stop)

    async def on_server(of_server: PublisherSettings, server: str | None) -> None:
        with metrics.of_server() as its_metrics:
            await _Publisher(of_server, metrics, its_metrics, stop, server).run()

    await on_each_server(settings, on_server, stop)


async def _outbox_started(connection: Connection) -> bool:
    group = await local_group(connection)
    with outbox_needed():
        await start_outbox(connection, publishes_all=group in (None, COORDINATOR))
    return True


class _Publisher:
    """The publisher of one server."""

    def __init__(
        self,
        settings: PublisherSettings,
        metrics: Metrics,
        its_metrics: OfServer,
        stop: asyncio.Event,
        server: str | None,
    ) -> None:
        """`server` is the address of the server, or None for the one in the URL."""
        self._settings = settings
        self._metrics = metrics
        self._its_metrics = its_metrics
        self._at_server = "" if server is None else f" at server {server}"
        self._group: int | None = None
        """Of a distributed database."""
        self._all_may_follow = False
        self._stop = stop
        self._process = uuid4()
        self._counted_at = -math.inf
        self._reported = Reported()
        self._database = PatientConnection(
            settings, application_name="callfold-publisher", session=SESSION, once=_outbox_started
        )
        self._database_outage = database_outage(logger, server)
        self._kafka_outage = Outage(
            logger, "cannot publish to Kafka", "publishes to Kafka again", each_reason=True
        )
        self._kafka_backoff = Backoff()

    async def run(self) -> None:
        """Leads or stands by until the stop. Raises permanent faults."""
        try:
            while not self._stop.is_set():
                try:
                    await self._lead_or_stand_by(await self._database.opened())
                except (ProducerFenced, Overtaken):
                    logger.info("another publisher leads%s", self._at_server)
                    await self._kafka_backoff.wait(self._stop)
                except KafkaError as error:
                    await self._wait_for_kafka(error)
                except PASSING_TYPES as error:
                    self._its_metrics.waiting = self._database_outage.begin(self._database.failed(error))
                    await self._database.pause(self._stop)
        finally:
            self._database.close()

    async def _wait_for_kafka(self, error: KafkaError) -> None:
        """Pauses before the next attempt. Raises KafkaRefusal if waiting cannot help."""
        if refused := refusal(error):
            raise KafkaRefusal(f"Cannot use Kafka at {address(self._settings)}: {refused}.") from None
        self._its_metrics.waiting = f"waits for Kafka: {fault(error)}"
        self._kafka_outage.begin(fault(error))
        await self._kafka_backoff.wait(self._stop)

    async def _lead_or_stand_by(self, connection: Connection) -> None:
        """Leads, or waits once while another process leads. Raises asyncpg's errors and `KafkaError`."""
        await self._count_waiting(connection)
        if await self._lease(connection) is None:
            self._worked(leads=False)
            await first_of(self._stop, seconds=self._settings.publisher_lease_seconds / 5)
            return
        try:
            self._group = await local_group(connection)
            if self._group is not None:
                await with_custom_plans(connection)
            async with topic_writer(self._settings, self._group) as writer:
                logger.info("publishes the changes%s", self._at_server)
                await self._lead(connection, writer)
        finally:
            self._its_metrics.leads = False
            if not connection.is_closed():
                await release(connection, self._process)

    def _worked(self, *, leads: bool) -> None:
        """Notes that the process did its part: it published what waited, or stood by."""
        self._metrics.worked()
        self._its_metrics.worked(leads=leads)
        self._database.succeeded()
        self._database_outage.end()
        if leads:
            self._kafka_backoff.reset()
            self._kafka_outage.end()

    async def _lead(self, connection: Connection, writer: TopicWriter) -> None:
        """Publishes until the lease is lost or the process stops."""
        news = asyncio.Event()
        extends_seconds = self._settings.publisher_lease_seconds / 3

        def hear(*_: object) -> None:
            news.set()

        listens = self._settings.database_pooler == "none"
        if listens:
            await connection.add_listener(CHANGES_CHANNEL, hear)
        try:
            held, extended_at = await self._lease(connection), time.monotonic()
            while held is not None and not self._stop.is_set():
                news.clear()
                changed = await changed_calls(connection)
                if changed.row_ids:
                    await self._publish_changes(connection, writer, changed)
                self._worked(leads=True)
                if held.all_after is not None and await self._all_may_be_published(connection, held):
                    held = await self._publish_some_of_all(connection, writer, held, held.all_after)
                elif not changed.row_ids:
                    seconds = min(self._settings.publisher_interval_seconds, extends_seconds)
                    await first_of(self._stop, news, seconds=seconds)
                await self._count_waiting(connection)
                if held is None or time.monotonic() - extended_at > extends_seconds:
                    held, extended_at = await self._lease(connection), time.monotonic()
        finally:
            if listens and not connection.is_closed():
                await connection.remove_listener(CHANGES_CHANNEL, hear)

    async def _publish_changes(self, connection: Connection, writer: TopicWriter, changed: Changed) -> None:
        """Publishes the present states of changed calls. Stores their messages for webhooks in the
        transaction that removes the changes. Raises Overtaken."""
        subscribed = await subscriptions(connection, changed.calls)
        outbox = MessageOutbox(changed.calls, subscribed, self._reported)
        async for some in self._published(connection, writer, list(changed.calls), changed.calls):
            outbox.add(some)
            if outbox.is_full:
                async with connection.transaction():
                    await hold(connection, changed)
                    await outbox.store(connection)
        async with connection.transaction():
            await forget(connection, changed)
            await outbox.store(connection)
        outbox.note()
        self._metrics.told(outbox.deliveries)

    async def _published(
        self,
        connection: Connection,
        writer: TopicWriter,
        calls: Sequence[CallKey],
        changes: Mapping[CallKey, Change],
    ) -> AsyncIterator[Sequence[State]]:
        """The present states of these calls, in parts, each once Kafka has it."""
        while calls:
            some = await self._states(connection, calls, changes)
            await self._write(writer, some)
            yield some
            calls = calls[len(some) :]
            if self._group is not None:
                await self._publish_overtaken(connection, writer, some, changes)

    async def _publish_overtaken(
        self,
        connection: Connection,
        writer: TopicWriter,
        published: Sequence[State],
        changes: Mapping[CallKey, Change],
    ) -> None:
        """Publishes calls of other servers' shards again, until their published state is the present one."""
        while again := await overtaken(connection, published):
            newer: list[State] = []
            while len(newer) < len(again):
                some = await states_on_shards(connection, again[len(newer) :], changes)
                await self._write(writer, some)
                newer += some
            published = newer

    async def _states(
        self, connection: Connection, calls: Sequence[CallKey], changes: Mapping[CallKey, Change]
    ) -> Sequence[State]:
        if self._group is None:
            return await states(connection, calls, changes)
        return await states_on_shards(connection, calls, changes)

    async def _write(self, writer: TopicWriter, some: Sequence[State]) -> None:
        await writer.write([record(state) for state in some])
        deleted = sum(state.call is None for state in some)
        self._metrics.published(len(some) - deleted, deleted)

    async def _all_may_be_published(self, connection: Connection, held: Lease) -> bool:
        """Whether the outbox of each server has every later change."""
        if held.outbox_is_complete and self._group is not None and not self._all_may_follow:
            self._all_may_follow = await outboxes_are_complete(connection)
        return held.outbox_is_complete and (self._group is None or self._all_may_follow)

    async def _publish_some_of_all(
        self, connection: Connection, writer: TopicWriter, held: Lease, place: CallKey
    ) -> Lease | None:
        """Publishes the calls that follow `place`. Returns the lease with the new place; None if it must be
        read again."""
        calls = await calls_after(connection, place)
        async for _ in self._published(connection, writer, calls, {}):
            pass
        last = calls[-1] if len(calls) == CALLS_MAX else None
        if last is None:
            logger.info("has published all calls")
        if await note_place(connection, self._process, place, last):
            return held._replace(all_after=last)
        return None

    async def _lease(self, connection: Connection) -> Lease | None:
        return await lease(connection, self._process, self._settings.publisher_lease_seconds)

    async def _count_waiting(self, connection: Connection) -> None:
        if time.monotonic() - self._counted_at >= WAITING_SECONDS:
            self._counted_at = time.monotonic()
            self._its_metrics.wait(*await waiting(connection))
