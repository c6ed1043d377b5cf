"""The trace of a batch: nothing, unless a record in it is traced (`traces.py`)."""

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from aiokafka import ConsumerRecord as Record
from aiokafka import TopicPartition

from services.ingest.arrivals import Arrival
from shared.store.changes import Changes
from shared.store.quarantine import BadRecord


class BatchTrace:
    """The trace of a batch, from reading to commit. This one records nothing."""

    def step(self, name: str) -> AbstractContextManager[object]:
        """Wraps a part of the work on the batch."""
        return nullcontext()

    def stored(self, arrivals: Sequence[Arrival], bad_records: Sequence[BadRecord], changes: Changes) -> None:
        """Records what a committed transaction stored."""

    def offsets_committed(self, partitions: Collection[TopicPartition]) -> None:
        """Records that the batch's offsets in these partitions are committed."""

    def end(self, fault: Exception | None = None) -> None:
        """Ends the trace, after the commit, a fault or a stop. Only the first call counts."""


UNTRACED: Final = BatchTrace()


def untraced(records: Sequence[Record]) -> BatchTrace:
    """Traces no record."""
    return UNTRACED
