"""The lag: records that ingest has not read, and deltas that the aggregator has not applied."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError
from aiokafka.structs import OffsetAndMetadata

from services.ops.terminal.failure import Failure
from services.ops.terminal.program import suggestion
from services.ops.terminal.waiting import attempts
from shared.database.connection import Connection
from shared.kafka.client import Broker, client_options
from shared.kafka.topic import administration, partitions_of
from shared.settings.kafka import DELIVERIES_TOPIC

REQUEST_SECONDS: Final = 10


@dataclass(frozen=True)
class PartitionLag:
    """`committed` is the next offset that the group reads. `end` is the offset of the next new record."""

    partition: int
    committed: int
    end: int
    lag: int


@dataclass(frozen=True)
class TopicLag:
    """The records of a source's topic, or of the topic of deliveries, that ingest has not consumed; None for
    a topic that does not exist."""

    topic: str
    consumer_lag: int | None


@dataclass(frozen=True)
class Lag:
    """Records not yet consumed, and deltas not yet applied. Answers of the API include these deltas.

    `partitions` and `consumer_lag` are of the topic of events, `sources` of other topics."""

    partitions: tuple[PartitionLag, ...]
    consumer_lag: int
    deltas: int
    oldest_delta_seconds: float | None
    sources: tuple[TopicLag, ...] = ()


async def measure(
    connection: Connection, broker: Broker, topic: str, group: str, deliveries_topic: str = DELIVERIES_TOPIC
) -> Lag:
    """The current lag, measured without joining a group. Raises aiokafka's and asyncpg's errors, and Failure
    for an unknown topic."""
    deltas, oldest = await waiting_deltas(connection)
    partitions = await consumer_lag(broker, topic, group)
    sources = []
    for name in await topics_of_sources(connection, deliveries_topic):
        found = await lag_of_source(broker, name, group)
        sources.append(TopicLag(name, None if found is None else sum(one.lag for one in found)))
    return Lag(partitions, sum(one.lag for one in partitions), deltas, oldest, tuple(sources))


async def waiting_deltas(connection: Connection) -> tuple[int, float | None]:
    """The number of deltas that wait to be applied, and the age of the oldest in seconds. Raises asyncpg's
    errors."""
    deltas, oldest = await connection.fetchrow(_DELTAS) or (0, None)
    return deltas, oldest


async def topics_of_sources(connection: Connection, deliveries_topic: str) -> list[str]:
    """The topics of enabled sources, and that of deliveries if a source delivers there. Raises asyncpg's
    errors."""
    return [name for (name,) in await connection.fetch(_TOPICS, deliveries_topic)]


async def lag_of_source(broker: Broker, topic: str, group: str) -> tuple[PartitionLag, ...] | None:
    """The lag of a topic of sources, whose group is named after the group of ingest; None if there is no such
    topic. Raises aiokafka's errors."""
    async with administration(broker, request_seconds=REQUEST_SECONDS) as admin:
        if not await partitions_of(admin, topic):
            return None
    return await consumer_lag(broker, topic, f"{group}.{topic}")


async def consumer_lag(broker: Broker, topic: str, group: str) -> tuple[PartitionLag, ...]:
    """The group's lag per partition, also of those that no process reads.

    A partition without a commit counts from its beginning. So does one whose end is before its commit: the
    commit is then from a topic that was deleted."""
    async with administration(broker, request_seconds=REQUEST_SECONDS) as admin:
        partitions = [TopicPartition(topic, number) for number in await partitions_of(admin, topic)]
        if not partitions:
            raise Failure(
                f"Kafka has no topic {topic}, or this user may not describe it. "
                f"{suggestion('topic')} creates it."
            )
        known = await _committed(admin, group)
        consumer = AIOKafkaConsumer(
            **client_options(broker), request_timeout_ms=REQUEST_SECONDS * 1000, enable_auto_commit=False
        )
        try:
            await consumer.start()
            begins = await consumer.beginning_offsets(partitions)
            ends = await consumer.end_offsets(partitions)
        finally:
            await consumer.stop()
    return tuple(
        _lag(p.partition, known[p].offset if p in known else 0, begins[p], ends[p]) for p in partitions
    )


def _lag(partition: int, committed: int, begin: int, end: int) -> PartitionLag:
    first = begin if committed > end else max(committed, begin)
    return PartitionLag(partition, first, end, end - first)


async def _committed(admin: AIOKafkaAdminClient, group: str) -> Mapping[TopicPartition, OffsetAndMetadata]:
    """The group's offsets. A new broker needs a moment to load its first group."""
    for pause in attempts(REQUEST_SECONDS):
        try:
            return await admin.list_consumer_group_offsets(group)  # type: ignore[no-any-return]
        except GroupCoordinatorNotAvailableError:
            await asyncio.sleep(pause)
    raise Failure(f"Kafka found no coordinator for the consumer group within {REQUEST_SECONDS} s.")


_TOPICS: Final = """
SELECT topic FROM sources WHERE topic IS NOT NULL AND enabled
UNION SELECT $1::text WHERE EXISTS (SELECT FROM sources WHERE topic IS NULL)
ORDER BY 1 LIMIT 1000
"""

_DELTAS: Final = """
SELECT count(*), extract(epoch FROM clock_timestamp() - min(written_at))::float8 FROM daily_call_deltas
"""
