"""Watches the topic and the group while records are read. Every few seconds it asks the broker for the topic,
compares the group's assignment with it, and writes to the database how far this process has read."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

from aiokafka.errors import KafkaError

from services.ingest.assignment import ASK_SECONDS, Assignment
from services.ingest.consumer import Consumer
from services.ingest.progress_writer import Progress
from shared.kafka.topic_metadata import Topic, described

logger = logging.getLogger("callfold.ingest")

LOOK_SECONDS_MAX: Final = 5
REBALANCE_SECONDS: Final = 10
REBALANCE_SECONDS_MAX: Final = 60
"""The pause after a rebalance that this process requested. It doubles from the first value up to the
second."""


class Watch:
    """Checks every ASK_SECONDS, and immediately after `look_now`."""

    def __init__(
        self,
        topic: str,
        assignment: Assignment,
        progress: Progress,
        *,
        consumer: Callable[[], Consumer | None],
        writer_waits: Callable[[], bool],
        start_over: Callable[[str, bool], Awaitable[None]],
    ) -> None:
        """`consumer` returns the running one. `start_over` takes the topic's fate, and whether its name now
        refers to another log. It returns when a new consumer runs, or when the process stops."""
        self._topic = topic
        self._assignment = assignment
        self._progress = progress
        self._consumer = consumer
        self._writer_waits = writer_waits
        self._start_over = start_over
        self._look_now = asyncio.Event()
        self._written: dict[int, datetime] = {}
        self._pause_seconds = REBALANCE_SECONDS
        self._no_rebalance_before = 0.0

    def look_now(self) -> None:
        """Makes the next check due now."""
        self._look_now.set()

    async def run(self) -> None:
        """Checks until it is cancelled. Raises the exceptions of `start_over`."""
        while True:
            try:
                async with asyncio.timeout(ASK_SECONDS):
                    await self._look_now.wait()
            except TimeoutError:
                pass
            self._look_now.clear()
            consumer = self._consumer()
            if consumer is None or not self._assignment.joined:
                continue
            now = None if self._writer_waits() else await self._progress.now()
            lost: str | None = None
            try:
                async with asyncio.timeout(LOOK_SECONDS_MAX):
                    topic = await described(consumer, self._topic)
                    lost = self._lost(topic)
                    if topic is not None and lost is None:
                        await self._compare(consumer, topic)
                        await self._assignment.ask(_loop_seconds(), now)
            except (KafkaError, TimeoutError) as error:
                logger.debug("the lag is not up to date: %s", error)
            else:
                is_another_log = topic is not None
                if lost is None and self._assignment.went_back():
                    lost = "lost records that had been read"
                    # The same id: the group's commits for its other partitions remain valid.
                    is_another_log = topic is not None and topic.topic_id is None
                if lost is not None:
                    await self._start_over(lost, is_another_log)
                    continue
                if topic is not None:
                    await self._write(topic)

    def _lost(self, topic: Topic | None) -> str | None:
        """The fate of the topic that was read, as the end of a sentence; None if it still exists."""
        if topic is None:
            return "no longer exists"
        known = self._assignment.topic
        self._assignment.topic = topic
        if known is not None and known.topic_id != topic.topic_id:
            return "was removed and created again"
        return None

    async def _compare(self, consumer: Consumer, topic: Topic) -> None:
        """Ensures that the group distributes exactly the topic's partitions."""
        if not self._assignment.needs_rebalance():
            self._pause_seconds, self._no_rebalance_before = REBALANCE_SECONDS, 0.0
            return
        if len(consumer.partitions_for_topic(self._topic) or ()) != topic.partitions:
            # A leader that has seen all members join starts the rebalance itself when it learns of this.
            await consumer.refresh()
            return
        if _loop_seconds() < self._no_rebalance_before:
            return
        if unowned := self._assignment.unowned():
            logger.warning("%s: requests a rebalance of the group", unowned_reason(unowned))
        consumer.rejoin()
        self._no_rebalance_before = _loop_seconds() + self._pause_seconds
        self._pause_seconds = min(2 * self._pause_seconds, REBALANCE_SECONDS_MAX)

    async def _write(self, topic: Topic) -> None:
        """Writes how far this process has read, for partitions where that has changed."""
        read_until = self._assignment.read_until()
        changed = {number: at for number, at in read_until.items() if self._written.get(number) != at}
        if changed and await self._progress.write(self._topic, topic.partitions, changed):
            self._written |= changed


def unowned_reason(unowned: range) -> str:
    """A clause that names these partitions as read by no process."""
    if len(unowned) == 1:
        return f"no process of the group reads partition {unowned[0]}"
    return f"no process of the group reads partitions {unowned[0]} to {unowned[-1]}"


def _loop_seconds() -> float:
    return asyncio.get_running_loop().time()
