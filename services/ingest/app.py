"""The ingest service: batches of records from Kafka into the store, offsets committed after the database.

The order is the whole of exactness: parse, store in one transaction, and only then commit the offsets of
the batch, partition by partition. A crash anywhere leaves all of a batch or none of it, and redelivery is
harmless. A database or broker that is away is waited for; nothing is skipped.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka import ConsumerRecord as Record
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker, KafkaMessage

from services.ingest.assignment import Assignment
from services.ingest.header_names import read_any_header_name, readable
from services.ingest.quarantine import BadRecord
from services.ingest.store import Arrival, Overtaken, store
from shared.database import Backoff, Connection, connect, is_passing
from shared.event import InvalidEvent, read
from shared.kafka import wait_for_topic
from shared.settings import IngestSettings

logger = logging.getLogger("callfold.ingest")

SLICE_RECORDS: Final = 250


class Ingest:
    """One process of the consumer group."""

    def __init__(self, settings: IngestSettings) -> None:
        read_any_header_name()
        self._settings = settings
        self._connection: Connection | None = None
        self._stopping = asyncio.Event()
        self._failure: Exception | None = None
        self._batch_in_hand: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._batch_in_hand.set_result(None)
        broker = KafkaBroker(
            settings.kafka_bootstrap.split(","),
            client_id="callfold-ingest",
            consumer_only=True,
            allow_auto_create_topics=False,
            graceful_timeout=settings.stop_timeout_seconds,
            apply_types=False,
            logger=None,
        )
        self._subscriber = broker.subscriber(
            settings.topic,
            batch=True,
            max_records=settings.batch_records,
            batch_timeout_ms=int(settings.batch_linger_seconds * 1000),
            group_id=settings.consumer_group,
            group_instance_id=settings.group_instance_id,
            ack_policy=AckPolicy.MANUAL,
            auto_offset_reset="earliest",
            session_timeout_ms=int(settings.session_timeout_seconds * 1000),
            heartbeat_interval_ms=int(settings.session_timeout_seconds * 1000 / 10),
            max_poll_interval_ms=15 * 60 * 1000,
            rebalance_timeout_ms=60 * 1000,
            listener=Assignment(lambda: self._subscriber.consumer),
            parser=_as_it_is,
            decoder=_undecoded,
        )
        self._subscriber(self._take)
        self._app = FastStream(broker, logger=None, on_shutdown=[self._stop])

    async def run(self) -> None:
        """Consumes until SIGTERM or SIGINT. Raises the first fault that does not pass."""
        settings = self._settings
        await wait_for_topic(settings.kafka_bootstrap, settings.topic, self._stopping)
        try:
            await self._app.run()
        finally:
            self._hang_up()
        if self._failure is not None:
            raise self._failure

    async def _take(self, records: Sequence[Record]) -> None:
        """Reads a batch while the one before is being stored, then stores it in its turn.

        FastStream goes on after whatever a handler raises, and a later commit would pass over the batch: so a
        fault ends the process, and no batch comes after it.
        """
        try:
            arrivals, bad_records = await _sort_out(records, datetime.now(UTC))
            await self._batch_in_hand
        except Exception as fault:
            self._fail(fault)
        if not self._stopping.is_set():
            self._batch_in_hand = asyncio.create_task(self._finish(records, arrivals, bad_records))

    async def _finish(
        self, records: Sequence[Record], arrivals: Sequence[Arrival], bad_records: Sequence[BadRecord]
    ) -> None:
        """Stores a batch, and only then commits its offsets."""
        try:
            if await self._store(arrivals, bad_records):
                await self._commit(records)
        except Exception as fault:
            self._fail(fault)

    def _fail(self, fault: Exception) -> None:
        self._failure = self._failure or fault
        self._stopping.set()
        self._app.exit()

    async def _stop(self) -> None:
        """Before the broker is closed: no further batch, and the one in hand has its time to end."""
        self._stopping.set()
        await asyncio.wait([self._batch_in_hand], timeout=self._settings.stop_timeout_seconds)

    async def _store(self, arrivals: Sequence[Arrival], bad_records: Sequence[BadRecord]) -> bool:
        """Stores the batch, however long the database is away; false when a stop comes first."""
        backoff = Backoff()
        away_since: float | None = None
        while not self._stopping.is_set():
            try:
                await self._store_once(arrivals, bad_records)
            except Overtaken as overtaken:
                logger.info("begins the batch again: %s", overtaken)
            except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as refusal:
                return await self._store_apart(arrivals, bad_records, refusal)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as fault:
                if not is_passing(fault):
                    raise
                if away_since is None:
                    away_since = time.monotonic()
                    logger.warning("waits for the database: %s", fault or type(fault).__name__)
                self._hang_up()
            else:
                if away_since is not None:
                    logger.info("goes on after %.1f s without the database", time.monotonic() - away_since)
                return True
            await backoff.wait(self._stopping)
        return False

    async def _store_once(self, arrivals: Sequence[Arrival], bad_records: Sequence[BadRecord]) -> None:
        settings = self._settings
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(
                settings.database_url,
                application_name="callfold-ingest",
                timeout_seconds=settings.database_connect_timeout_seconds,
                settings=_SESSION,
            )
        stored = await store(
            self._connection,
            arrivals,
            bad_records,
            create_organizations=settings.unknown_organizations == "create",
        )
        logger.debug(
            "stored %d events of %d calls; %d duplicates, %d of deleted calls, %d bad records",
            len(stored.events),
            len(stored.new_calls) + len(stored.changed_calls),
            stored.duplicates,
            stored.of_deleted_calls,
            len(bad_records),
        )

    async def _store_apart(
        self, arrivals: Sequence[Arrival], bad_records: Sequence[BadRecord], refusal: asyncpg.PostgresError
    ) -> bool:
        """PostgreSQL refuses something in the batch: halves it until the record is found, and quarantines
        that one. No input is known to come here; a table with a rule of its operator's own can bring it."""
        if len(arrivals) <= 1:
            if not arrivals:
                raise refusal
            logger.error("quarantines a record that PostgreSQL refuses: %s", refusal)
            refused = BadRecord(arrivals[0][0], f"PostgreSQL refuses it: {refusal}")
            return await self._store([], [*bad_records, refused])
        half = len(arrivals) // 2
        return await self._store(arrivals[:half], bad_records) and await self._store(arrivals[half:], [])

    async def _commit(self, records: Sequence[Record]) -> None:
        """Commits the batch's offsets, for the partitions that are still this process's."""
        next_offsets = {TopicPartition(r.topic, r.partition): r.offset + 1 for r in records}
        backoff = Backoff()
        while (consumer := self._subscriber.consumer) is not None:
            mine = {p: offset for p, offset in next_offsets.items() if p in consumer.assignment()}
            try:
                if mine:
                    await consumer.commit(mine)
            except (CommitFailedError, IllegalStateError):
                logger.info(
                    "lost partitions before the commit; their new owner reads the batch again, to no harm"
                )
            except KafkaError as fault:
                if fault.retriable and not self._stopping.is_set():
                    logger.warning("waits for the broker to commit: %s", fault)
                    await backoff.wait(self._stopping)
                    continue
                raise
            return

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


