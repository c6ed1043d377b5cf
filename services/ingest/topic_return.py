"""A topic that does not exist yet, or no longer exists: ingest waits for it and reads it with a new
consumer."""

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
    """Waits for the topic until `stopping` is set. `found` is whether it existed at the last check."""

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
        """Waits until the topic exists. Returns false when the stop comes first. Raises KafkaRefusal."""
        self.found = False
        await wait_for_topic(self._settings, self._settings.topic, self._stopping)
        self.found = not self._stopping.is_set()
        return self.found

    async def start_over(self, what: str, is_another_log: bool) -> None:
        """Leaves the topic, waits until it exists, and reads it with a new consumer. `what` describes the
        topic's fate.

        The consumer's state belongs to the old topic. The broker removes the group's offsets together with a
        topic, so no position of the old topic may survive, and no commit that aiokafka retries until the
        topic exists again. `is_another_log` means that the topic may be a new one whose creation went
        unnoticed. Offsets may have been committed since, so this process reads its partitions from their
        first record.
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
