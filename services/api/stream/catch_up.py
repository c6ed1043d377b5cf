"""Catching up: the changes between a client's position and this process's, read from the topic."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from aiokafka import TopicPartition

from services.api.stream.change import Change, change_of
from services.api.stream.position import furthest
from services.api.stream.topic_reader import consumer_of
from shared.kafka.client import Broker

POLL_SECONDS: Final = 0.5
POLL_RECORDS: Final = 500


async def changes_between(
    broker: Broker, topic: str, channel: bytes, begins: Sequence[int], ends: Sequence[int]
) -> AsyncGenerator[tuple[list[Change], tuple[int, ...]], None]:
    """The changes of a channel from the first offsets up to the second ones. After each poll, it yields the
    new changes, and the offsets that are reached. Raises aiokafka's `KafkaError`:
    `OffsetOutOfRangeError` if Kafka has removed records after the first offsets."""
    missing = {
        TopicPartition(topic, number): begin
        for number, (begin, end) in enumerate(zip(_filled(begins, len(ends)), ends, strict=True))
        if begin < end
    }
    reached = furthest(begins, [0] * len(ends))
    if not missing:
        return
    async with consumer_of(broker) as consumer:
        consumer.assign(list(missing))
        for at, offset in missing.items():
            consumer.seek(at, offset)
        while any(reached[at.partition] < ends[at.partition] for at in missing):
            records = await consumer.getmany(timeout_ms=int(POLL_SECONDS * 1000), max_records=POLL_RECORDS)
            changes = [
                change
                for some in records.values()
                for record in some
                # The process has the records after the ends. They come from its feed.
                if record.offset < ends[record.partition]
                if (change := change_of(record)) and change.channel == channel
            ]
            offsets = list(reached)
            for at in missing:
                offsets[at.partition] = min(await consumer.position(at), ends[at.partition])
            reached = tuple(offsets)
            yield changes, reached
            await asyncio.sleep(0)  # a poll that finds records does not let other tasks run


def _filled(offsets: Sequence[int], count: int) -> list[int]:
    return [*offsets, *[0] * (count - len(offsets))]
