"""What comes with partitions: how far each is stored, and word of records that the broker removed before
anyone read them."""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka import ConsumerRecord as Record
from aiokafka.errors import KafkaError

logger = logging.getLogger("callfold.ingest")

ASK_SECONDS: Final = 5
"""How often the broker is asked how the partitions stand, and how long a new assignment waits for that."""

_partition = attrgetter("partition")


@dataclass
class _Partition:
    """Where a partition stands; None is what the broker has yet to tell."""

    begin: int | None = None
    """The next offset as this process got the partition."""
    read: int = 0
    """The next offset to be read."""
    stored: int | None = None
    """The next offset to be stored."""
    end: int | None = None
    gaps: list[range] = field(default_factory=list)
    """Offsets that no record came for. Of a transaction's markers there is none, either."""

    def begin_with(self, committed: int | None, oldest: int) -> None:
        """The group stands there, and this is the oldest that the broker has."""
        self.begin = oldest if committed is None else committed
        self.stored = max(self.stored or 0, self.begin)
        if not self.read:
            self.read = self.begin
            if self.begin < oldest:
                self.pass_over(oldest)

    def pass_over(self, offset: int) -> None:
        """Reading goes on there; what comes before will not come any more."""
        self.gaps.append(range(self.read, offset))
        self.read = offset
        self.stored = max(self.stored or 0, offset)


def offsets_of(records: Sequence[Record]) -> dict[TopicPartition, range]:
    """The offsets of a batch from the first to the last, by partition. As aiokafka gives them, the records of
    a partition stand together."""
    offsets = {}
    for number, group in groupby(records, _partition):
        those = list(group)
        offsets[TopicPartition(those[0].topic, number)] = range(those[0].offset, those[-1].offset + 1)
    return offsets


class Assignment(ConsumerRebalanceListener):  # type: ignore[misc]
    """Knows which partitions are this process's, and how far each is stored.

    Says loudly when retention overtook the consumer. Offsets that were lost need no word: reading begins
    with the oldest record then, and what is stored already stays as it is."""

    def __init__(self, consumer: Callable[[], AIOKafkaConsumer | None]) -> None:
        self.joined = False
        self._consumer = consumer
        self._partitions: dict[TopicPartition, _Partition] = {}

    def read(self, offsets: Mapping[TopicPartition, range]) -> None:
        """These came from the broker. Those of partitions that went away are not asked about."""
        for partition, those in offsets.items():
            if (mine := self._partitions.get(partition)) is not None:
                if those.start > mine.read:
                    mine.gaps.append(range(mine.read, those.start))
                mine.read = those.stop

    def stored(self, offsets: Mapping[TopicPartition, range]) -> None:
        """All records up to the last of these are stored."""
        for partition, those in offsets.items():
            if (mine := self._partitions.get(partition)) is not None:
                mine.stored = max(mine.stored or 0, those.stop)

    def partitions(self) -> int:
        """How many partitions this process reads."""
        return len(self._partitions)

    def lag(self) -> dict[int, int]:
        """The records between what is stored and the end of what may be read, by partition, as the broker's
        last answer has it. A partition of which there was none yet is not in it."""
        consumer = self._consumer()
        lags = {}
        for partition in self._assigned(consumer):
            mine = self._partitions[partition]
            fetched = consumer.last_stable_offset(partition) if consumer is not None else None
            ends = [end for end in (fetched, mine.end) if end is not None]
            if ends and mine.stored is not None:
                lags[partition.partition] = max(max(ends) - mine.stored, 0)
        return lags

    async def ask(self) -> None:
        """Asks the broker for both ends of each partition: while a batch waits for the database, what follows
        is not fetched, and grows, or is removed. Raises aiokafka's errors."""
        consumer = self._consumer()
        partitions = {partition: self._partitions[partition] for partition in self._assigned(consumer)}
        if consumer is None or not partitions:
            return
        # First, before a batch is stored and moves it.
        unknown = [partition for partition, mine in partitions.items() if mine.begin is None]
        committed = await asyncio.gather(*map(consumer.committed, unknown))
        oldest = await consumer.beginning_offsets(list(partitions))
        for partition, offset in zip(unknown, committed, strict=True):
            partitions[partition].begin_with(offset, oldest[partition])
        for partition, mine in partitions.items():
            await self._tell_removed(consumer, partition, mine, oldest[partition])
        for partition, end in (await consumer.end_offsets(list(partitions))).items():
            partitions[partition].end = end

    async def _tell_removed(
        self, consumer: AIOKafkaConsumer, partition: TopicPartition, mine: _Partition, oldest: int
    ) -> None:
        if mine.read < oldest:
            # What was fetched before it was removed still comes: nothing is missed until reading goes on
            # behind it.
            position = await consumer.position(partition)
            if mine.read < position:
                mine.pass_over(position)
        gaps, mine.gaps = mine.gaps, []
        for gap in gaps:
            if removed := range(max(gap.start, mine.begin or 0), min(gap.stop, oldest)):
                logger.error(
                    "partition %d: %d records (offsets %d to %d) were removed by the broker before they were "
                    "read; publish or load them again from their source",
                    partition.partition,
                    len(removed),
                    removed[0],
                    removed[-1],
                    extra={"topic": partition.topic, "partition": partition.partition, "offset": removed[0]},
                )

    def _assigned(self, consumer: AIOKafkaConsumer | None) -> Iterable[TopicPartition]:
        """The partitions that the consumer can be asked about."""
        assigned = consumer.assignment() if consumer is not None else ()
        return [partition for partition in self._partitions if partition in assigned]

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> Any:
        """A batch in hand is finished, and the database refuses it if the new owner was faster."""
        self.joined = False
        self._partitions = {}

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Compares where the group stands with what the broker still has, now or when it is asked again."""
        self.joined = True
        self._partitions = {partition: _Partition() for partition in assigned}
        if not assigned:
            return
        numbers = sorted(partition.partition for partition in assigned)
        logger.info("reads partitions %s", ", ".join(map(str, numbers)))
        try:
            async with asyncio.timeout(ASK_SECONDS):
                await self.ask()
        except (KafkaError, TimeoutError) as error:
            logger.info("the broker does not tell yet how the partitions stand: %s", error)
