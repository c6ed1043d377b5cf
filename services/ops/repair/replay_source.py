"""The source of a replay: a span of a topic, without a consumer group, or a file of events."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, cast

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from services.ops.repair.archive import Stream, values
from services.ops.terminal.failure import Failure
from shared.kafka.client import Broker, client_options
from shared.kafka.topic import administration, partitions_of
from shared.store.quarantine import NO_TIMESTAMP

BATCH_RECORDS: Final = 5_000
BATCH_BYTES: Final = 16 * 1024 * 1024
POLL_SECONDS: Final = 1.0
SILENCE_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Span:
    """A part of a topic: one partition or all, from an offset or time up to another, which is excluded."""

    topic: str
    partition: int | None = None
    from_offset: int | None = None
    to_offset: int | None = None
    since: datetime | None = None
    until: datetime | None = None


Offsets = Mapping[TopicPartition, tuple[int, int]]
"""The first offset of each partition, and the offset after its last."""


async def partitions_of_span(broker: Broker, span: Span) -> Sequence[TopicPartition]:
    """The partitions of a span. Raises Failure when the topic or the partition does not exist."""
    async with administration(broker) as admin:
        numbers = await partitions_of(admin, span.topic)
    if not numbers:
        raise Failure(f"Kafka has no topic {span.topic}.")
    if span.partition is not None and span.partition not in numbers:
        raise Failure(
            f"Topic {span.topic} has no partition {span.partition}: it has {len(numbers)}, counted from 0."
        )
    return [TopicPartition(span.topic, n) for n in numbers if span.partition in (None, n)]


async def offsets_of(consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition], span: Span) -> Offsets:
    """The offsets of the span in each of these partitions, at this moment."""
    first = await consumer.beginning_offsets(partitions)
    last = await consumer.end_offsets(partitions)
    begin = await _at(consumer, partitions, span.since, first, last)
    end = await _at(consumer, partitions, span.until, last, last)
    offsets = {}
    for partition in partitions:
        start = max(begin[partition], first[partition], span.from_offset or 0)
        stop = min(end[partition], last[partition] if span.to_offset is None else span.to_offset)
        offsets[partition] = start, max(start, stop)
    return offsets


async def read_span(consumer: AIOKafkaConsumer, offsets: Offsets) -> AsyncIterator[Sequence[ConsumerRecord]]:
    """The records of a span, in batches. Raises Failure when the broker stops sending before its end."""
    left = set(offsets)
    for partition, (start, _) in offsets.items():
        consumer.seek(partition, start)
    silence_seconds = 0.0
    while left := await _behind(consumer, left, offsets):
        got = await consumer.getmany(timeout_ms=int(POLL_SECONDS * 1000), max_records=BATCH_RECORDS)
        silence_seconds = 0 if got else silence_seconds + POLL_SECONDS
        if silence_seconds > SILENCE_SECONDS:
            raise Failure(f"Kafka sent no record for {SILENCE_SECONDS:.0f} s before the end of the span.")
        records = [
            record
            for partition, some in got.items()
            for record in some
            if record.offset < offsets[partition][1]
        ]
        if records:
            yield records


async def _behind(
    consumer: AIOKafkaConsumer, partitions: set[TopicPartition], offsets: Offsets
) -> set[TopicPartition]:
    """The partitions that are not yet read to the end of the span. The others are paused."""
    done = {p for p in partitions if await consumer.position(p) >= offsets[p][1]}
    consumer.pause(*done)
    return partitions - done


def span_consumer(broker: Broker) -> AIOKafkaConsumer:
    """A consumer without a group. Like ingest, it reads only committed transactions."""
    return AIOKafkaConsumer(
        **client_options(broker),
        enable_auto_commit=False,
        isolation_level="read_committed",
        auto_offset_reset="none",
        max_partition_fetch_bytes=4 * 1024 * 1024,
    )


async def read_file(path: str) -> AsyncIterator[Sequence[ConsumerRecord]]:
    """The values of a file (`-` is standard input) as records, with the file's name as their topic. The file
    has lines of JSON, JSON arrays or pretty-printed objects, plain or gzip-compressed. Raises Failure when it
    can't be read, after giving the records before that point."""
    batches = _file_batches(path)
    while batch := await asyncio.to_thread(next, batches, None):
        yield batch


def _file_batches(path: str) -> Iterator[Sequence[ConsumerRecord]]:
    name = "standard input" if path == "-" else Path(path).name
    batch: list[ConsumerRecord] = []
    batch_bytes = 0
    broken: Failure | None = None
    try:
        with open_archive(path) as file:
            for number, value in values(file, path):
                batch.append(_record(name, number, value))
                batch_bytes += len(value)
                if len(batch) == BATCH_RECORDS or batch_bytes >= BATCH_BYTES:
                    yield batch
                    batch, batch_bytes = [], 0
    except Failure as failure:
        broken = failure
    except OSError as error:
        broken = unreadable(path, error)
    if batch:
        yield batch
    if broken is not None:
        raise broken


def unreadable(path: str, error: OSError) -> Failure:
    """The failure for a file that the operating system can't open or read."""
    return Failure(f"{path} can't be read: {(error.strerror or str(error)).lower()}.")


def open_archive(path: str) -> AbstractContextManager[Stream]:
    """The file's bytes; `-` is standard input. Raises OSError."""
    if path == "-":
        return nullcontext(cast("Stream", sys.stdin.buffer))  # its declared type lacks `read1`
    return Path(path).open("rb")


def _record(topic: str, offset: int, value: bytes) -> ConsumerRecord:
    return ConsumerRecord(topic, 0, offset, NO_TIMESTAMP, 0, None, value, None, -1, len(value), ())


async def _at(
    consumer: AIOKafkaConsumer,
    partitions: Sequence[TopicPartition],
    time: datetime | None,
    without: Mapping[TopicPartition, int],
    behind: Mapping[TopicPartition, int],
) -> Mapping[TopicPartition, int]:
    """The first offset of each partition at or after a time; `behind` if there is none; `without` if no
    time."""
    if time is None:
        return without
    found = await consumer.offsets_for_times(dict.fromkeys(partitions, int(time.timestamp() * 1000)))
    return {p: behind[p] if found.get(p) is None else found[p].offset for p in partitions}
