"""What comes with partitions: how far each is stored, and word of records that the broker removed before
anyone read them."""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition

logger = logging.getLogger("callfold.ingest")


class Assignment(ConsumerRebalanceListener):  # type: ignore[misc]
    """Knows which partitions are this process's, and how far each is stored.

    Says loudly when retention overtook the consumer. Offsets that were lost need no word: reading begins
    with the oldest record then, and what is stored already stays as it is."""

    def __init__(self, consumer: Callable[[], AIOKafkaConsumer | None]) -> None:
        self.joined = False
        self._consumer = consumer
        self._next_offsets: dict[TopicPartition, int] = {}
        self._asked_ends: dict[TopicPartition, int] = {}

    def stored(self, next_offsets: Mapping[TopicPartition, int]) -> None:
        """All records before these offsets are stored; those of partitions that went away are not asked
        about."""
        self._next_offsets |= {p: offset for p, offset in next_offsets.items() if p in self._next_offsets}

    def partitions(self) -> int:
        """How many partitions this process reads."""
        return len(self._next_offsets)

    def lag(self) -> dict[int, int]:
        """The records between what is stored and the end of what may be read, by partition, as the broker's
        last answer has it. A partition of which there was none yet is not in it."""
        ends = {p: consumer.last_stable_offset(p) for consumer, p in self._mine()} | self._asked_ends
        return {
            p.partition: max(end - self._next_offsets[p], 0) for p, end in ends.items() if end is not None
        }

    async def ask_ends(self, older_than: float) -> None:
        """Asks the broker for the ends of partitions that it last told of before this time: while a batch
        waits for the database, what follows is not fetched, and grows. Raises aiokafka's errors."""
        mine = list(self._mine())
        stale = [p for consumer, p in mine if (consumer.last_poll_timestamp(p) or 0) < older_than * 1000]
        asked = await mine[0][0].end_offsets(stale) if stale else {}
        self._asked_ends = {p: end for p, end in asked.items() if p in self._next_offsets}

    def _mine(self) -> Iterator[tuple[AIOKafkaConsumer, TopicPartition]]:
        """The partitions that this process reads, each with its consumer, which can be asked about it."""
        consumer = self._consumer()
        if consumer is not None:
            mine = consumer.assignment()
            yield from ((consumer, p) for p in self._next_offsets if p in mine)

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> Any:
        """A batch in hand is finished, and the database refuses it if the new owner was faster."""
        self.joined = False
        self._next_offsets = {}
        self._asked_ends = {}

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Compares where the group stands with what the broker still has."""
        self.joined = True
        consumer = self._consumer()
        if consumer is None or not assigned:
            return
        numbers = sorted(partition.partition for partition in assigned)
        logger.info("reads partitions %s", ", ".join(map(str, numbers)))
        oldest = await consumer.beginning_offsets(list(assigned))
        for partition in assigned:
            committed = await consumer.committed(partition)
            self._next_offsets[partition] = max(committed or 0, oldest[partition])
            if committed is not None and committed < oldest[partition]:
                logger.error(
                    "partition %d: %d records (offsets %d to %d) were removed by the broker before they were "
                    "read; publish or load them again from their source",
                    partition.partition,
                    oldest[partition] - committed,
                    committed,
                    oldest[partition] - 1,
                    extra={"topic": partition.topic, "partition": partition.partition, "offset": committed},
                )
