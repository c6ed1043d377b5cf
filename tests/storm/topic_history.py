"""The whole topic of calls at the end of a storm, record by record."""

from collections.abc import Mapping
from typing import Final, NamedTuple
from uuid import UUID

from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.storm.stage import CALLS_PARTITIONS, Stage, StormBroke
from tests.storm.workload import CallKey

POLL_MS: Final = 500


class Written(NamedTuple):
    """One record. `value` and `revision` are None for a deletion."""

    partition: int
    offset: int
    mode: str | None
    revision: int | None
    value: bytes | None


History = Mapping[CallKey, list[Written]]
"""The records of each call in their order."""


async def ends_of(stage: Stage) -> tuple[int, ...]:
    """The end of each partition of the topic of calls. Raises aiokafka's `KafkaError`."""
    partitions = [TopicPartition(stage.calls_topic, n) for n in range(CALLS_PARTITIONS)]
    async with _consumer(stage) as consumer:
        ends = await consumer.end_offsets(partitions)
    return tuple(ends[partition] for partition in partitions)


async def history_of(stage: Stage) -> History:
    """Reads the topic from its first record to its end. Raises aiokafka's `KafkaError`."""
    history: dict[CallKey, list[Written]] = {}
    async with _consumer(stage) as consumer:
        partitions = [TopicPartition(stage.calls_topic, n) for n in range(CALLS_PARTITIONS)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(partitions)
        while any([await consumer.position(partition) < ends[partition] for partition in partitions]):
            for records in (await consumer.getmany(timeout_ms=POLL_MS)).values():
                for record in records:
                    owner, call_id = record.key.decode().split(":")
                    headers = {name: value.decode() for name, value in record.headers}
                    if headers["organization"] != owner:
                        raise StormBroke(f"the record {record} names two organizations")
                    revision = headers.get("revision")
                    written = Written(
                        record.partition,
                        record.offset,
                        headers.get("mode"),
                        None if revision is None else int(revision),
                        record.value,
                    )
                    history.setdefault((UUID(owner), UUID(call_id)), []).append(written)
    return history


def fault_of(records: list[Written]) -> str | None:
    """Why these records of one call cannot be its states in their order; None if they can. Pure.

    A deletion is permanent. Before it, no revision follows a higher one, and each revision has one value."""
    newest: Written | None = None
    for record in records:
        if newest is not None:
            if newest.value is None and record.value is not None:
                return "a deleted call came back"
            if record.revision is not None and newest.revision is not None:
                if record.revision < newest.revision:
                    return f"revision {record.revision} follows {newest.revision}"
                if record.revision == newest.revision and record.value != newest.value:
                    return f"revision {record.revision} has two values"
        newest = record
    return None


def _consumer(stage: Stage) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        bootstrap_servers=stage.grounds.bootstrap,
        enable_auto_commit=False,
        isolation_level="read_committed",
        auto_offset_reset="none",
    )
