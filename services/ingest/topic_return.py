"""A topic that does not exist yet, or not any more: it is waited for, and read by a new consumer."""

import asyncio
import logging

from aiokafka.errors import UnknownTopicOrPartitionError

from services.ingest.assignment import Assignment
from services.ingest.offsets import Offsets, commit_begin
from services.ingest.subscription import Subscription
from shared.kafka.topic import wait_for_topic
from shared.settings.ingest import IngestSettings

logger = logging.getLogger("callfold.ingest")


class TopicReturn:
    """Waits for the topic until `stopping` is set. `found` says whether it existed at the last look."""

    def __init__(
        self,
        settings: IngestSettings,
        subscription: Subscription,
        assignment: Assignment,
        offsets: Offsets,
        stopping: asyncio.Event,
    ) -> None:
        self.found = False
        self._settings = settings
        self._subscription = subscription
        self._assignment = assignment
        self._offsets = offsets
        self._stopping = stopping

    async def wait(self) -> bool:
        """Whether the topic exists; false when the stop comes first. Raises KafkaRefusal."""
        self.found = False
        await wait_for_topic(self._settings, self._settings.topic, self._stopping)
        self.found = not self._stopping.is_set()
        return self.found

    async def start_over(self, what: str, is_another_log: bool) -> None:
        """Leaves the topic, of which `what` became, waits until it exists, and reads it with a new consumer.

        What the consumer knows is of the former topic: the broker removes the group's offsets with a topic,
        and positions, or a commit that aiokafka repeats until the topic exists again, must not outlive it.
        `is_another_log` says that the topic may be another one, and that nobody saw the former one gone: then
        offsets may have been committed since, and this process's partitions are read from their first record.
        """
        logger.warning(
            "the topic %s %s: reads it with a new consumer once it exists", self._settings.topic, what
        )
        self.found = False
        if (consumer := self._subscription.consumer) is not None:
            consumer.abandoned = True
        self._offsets.give_up()
        if is_another_log and (running := self._subscription.running_consumer()) is not None:
            await commit_begin(running)
        while not self._stopping.is_set():
            await self._subscription.leave()
            self._assignment.forget()
            self._assignment.topic = None
            if not await self.wait():
                return
            try:
                await self._subscription.join()
            except UnknownTopicOrPartitionError:  # removed since
                self.found = False
            else:
                return
