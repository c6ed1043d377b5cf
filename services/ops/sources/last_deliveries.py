"""The last deliveries of a source: the newest records of a topic, and how ingest would read them now."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from services.ingest.deliveries import place_all, sort_deliveries
from shared.database.connection import Connection
from shared.kafka.client import Broker, client_options
from shared.kafka.topic import administration, partitions_of
from shared.sources.delivery_record import source_of
from shared.sources.outcome import Quarantined
from shared.store.quarantine import produced_at
from shared.store.sources import KnownSources, StoredSource

DELIVERIES_MAX: Final = 20
"""How many deliveries are returned, and how many are looked for in each partition."""
RECORDS_EXAMINED_MAX: Final = 500
"""The most records of a partition that are read: other sources may deliver to the same topic."""
BYTES_EXAMINED_MAX: Final = 8 * 1024 * 1024
"""The most bytes of a partition that are read, but for its last step."""
STEP_RECORDS: Final = 20
REQUEST_MILLISECONDS: Final = 5_000


@dataclass(frozen=True)
class LastDelivery:
    """A delivery. `events` are the types of its events, `waiting` counts what waits for its organization, and
    `reasons` say what ingest would quarantine. Without any of them, the delivery says nothing about calls."""

    partition: int
    offset: int
    produced_at: datetime | None
    size_bytes: int
    events: Sequence[str]
    waiting: int
    reasons: Sequence[str]


@dataclass(frozen=True)
class NewestRecords:
    """The newest records of a source, the newest first, and how many records were examined for them."""

    topic: str
    topic_exists: bool
    records_examined: int = 0
    records: Sequence[ConsumerRecord] = field(default_factory=tuple)


async def newest_records(broker: Broker, stored: StoredSource, deliveries_topic: str) -> NewestRecords:
    """The records of the last deliveries of this source. It joins no consumer group. Raises aiokafka's
    errors."""
    topic = stored.source.topic or deliveries_topic
    async with administration(broker, request_seconds=REQUEST_MILLISECONDS // 1000) as admin:
        partitions = [TopicPartition(topic, number) for number in await partitions_of(admin, topic)]
    if not partitions:
        return NewestRecords(topic, topic_exists=False)
    found: list[ConsumerRecord] = []
    examined = 0
    consumer = AIOKafkaConsumer(
        **client_options(broker), request_timeout_ms=REQUEST_MILLISECONDS, enable_auto_commit=False
    )
    try:
        await consumer.start()
        begins = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
        for partition in partitions:
            consumer.assign([partition])
            mine = 0
            async for records in _steps(consumer, partition, begins[partition], ends[partition]):
                examined += len(records)
                own = [one for one in records if _is_of(one, stored)]
                found += own
                mine += len(own)
                if mine >= DELIVERIES_MAX:
                    break
    finally:
        await consumer.stop()
    newest = sorted(found, key=lambda one: (one.timestamp, one.offset), reverse=True)[:DELIVERIES_MAX]
    return NewestRecords(topic, topic_exists=True, records_examined=examined, records=newest)


async def as_ingest_reads(
    connection: Connection,
    records: Sequence[ConsumerRecord],
    stored: StoredSource,
    deliveries_topic: str,
    now: datetime,
) -> list[LastDelivery]:
    """These records of a source, as ingest would read them at `now` (aware). Raises asyncpg's errors."""
    known = KnownSources({stored.source.id: stored})
    return [await _read(connection, one, known, deliveries_topic, now) for one in records]


async def _steps(
    consumer: AIOKafkaConsumer, partition: TopicPartition, begin: int, end: int
) -> AsyncIterator[list[ConsumerRecord]]:
    """The newest records of a partition, in steps from its end towards its beginning, within the limits."""
    records = bytes_ = 0
    while begin < end and records < RECORDS_EXAMINED_MAX and bytes_ < BYTES_EXAMINED_MAX:
        first = max(begin, end - STEP_RECORDS)
        read = await _between(consumer, partition, first, end)
        records += end - first
        bytes_ += sum(_size(one) for one in read)
        yield read
        end = first


async def _between(
    consumer: AIOKafkaConsumer, partition: TopicPartition, first: int, end: int
) -> list[ConsumerRecord]:
    """The records from one offset until before another. Some offsets may have none."""
    consumer.seek(partition, first)
    read: list[ConsumerRecord] = []
    while await consumer.position(partition) < end:
        fetched = await consumer.getmany(partition, timeout_ms=REQUEST_MILLISECONDS, max_records=end - first)
        read += [one for one in fetched.get(partition, ()) if one.offset < end]
    return read


def _is_of(record: ConsumerRecord, stored: StoredSource) -> bool:
    if stored.source.topic is not None:
        return True
    try:
        return source_of(record.headers) == stored.source.id
    except Quarantined:
        return False


async def _read(
    connection: Connection, record: ConsumerRecord, known: KnownSources, deliveries_topic: str, now: datetime
) -> LastDelivery:
    found = await sort_deliveries([record], known, now, deliveries_topic)
    await place_all(connection, found, now)
    reasons = {bad.reason: None for bad in found.bad_records if bad.waits_for is None}
    return LastDelivery(
        record.partition,
        record.offset,
        produced_at(record.timestamp),
        _size(record),
        [event.type for _, event in found.arrivals],
        sum(bad.waits_for is not None for bad in found.bad_records),
        list(reasons),
    )


def _size(record: ConsumerRecord) -> int:
    return len(record.value or b"")
