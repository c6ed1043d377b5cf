"""Watching the topic and the group while records are read. Every few seconds the broker describes the topic,
the group's assignment is compared with it, and the database learns how far this process has read."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

from aiokafka.errors import KafkaError

from services.ingest.assignment import ASK_SECONDS, Assignment
from services.ingest.consumer import Consumer
from services.ingest.progress_writer import Progress
from services.ingest.topic_metadata import Topic

logger = logging.getLogger("callfold.ingest")

LOOK_SECONDS_MAX: Final = 5
REBALANCE_SECONDS: Final = 10
REBALANCE_SECONDS_MAX: Final = 60
"""The pause after a rebalance that this process asked for doubles from the one to the other."""


class Watch:
    """Looks every ASK_SECONDS, and at once after `look_now`."""

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
        """`consumer` gives the one that runs. `start_over` takes what became of the topic, and whether there
        is another log under its name; it returns when a new consumer runs, or when the process stops."""
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
        """The next look is due."""
        self._look_now.set()

    async def run(self) -> None:
        """Looks until it is cancelled. Raises what `start_over` raises."""
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
                    topic = await consumer.describe(self._topic)
                    lost = self._lost(topic)
                    if topic is not None and lost is None:
                        await self._compare(consumer, topic)
                        await self._assignment.ask(_loop_seconds(), now)
            except (KafkaError, TimeoutError) as error:
                logger.debug("the lag is as old as the broker's last answer: %s", error)
            else:
                is_another_log = topic is not None
                if lost is None and self._assignment.went_back():
                    lost = "lost records that were read already"
                    # The same id: what the group committed for its other partitions holds.
                    is_another_log = topic is not None and topic.topic_id is None
                if lost is not None:
                    await self._start_over(lost, is_another_log)
                    continue
                if topic is not None:
                    await self._write(topic)

    def _lost(self, topic: Topic | None) -> str | None:
        """What became of the topic that was read, as the end of a sentence; None when it is still there."""
        if topic is None:
            return "does not exist any more"
        known = self._assignment.topic
        self._assignment.topic = topic
        if known is not None and known.topic_id != topic.topic_id:
            return "was removed and created again"
        return None

    async def _compare(self, consumer: Consumer, topic: Topic) -> None:
        """Sees to it that the group distributes the partitions that the topic has."""
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
            logger.warning("%s: asks the group for a rebalance", unowned_reason(unowned))
        consumer.rejoin()
        self._no_rebalance_before = _loop_seconds() + self._pause_seconds
        self._pause_seconds = min(2 * self._pause_seconds, REBALANCE_SECONDS_MAX)

    async def _write(self, topic: Topic) -> None:
        """Writes how far this process has read, where that has changed."""
        read_until = self._assignment.read_until()
        changed = {number: at for number, at in read_until.items() if self._written.get(number) != at}
        if changed and await self._progress.write(self._topic, topic.partitions, changed):
            self._written |= changed


def unowned_reason(unowned: range) -> str:
    """That these partitions are nobody's, as a part of a sentence."""
    if len(unowned) == 1:
        return f"no process of the group reads partition {unowned[0]}"
    return f"no process of the group reads partitions {unowned[0]} to {unowned[-1]}"


def _loop_seconds() -> float:
    return asyncio.get_running_loop().time()
