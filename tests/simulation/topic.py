"""A topic and its consumer group in memory, with only the guarantees that Kafka gives to ingest."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from aiokafka import ConsumerRecord as Record

PARTITIONS: Final = 3
NOW: Final = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Topic:
    """Records by partition."""

    def __init__(self) -> None:
        self.partitions: list[list[Record[Any, Any]]] = [[] for _ in range(PARTITIONS)]

    def publish(self, partition: int, value: bytes) -> None:
        """Appends a record."""
        offset = len(self.partitions[partition])
        self.partitions[partition].append(
            Record("call-events", partition, offset, 0, 0, b"key", value, None, 0, len(value), ())
        )


class Group:
    """The consumer group: the owner of each partition, and the committed offsets. A member that has not
    noticed a rebalance continues with its old partitions, and must not commit."""

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.committed = [0] * PARTITIONS
        self.generation = 0
        self.owners: Sequence[str] = [""] * PARTITIONS

    def rebalance(self, owners: Sequence[str]) -> None:
        """Assigns the partitions to these members."""
        self.generation += 1
        self.owners = owners


class Member:
    """A member of the group."""

    def __init__(self, group: Group, name: str) -> None:
        self._group = group
        self._name = name
        self._generation = -1
        self._positions: dict[int, int] = {}

    def rejoin(self) -> None:
        """Notices a rebalance, if there was one, and continues from the committed offsets."""
        group = self._group
        if self._generation != group.generation:
            self._generation = group.generation
            mine = [partition for partition, owner in enumerate(group.owners) if owner == self._name]
            self._positions = {partition: group.committed[partition] for partition in mine}

    def poll(self, most: int) -> list[Record[Any, Any]]:
        """Returns the next records of its partitions."""
        self.rejoin()
        records: list[Record[Any, Any]] = []
        for partition, position in self._positions.items():
            some = self._group.topic.partitions[partition][position:][: most - len(records)]
            self._positions[partition] = position + len(some)
            records += some
        return records

    @property
    def has_more(self) -> bool:
        """Whether a poll would return records."""
        return self._generation != self._group.generation or any(
            position < len(self._group.topic.partitions[partition])
            for partition, position in self._positions.items()
        )

    def commit(self, records: Iterable[Record[Any, Any]]) -> None:
        """Commits the offsets after these records, for partitions that it still owns."""
        for record in records:
            if self._generation == self._group.generation and record.partition in self._positions:
                self._group.committed[record.partition] = record.offset + 1
