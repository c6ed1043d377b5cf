"""The topic's partitions: which ones this process reads, how far each is stored, which ones no process reads,
and which records the broker removed before they were read."""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Final, NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka import ConsumerRecord as Record
from aiokafka.errors import KafkaError

from services.ingest.assignor import Assignor
from shared.kafka.topic_metadata import Topic

logger = logging.getLogger("callfold.ingest")

ASK_SECONDS: Final = 5
"""The interval between requests for the partitions' offsets, and how long a new assignment waits for the
answer."""
POSITION_SECONDS: Final = 1
STALL_SECONDS: Final = 60
"""How long a partition with waiting records may stay unread while none of its records are being stored."""

_partition = attrgetter("partition")


class _Mark(NamedTuple):
    """All records before `end` were published before every record that arrived after `moment`."""

    moment: datetime
    end: int


@dataclass
class _Partition:
    """The state of a partition. None stands for what the broker has not reported yet."""

    begin: int | None = None
    """The next offset when this process was assigned the partition."""
    read: int | None = None
    """The next offset to read. Each earlier offset arrived as a record or never will."""
    came: int | None = None
    """The offset after the last record received."""
    stored: int | None = None
    """The offset after the last record stored."""
    end: int | None = None
    gaps: list[range] = field(default_factory=list)
    """Offsets without a record. The markers of transactions are among them."""
    went_back: bool = False
    """Whether the log was replaced or truncated. This state then describes the previous log."""
    mark: _Mark | None = None
    """The records that must be stored before `read_until` advances."""
    read_until: datetime | None = None
    """Every record published before this moment is stored."""
    still_since: float | None = None
    """When reading stopped although records wait, in seconds of the event loop's clock."""

    @property
    def settled(self) -> bool:
        """Whether every record received is stored."""
        return self.came is None or (self.stored is not None and self.stored >= self.came)

    @property
    def done(self) -> int | None:
        """The next offset to store. Each earlier offset is stored or has no record."""
        return self.read if self.settled else self.stored

    def begin_with(self, committed: int | None, oldest: int, end: int) -> None:
        """Sets the first offset from the group's commit and the broker's offsets. A commit beyond the end
        belongs to another log; reading then begins with the oldest record."""
        self.begin = oldest if committed is None or committed > end else committed
        self.stored = max(self.stored or 0, self.begin)
        if self.read is None:
            self.read = self.begin
            if self.begin < oldest:
                self.pass_over(oldest)

    def take(self, offsets: range) -> None:
        """Notes that records with these offsets, from the first to the last, were received."""
        if self.came is not None and offsets.start < self.came:
            self.went_back = True
        if self.read is not None and offsets.start > self.read:
            self.gaps.append(range(self.read, offsets.start))
        self.read = self.came = offsets.stop
        self.still_since = None

    def pass_over(self, offset: int) -> None:
        """Continues reading at this offset. No record before it will arrive any more."""
        self.gaps.append(range(self.read or 0, offset))
        self.read = offset
        self.still_since = None

    def measure(self, end: int, loop_seconds: float, now: datetime | None) -> None:
        """Notes the end of the log. `now`, if known, is a moment before the request to the broker."""
        self.end = end
        if self.done is None:
            return
        if self.mark is not None and self.done >= self.mark.end:
            self.read_until, self.mark = self.mark.moment, None
        if self.mark is None and now is not None:
            if self.done >= end:
                self.read_until = now
            else:
                self.mark = _Mark(now, end)
        if not self.settled or self.done >= end:
            self.still_since = None
        elif self.still_since is None:
            self.still_since = loop_seconds


def offsets_of(records: Sequence[Record]) -> dict[TopicPartition, range]:
    """The offsets of a batch from the first to the last, by partition. aiokafka returns the records of a
    partition together."""
    offsets = {}
    for number, group in groupby(records, _partition):
        those = list(group)
        offsets[TopicPartition(those[0].topic, number)] = range(those[0].offset, those[-1].offset + 1)
    return offsets


