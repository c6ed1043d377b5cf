"""Commits of offsets: those of a stored batch, and the first offsets of a new topic. No other code commits
offsets."""

import asyncio
import logging
from collections.abc import Sequence

from aiokafka import ConsumerRecord as Record
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from services.ingest.assignment import ASK_SECONDS, Assignment, offsets_of
from services.ingest.batch_trace import BatchTrace
from services.ingest.consumer import Consumer

logger = logging.getLogger("callfold.ingest")


class Offsets:
    """Commits the offsets of stored batches, one batch at a time."""

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._committing: asyncio.Task[None] | None = None

    async def commit(self, consumer: Consumer | None, records: Sequence[Record], trace: BatchTrace) -> None:
        """Commits the offsets of a stored batch with the consumer that read it, for the partitions still
        assigned to it. An abandoned consumer commits nothing. aiokafka waits for an unreachable broker.
        Raises aiokafka's other errors."""
        if consumer is None or consumer.abandoned:
            return
        offsets = offsets_of(records)
        self._assignment.stored(offsets)
        mine = {p: those.stop for p, those in offsets.items() if p in consumer.assignment()}
        if not mine:
            return
        self._committing = asyncio.create_task(consumer.commit(mine))
        try:
            await asyncio.wait([self._committing])
            if not self._committing.cancelled():
                self._committing.result()
                trace.offsets_committed(mine)
        except (CommitFailedError, IllegalStateError):
            logger.info(
                "lost partitions before the commit; their new owner reads the batch again, which is harmless"
            )
        finally:
            self._committing = None

    def give_up(self) -> None:
        """Cancels a commit that is being retried."""
        if self._committing is not None:
            self._committing.cancel()


async def commit_begin(consumer: Consumer) -> None:
    """Commits the first offset of this consumer's partitions, so that the group reads all of them again."""
    if not consumer.assignment():
        return
    try:
        async with asyncio.timeout(ASK_SECONDS):
            await consumer.commit(dict.fromkeys(consumer.assignment(), 0))
    except (KafkaError, TimeoutError) as error:
        logger.info("could not commit the first offset of the new topic: %s", error)
