"""The publisher service: leads or stands by.

The leader reads the oldest rows of the outbox, reads the present state of their calls, writes the states to
the topic, and then removes the rows. It does one after the other, so a state is never older than the one
published before. A crash repeats a part of this.
"""

import asyncio
import logging
import math
import time
from collections.abc import Sequence
from typing import Final
from uuid import UUID, uuid4

from aiokafka.errors import KafkaError, ProducerFenced

from services.publisher.changed_calls import (
    CALLS_MAX,
    CallKey,
    calls_after,
    changed_calls,
    forget,
    states,
    waiting,
)
from services.publisher.leadership import Lease, lease, note_place, release, start_outbox
from services.publisher.metrics import Metrics
from services.publisher.topic_writer import TopicWriter, record, topic_writer
from shared.backoff import Backoff
from shared.database.connection import Connection
from shared.database.faults import PASSING_TYPES
from shared.database.patient_connection import PatientConnection
from shared.database.timeouts import OWN_LOCK_TIMEOUT
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
    database = PatientConnection(
        settings, application_name="callfold-publisher", session=SESSION, once=_outbox_started
    )
    database_outage = Outage(logger, "waits for the database", "the database answers again")
    kafka_outage = Outage(logger, "cannot publish to Kafka", "publishes to Kafka again", each_reason=True)
    backoff = Backoff()
    process = uuid4()
    try:
        while not stop.is_set():
            try:
                turn = Turn(settings, metrics, stop, process, await database.opened())
                try:
                    await turn.lead_or_stand_by(kafka_outage)
                finally:
                    metrics.leads = False
            except ProducerFenced:
                logger.info("another publisher leads")
                await backoff.wait(stop)
            except KafkaError as error:
                if refused := refusal(error):
                    raise KafkaRefusal(f"Cannot use Kafka at {address(settings)}: {refused}.") from None
                metrics.waiting = f"waits for Kafka: {fault(error)}"
                kafka_outage.begin(fault(error))
                await backoff.wait(stop)
            except PASSING_TYPES as error:
                reason = database.failed(error)
                database_outage.begin(reason)
                metrics.waiting = f"waits for the database: {reason}"
                await database.pause(stop)
            else:
                backoff.reset()
                database.succeeded()
                database_outage.end()
    finally:
        database.close()


async def _outbox_started(connection: Connection) -> bool:
    await start_outbox(connection)
    return True


class Turn:
    """One process on one connection, until a fault or the stop."""

    def __init__(
        self,
        settings: PublisherSettings,
        metrics: Metrics,
        stop: asyncio.Event,
        process: UUID,
        connection: Connection,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._stop = stop
        self._connection = connection
        self._process = process
        self._counted_at = -math.inf

    async def lead_or_stand_by(self, outage: Outage) -> None:
        """Leads, or waits once while another process leads. Raises asyncpg's errors and `KafkaError`."""
        if await self._lease() is None:
            self._metrics.looked(leads=False)
            await self._pause(self._settings.publisher_lease_seconds / 5)
            return
        try:
            async with topic_writer(self._settings) as writer:
                logger.info("publishes the changes")
                outage.end()
                await self._lead(writer)
        finally:
            if not self._connection.is_closed():
                await release(self._connection, self._process)

    async def _lead(self, writer: TopicWriter) -> None:
        """Publishes until the lease is lost or the process stops."""
        news = asyncio.Event()

        def hear(*_: object) -> None:
            news.set()

        listens = self._settings.database_pooler == "none"
        if listens:
            await self._connection.add_listener(CHANGES_CHANNEL, hear)
        try:
            held, extended_at = await self._lease(), time.monotonic()
            while held is not None and not self._stop.is_set():
                news.clear()
                changed = await changed_calls(self._connection)
                await self._publish(writer, changed.calls)
                if changed.row_ids:
                    await forget(self._connection, changed)
                if held.all_after is not None and held.outbox_is_complete:
                    held = await self._publish_some_of_all(writer, held, held.all_after)
                elif not changed.row_ids:
                    await self._pause(self._settings.publisher_interval_seconds, news)
                self._metrics.looked(leads=True)
                await self._count_waiting()
                if (
                    held is None
                    or time.monotonic() - extended_at > self._settings.publisher_lease_seconds / 3
                ):
                    held, extended_at = await self._lease(), time.monotonic()
        finally:
            if listens and not self._connection.is_closed():
                await self._connection.remove_listener(CHANGES_CHANNEL, hear)

    async def _publish(self, writer: TopicWriter, calls: Sequence[CallKey]) -> None:
        """Publishes the present states of these calls."""
        while calls:
            some = await states(self._connection, calls)
            await writer.write([record(state) for state in some])
            deleted = sum(state.call is None for state in some)
            self._metrics.published(len(some) - deleted, deleted)
            calls = calls[len(some) :]

    async def _publish_some_of_all(self, writer: TopicWriter, held: Lease, place: CallKey) -> Lease | None:
        """Publishes the calls that follow `place`. Returns the lease with the new place; None if it must be
        read again."""
        calls = await calls_after(self._connection, place)
        await self._publish(writer, calls)
        last = calls[-1] if len(calls) == CALLS_MAX else None
        if last is None:
            logger.info("has published all calls")
        if await note_place(self._connection, self._process, place, last):
            return held._replace(all_after=last)
        return None

    async def _lease(self) -> Lease | None:
        return await lease(self._connection, self._process, self._settings.publisher_lease_seconds)

    async def _count_waiting(self) -> None:
        if time.monotonic() - self._counted_at >= WAITING_SECONDS:
            self._counted_at = time.monotonic()
            self._metrics.wait(*await waiting(self._connection))

    async def _pause(self, seconds: float, news: asyncio.Event | None = None) -> None:
        """Waits until there are news, the process stops, or the time is over."""
        events = [asyncio.ensure_future(event.wait()) for event in (self._stop, news) if event is not None]
        await asyncio.wait(events, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for event in events:
            event.cancel()