_SESSION = {
    # Batches come in every size: the plans that suit them are those that look each call up by its key.
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "60s",
}


async def _sort_out(records: Sequence[Record], now: datetime) -> tuple[list[Arrival], list[BadRecord]]:
    """The records that are events, and those that are not; between slices, the batch in hand goes on."""
    arrivals: list[Arrival] = []
    bad_records: list[BadRecord] = []
    for start in range(0, len(records), SLICE_RECORDS):
        for record in records[start : start + SLICE_RECORDS]:
            try:
                if record.headers:
                    _check_headers(record)
                arrivals.append((record, read(record.value, now)))
            except InvalidEvent as rule:
                bad_records.append(BadRecord(record, str(rule)))
        await asyncio.sleep(0)
    return arrivals, bad_records


def _check_headers(record: Record) -> None:
    for name, value in record.headers:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise InvalidEvent(f"the name of header {readable(name)!r} is not UTF-8") from None
        if value is None:
            raise InvalidEvent(f"header {name!r} is null")
        try:
            value.decode()
        except UnicodeDecodeError:
            raise InvalidEvent(f"header {name!r} is not UTF-8") from None


async def _as_it_is(records: tuple[Record, ...]) -> KafkaMessage:
    """FastStream's own parser decodes headers, and raises on what can't be decoded."""
    return KafkaMessage(body=b"", raw_message=records, consumer=_NEVER_ASKED)


async def _undecoded(message: KafkaMessage) -> Sequence[Record]:
    return message.raw_message


_NEVER_ASKED: AIOKafkaConsumer = None
