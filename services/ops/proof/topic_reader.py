"""Reading the topic of calls up to an offset, without a consumer group."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, suppress
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from services.ops.terminal.failure import Failure
from services.ops.terminal.program import suggestion
from shared.kafka.client import Broker, client_options
from shared.kafka.topic import CLOSE_SECONDS, administration, partitions_of

BATCH_RECORDS: Final = 500
POLL_SECONDS: Final = 0.5
SILENCE_SECONDS: Final = 90
"""A transaction of a publisher that was killed stays open for 60 s."""

Faults = Callable[[], AbstractContextManager[None]]
"""Turns the faults of Kafka into a Failure, for the duration of a block."""
Ends = Mapping[int, int]
"""By partition: the offset after the last record, of committed and open transactions."""


class TopicReader:
    """Reads each committed record of a topic once, from the first one."""

    def __init__(
        self,
        topic: str,
        broker: Broker,
        faults: Faults,
        consumers: tuple[AIOKafkaConsumer, AIOKafkaConsumer],
        partitions: list[int],
    ) -> None:
        self._topic = topic
        self._broker = broker
        self._faults = faults
        self._consumer, self._asker = consumers
        self._partitions = [TopicPartition(topic, number) for number in partitions]
        self._ends: dict[int, int] = {}
        self.records = 0

    async def begin(self) -> int:
        """Starts at the first record of each partition. Returns about how many records follow. Raises
        Failure."""
        with self._faults():
            first: Mapping[TopicPartition, int] = await self._consumer.beginning_offsets(self._partitions)
            self._consumer.assign(self._partitions)
            for partition, offset in first.items():
                self._consumer.seek(partition, offset)
        return sum((await self.ends()).values()) - sum(first.values())

    async def ends(self) -> Ends:
        """The present ends. Raises Failure if the topic became shorter, because another one then has its
        name."""
        with self._faults():
            # The reading consumer would not count open transactions. But a commit that was acknowledged
            # may be open in a partition for a moment.
            found = await self._asker.end_offsets(self._partitions)
        ends = {partition.partition: end for partition, end in found.items()}
        if any(end < self._ends.get(number, 0) for number, end in ends.items()):
            raise Failure(f"The topic {self._topic} was created again while it was read. Run it again.")
        self._ends = ends
        return ends

    async def read(self, ends: Ends, take: Callable[[Sequence[ConsumerRecord]], None]) -> None:
        """Calls `take` with some records of a partition at a time, up to these ends, and perhaps with later
        records. Raises Failure when the broker sends no record for `SILENCE_SECONDS`."""
        heard_at = time.monotonic()
        with self._faults():
            while await self._is_behind(ends):
                try:
                    got = await self._consumer.getmany(
                        timeout_ms=int(POLL_SECONDS * 1000), max_records=BATCH_RECORDS
                    )
                except OffsetOutOfRangeError:
                    raise Failure(
                        f"Kafka removed records of the topic {self._topic} while it was read. Run it again."
                    ) from None
                if got:
                    heard_at = time.monotonic()
                elif time.monotonic() - heard_at > SILENCE_SECONDS:
                    raise Failure(
                        f"Cannot tell: Kafka sent no record of the topic {self._topic} for "
                        f"{SILENCE_SECONDS} s before its end. "
                        "A broker is unreachable, or a producer's transaction is open."
                    )
                for records in got.values():
                    self.records += len(records)
                    take(records)

    async def require_same_partitions(self) -> None:
        """Raises Failure if the topic has got partitions, which were not read."""
        with self._faults():
            if await _partitions(self._broker, self._topic) != [one.partition for one in self._partitions]:
                raise Failure(f"The topic {self._topic} got partitions while it was read. Run it again.")

    async def _is_behind(self, ends: Ends) -> bool:
        """Whether a partition is not yet read to its end. The others are paused."""
        behind = {one for one in self._partitions if await self._consumer.position(one) < ends[one.partition]}
        self._consumer.pause(*(set(self._partitions) - behind))
        self._consumer.resume(*behind)
        return bool(behind)


@asynccontextmanager
async def topic_reader(broker: Broker, topic: str, faults: Faults) -> AsyncIterator[TopicReader]:
    """A reader for the duration of the block. Raises Failure if there is no such topic."""
    async with AsyncExitStack() as closing:
        with faults():
            partitions = await _partitions(broker, topic)
            if not partitions:
                raise Failure(
                    f"Kafka has no topic {topic}, or this user may not see it. {suggestion('topic')} creates "
                    "it."
                )
            consumers = _consumer(broker, "read_committed"), _consumer(broker, "read_uncommitted")
            for consumer in consumers:
                closing.push_async_callback(_close, consumer)
                await consumer.start()
        yield TopicReader(topic, broker, faults, consumers, partitions)


async def _partitions(broker: Broker, topic: str) -> list[int]:
    async with administration(broker) as admin:
        return await partitions_of(admin, topic)


async def _close(consumer: AIOKafkaConsumer) -> None:
    with suppress(KafkaError, OSError, TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await consumer.stop()


def _consumer(broker: Broker, isolation_level: str) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        **client_options(broker),
        enable_auto_commit=False,
        isolation_level=isolation_level,
        auto_offset_reset="none",
        fetch_max_bytes=16 * 1024 * 1024,
    )
