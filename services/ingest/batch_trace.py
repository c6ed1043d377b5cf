"""What a batch tells of its way: nothing, unless somebody follows a record in it (`traces.py`)."""

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from aiokafka import ConsumerRecord as Record
from aiokafka import TopicPartition

from services.ingest.arrivals import Arrival
from shared.store.changes import Changes
from shared.store.quarantine import BadRecord


class BatchTrace:
    """The trace of a batch, from its reading to its end. This one tells nobody."""

    def step(self, name: str) -> AbstractContextManager[object]:
        """Around a part of the work on the batch."""
        return nullcontext()

    def stored(self, arrivals: Sequence[Arrival], bad_records: Sequence[BadRecord], changes: Changes) -> None:
        """These were stored in one transaction, which is committed."""

    def offsets_committed(self, partitions: Collection[TopicPartition]) -> None:
        """The batch's offsets in these partitions are committed."""

    def end(self, fault: Exception | None = None) -> None:
        """Nothing more happens to the batch: all is done, or a fault or a stop came before. Only the first
        call counts."""


UNTRACED: Final = BatchTrace()


def untraced(records: Sequence[Record]) -> BatchTrace:
    """Follows no record."""
    return UNTRACED
