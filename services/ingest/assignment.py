"""What comes with partitions: word of records that the broker removed before anyone read them."""

import logging
from collections.abc import Callable, Collection
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition

logger = logging.getLogger("callfold.ingest")


class Assignment(ConsumerRebalanceListener):  # type: ignore[misc]
    """Says loudly when retention overtook the consumer. Offsets that were lost need no word: reading begins
    with the oldest record then, and what is stored already stays as it is."""

    def __init__(self, consumer: Callable[[], AIOKafkaConsumer | None]) -> None:
        self._consumer = consumer

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> Any:
        """Nothing: a batch in hand is finished, and the database refuses it if the new owner was faster."""

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Compares where the group stands with what the broker still has."""
        consumer = self._consumer()
        if consumer is None or not assigned:
            return
        numbers = sorted(partition.partition for partition in assigned)
        logger.info("reads partitions %s", ", ".join(map(str, numbers)))
        oldest = await consumer.beginning_offsets(list(assigned))
        for partition in assigned:
            committed = await consumer.committed(partition)
            if committed is not None and committed < oldest[partition]:
                logger.error(
                    "partition %d: %d records (offsets %d to %d) were removed by the broker before they were "
                    "read; publish or load them again from their source",
                    partition.partition,
                    oldest[partition] - committed,
                    committed,
                    oldest[partition] - 1,
                )
