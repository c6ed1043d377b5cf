"""`callfold lag`: how far the pipeline is behind the topic."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError
from aiokafka.structs import OffsetAndMetadata

from services.ops.addresses import database, find_both, kafka_faults
from services.ops.terminal.environment import settings_from_environment
from services.ops.terminal.failure import Failure
from services.ops.terminal.options import JsonOption, StateOption
from services.ops.terminal.printing import console, counted, print_json, table
from services.ops.terminal.program import suggestion
from services.ops.terminal.waiting import attempts
from shared.database.connection import Connection
from shared.kafka.client import Broker, client_options
from shared.kafka.topic import administration, partitions_of
from shared.settings.ingest import IngestSettings
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


def lag(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show how many records wait to be consumed, per partition, and how many deltas wait to be applied.

    Waiting deltas do not make answers wrong: the API adds them to the counts that it reads.
    """
    found = asyncio.run(_find(state))
    if as_json:
        print_json(found)
        return
    rows = [(one.partition, one.committed, one.end, one.lag) for one in found.partitions]
    to = console()
    to.print(table(["partition", "committed", "end", "lag"], rows))
    to.print(f"{_waiting(found.consumer_lag, 'record')} to be consumed.")
    for one in found.sources:
        waits = "does not exist" if one.consumer_lag is None else _waiting(one.consumer_lag, "record")
        to.print(f"Topic {one.topic} of sources: {waits}.", markup=False)
    age = "" if found.oldest_delta_seconds is None else f", the oldest for {found.oldest_delta_seconds:.1f} s"
    to.print(f"{_waiting(found.deltas, 'delta')} to be applied{age}.")


async def measure(
    connection: Connection, broker: Broker, topic: str, group: str, deliveries_topic: str = DELIVERIES_TOPIC
) -> Lag:
    """The current lag, measured without joining a group. Raises aiokafka's and asyncpg's errors, and Failure
    for an unknown topic."""
    deltas, oldest = await connection.fetchrow(_DELTAS) or (0, None)
    partitions = await consumer_lag(broker, topic, group)
    others = [name for (name,) in await connection.fetch(_TOPICS, deliveries_topic)]
    sources = [TopicLag(each, await _lag_of_source(broker, each, f"{group}.{each}")) for each in others]
    return Lag(partitions, sum(one.lag for one in partitions), deltas, oldest, tuple(sources))


async def _lag_of_source(broker: Broker, topic: str, group: str) -> int | None:
    """The lag of a topic of sources; None if it does not exist."""
    async with administration(broker, request_seconds=REQUEST_SECONDS) as admin:
        if not await partitions_of(admin, topic):
            return None
    return sum(one.lag for one in await consumer_lag(broker, topic, group))


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


def _waiting(count: int, one: str) -> str:
    return f"{counted(count, one)} {'waits' if count == 1 else 'wait'}"


async def _find(state: Path | None) -> Lag:
    database_place, kafka = find_both(state)
    settings = settings_from_environment(IngestSettings)
    async with database(database_place) as connection:
        with kafka_faults(kafka):
            return await measure(
                connection, kafka.broker, settings.topic, settings.consumer_group, settings.deliveries_topic
            )


_TOPICS: Final = """
SELECT topic FROM sources WHERE topic IS NOT NULL AND enabled
UNION SELECT $1::text WHERE EXISTS (SELECT FROM sources WHERE topic IS NULL)
ORDER BY 1 LIMIT 1000
"""

_DELTAS: Final = """
SELECT count(*), extract(epoch FROM clock_timestamp() - min(written_at))::float8 FROM daily_call_deltas
"""