class Assignment(ConsumerRebalanceListener):  # type: ignore[misc]
    """Tracks which partitions this process reads, how far each is stored, and which ones no process reads.

    It logs an error when retention removed records before they were read. Lost offsets are not logged:
    reading then begins with the oldest record, and stored events stay as they are."""

    def __init__(
        self,
        topic: str,
        consumer: Callable[[], AIOKafkaConsumer | None],
        on_assigned: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_assigned` is called when this process has joined the group."""
        self.joined = False
        self.assignor = Assignor()
        self.topic: Topic | None = None
        """The broker's last description of the topic."""
        self._name = topic
        self._consumer = consumer
        self._on_assigned = on_assigned
        self._partitions: dict[TopicPartition, _Partition] = {}
        self._unowned_lag: dict[int, int] = {}
        self._asked_at = 0.0

    def read(self, records: Mapping[TopicPartition, Sequence[Record]]) -> None:
        """Notes records received from the broker. Call it in the same step in which the consumer's position
        moves past them."""
        for partition, those in records.items():
            if (mine := self._partitions.get(partition)) is not None:
                mine.take(range(those[0].offset, those[-1].offset + 1))

    def stored(self, offsets: Mapping[TopicPartition, range]) -> None:
        """Notes that all records up to the last of these offsets are stored. Partitions no longer assigned
        are ignored."""
        for partition, those in offsets.items():
            if (mine := self._partitions.get(partition)) is not None:
                mine.stored = max(mine.stored or 0, those.stop)

    def forget(self) -> None:
        """Forgets all partitions, after the consumer has stopped."""
        self.joined = False
        self._partitions = {}
        self._unowned_lag = {}

    def partitions(self) -> int:
        """How many partitions this process reads."""
        return len(self._partitions)

    def unowned(self) -> range:
        """The partitions of the topic that the group's leader assigned to no process. Every process of the
        group knows them."""
        known = self.assignor.distribution
        if not self.joined or self.topic is None or known is None:
            return range(0)
        return range(known.partitions.get(self._name, 0), self.topic.partitions)

    def needs_rebalance(self) -> bool:
        """Whether the group's leader distributed other partitions than the topic has, or did not report
        them."""
        known = self.assignor.distribution
        if not self.joined or self.topic is None:
            return False
        return known is None or known.partitions.get(self._name) != self.topic.partitions

    def stalled(self) -> list[int]:
        """The partitions that this process has not read for STALL_SECONDS, although records wait and none of
        them is being stored."""
        return sorted(
            partition.partition
            for partition, mine in self._partitions.items()
            if mine.still_since is not None and self._asked_at - mine.still_since >= STALL_SECONDS
        )

    def went_back(self) -> bool:
        """Whether offsets of a partition repeated or disappeared, so that its log is not the one that was
        read."""
        return any(mine.went_back for mine in self._partitions.values())

    def read_until(self) -> dict[int, datetime]:
        """The moment before which every published record is stored, by partition of this process."""
        return {
            partition.partition: mine.read_until
            for partition, mine in self._partitions.items()
            if mine.read_until is not None
        }

    def lag(self) -> dict[int, int]:
        """The number of records between the stored offset and the end of the readable log, by partition, by
        the broker's last answer. Partitions without an answer are left out. One process of the group also
        reports the partitions that no process reads."""
        consumer = self._consumer()
        lags = dict(self._unowned_lag) if self.unowned() else {}
        for partition in self._assigned(consumer):
            mine = self._partitions[partition]
            fetched = consumer.last_stable_offset(partition) if consumer is not None else None
            ends = [end for end in (fetched, mine.end) if end is not None]
            if ends and mine.done is not None:
                lags[partition.partition] = max(max(ends) - mine.done, 0)
        return lags

    async def ask(self, loop_seconds: float, now: datetime | None = None) -> None:
        """Asks the broker for the first and last offset of each partition. While a batch waits for the
        database, later records are not fetched: they accumulate, or retention removes them.

        `loop_seconds` is the event loop's clock. `now` is a moment of the database's clock before the topic
        was described. Raises aiokafka's errors.
        """
        consumer = self._consumer()
        mine = {partition: self._partitions[partition] for partition in self._assigned(consumer)}
        others = [TopicPartition(self._name, number) for number in self._reported()]
        if consumer is None or not (mine or others):
            return
        # First, before storing a batch moves it.
        unknown = [partition for partition, one in mine.items() if one.begin is None]
        committed = dict(
            zip(
                [*unknown, *others],
                await asyncio.gather(*map(consumer.committed, [*unknown, *others])),
                strict=True,
            )
        )
        oldest = await consumer.beginning_offsets([*mine, *others])
        read = {partition: one.read for partition, one in mine.items()}
        ends = await consumer.end_offsets([*mine, *others])
        for partition in unknown:
            mine[partition].begin_with(committed[partition], oldest[partition], ends[partition])
        self._unowned_lag = {
            one.partition: ends[one] - _first(committed[one], oldest[one], ends[one]) for one in others
        }
        positions = await asyncio.gather(*(_position(consumer, partition) for partition in mine))
        self._asked_at = loop_seconds
        for (partition, one), position in zip(mine.items(), positions, strict=True):
            if (read[partition] or 0) > ends[partition]:
                one.went_back = True
            # Each record before the position arrived before this answer.
            if position is not None and one.read is not None and one.read < position:
                one.pass_over(position)
            _report_removed(partition, one, oldest[partition])
            one.measure(ends[partition], loop_seconds, now)

    def _assigned(self, consumer: AIOKafkaConsumer | None) -> Iterable[TopicPartition]:
        """The partitions that the consumer knows. An old assignment may contain more partitions than the
        topic has now."""
        if consumer is None:
            return []
        assigned = consumer.assignment()
        known = consumer.partitions_for_topic(self._name) or ()
        return [each for each in self._partitions if each in assigned and each.partition in known]

    def _reported(self) -> range:
        """The unowned partitions, if this process is the one that reports them."""
        known = self.assignor.distribution
        return self.unowned() if known is not None and known.speaks_for_group else range(0)

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """The current batch is finished; the database refuses it if the new owner was faster."""
        self.forget()
        # aiokafka 0.14 cancels its heartbeat task next. If a rebalance became due while partitions were being
        # assigned, that task has not run yet. Its cancellation would then end the coordination silently.
        await asyncio.sleep(0)

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Compares the group's offsets with the broker's log, now or at the next request."""
        self._partitions = {partition: _Partition() for partition in assigned}
        if assigned:
            numbers = sorted(partition.partition for partition in assigned)
            logger.info("reads partitions %s", ", ".join(map(str, numbers)))
            try:
                async with asyncio.timeout(ASK_SECONDS):
                    await self.ask(asyncio.get_running_loop().time())
            except (KafkaError, TimeoutError) as error:
                logger.info("the broker has not reported the partitions' offsets yet: %s", error)
        self.joined = True
        self._on_assigned()


async def _position(consumer: AIOKafkaConsumer, partition: TopicPartition) -> int | None:
    """The consumer's position; None while it is still unknown."""
    try:
        async with asyncio.timeout(POSITION_SECONDS):
            position: int = await consumer.position(partition)
    except TimeoutError:
        return None
    return position


def _report_removed(partition: TopicPartition, mine: _Partition, oldest: int) -> None:
    """Logs the offsets without a record that the broker has removed since this process got the partition."""
    gaps, mine.gaps = mine.gaps, []
    for gap in gaps:
        if removed := range(max(gap.start, mine.begin or 0), min(gap.stop, oldest)):
            logger.error(
                "partition %d: %d records (offsets %d to %d) were removed by the broker before they were "
                "read; publish them again from their source",
                partition.partition,
                len(removed),
                removed[0],
                removed[-1],
                extra={"topic": partition.topic, "partition": partition.partition, "offset": removed[0]},
            )


def _first(committed: int | None, oldest: int, end: int) -> int:
    """The offset at which a group begins to read a partition."""
    return oldest if committed is None or committed > end else max(committed, oldest)
