"""The reader: one consumer per process, which reads all partitions of the topic of calls into the feed.

It starts with the first stream, and ends when no stream was open for some time. When the topic cannot be
read, all streams end, and the reader tries again.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import Context
from datetime import datetime
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from services.api.http.errors import changes_unavailable
from services.api.stream.change import change_of
from services.api.stream.feed import Feed
from services.api.stream.position import topic_identity
from shared.backoff import Backoff
from shared.kafka.client import Broker, cause, client_options, connection_faults, fault
from shared.kafka.topic_metadata import Topic, described
from shared.outage import Outage

log = logging.getLogger("callfold.api")

POLL_SECONDS: Final = 0.2
POLL_RECORDS: Final = 500
LOOK_SECONDS: Final = 2
"""The interval at which the reader requests the topic's description and its end."""
ANSWER_SECONDS: Final = 5
"""How long the broker may take to answer before all streams end."""
READY_SECONDS: Final = 10
"""How long a new stream waits for the reader."""
IDLE_SECONDS: Final = 300
FETCH_BYTES: Final = 8 * 1024 * 1024


class TopicGone(Exception):
    """The topic does not exist, or is another one than before. The text is a part of a sentence."""


class _Idle(Exception):
    """No stream was open for some time."""


class TopicReader:
    """Reads the topic while streams are open."""

    def __init__(
        self,
        broker: Broker,
        topic: str,
        feed: Feed,
        *,
        tail_records: int,
        clock: Callable[[], datetime],
        is_needed: Callable[[], bool],
        on_end: Callable[[], None],
    ) -> None:
        """`tail_records` is the number of records before the topic's end at which it begins, so that streams
        can resume after a restart. `is_needed` tells whether any stream is open. `on_end` is called when the
        topic cannot be read, or is another one."""
        self.broker = broker
        self._topic = topic
        self._feed = feed
        self._tail_records = tail_records
        self._clock = clock
        self._is_needed = is_needed
        self._on_end = on_end
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._outage = Outage(
            log, "cannot read the changes of calls", "reads the changes of calls again", each_reason=True
        )
        self._follows: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._moved = asyncio.Event()
        self._look_now = asyncio.Event()
        self._looks = 0
        self._passed_look = 0
        self._end: tuple[int, int, dict[TopicPartition, int]] | None = None

    async def ready(self) -> None:
        """Starts the reader if necessary, and returns when it has read up to the topic's end. Raises the 503
        `ApiError` if it cannot, and while an outage lasts."""
        if self._task is None or self._task.done():
            loop = asyncio.get_running_loop()
            self._follows = loop.create_future()
            self._task = loop.create_task(self._run(), context=Context())
        try:
            async with asyncio.timeout(READY_SECONDS):
                follows = await asyncio.shield(self._follows)
        except TimeoutError:
            follows = False
        if not follows:
            raise changes_unavailable()

    async def read_until_now(self) -> None:
        """Returns when the feed has every record that was committed before the call. Raises the 503
        `ApiError` if that takes too long."""
        needed = self._looks + 1
        self._look_now.set()
        try:
            async with asyncio.timeout(READY_SECONDS):
                while self._passed_look < needed:
                    await self._moved.wait()
        except TimeoutError:
            raise changes_unavailable() from None

    async def close(self) -> None:
        """Ends the reader."""
        self._stop.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        """Reads until the reader is closed, or no stream needs it."""
        backoff = Backoff()
        while not self._stop.is_set():
            if self._follows.done():
                self._follows = asyncio.get_running_loop().create_future()
            try:
                async with consumer_of(self.broker) as consumer:
                    await self._follow(consumer, backoff)
            except _Idle:
                return
            except (KafkaError, OSError, TimeoutError, TopicGone) as error:
                self._outage.begin(_reason(error))
            finally:
                self._does_not_follow()
            await backoff.wait(self._stop)

    def _does_not_follow(self) -> None:
        """Ends the streams, and refuses those that come before the next attempt."""
        self._feed.begin(b"", ())
        self._on_end()
        if self._follows.done():
            self._follows = asyncio.get_running_loop().create_future()
        self._follows.set_result(False)

    async def _follow(self, consumer: AIOKafkaConsumer, backoff: Backoff) -> None:
        """Reads the topic until a fault. Raises it."""
        async with asyncio.timeout(ANSWER_SECONDS):
            topic = await described(consumer, self._topic)
            if topic is None:
                raise TopicGone(f"Kafka has no topic {self._topic}, or this user may not see it")
            partitions = [TopicPartition(self._topic, number) for number in range(topic.partitions)]
            begins = await consumer.beginning_offsets(partitions)
            ends = await consumer.end_offsets(partitions)
        each = self._tail_records // len(partitions)
        starts = {at: max(begins[at], ends[at] - each) for at in partitions}
        _assign(consumer, starts)
        self._end = None
        self._feed.begin(topic_identity(self._topic, topic.topic_id), list(starts.values()))
        tasks = [
            asyncio.create_task(self._read(consumer, backoff)),
            asyncio.create_task(self._watch(consumer, topic)),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        done.pop().result()

    async def _read(self, consumer: AIOKafkaConsumer, backoff: Backoff) -> None:
        while True:
            records = await consumer.getmany(timeout_ms=int(POLL_SECONDS * 1000), max_records=POLL_RECORDS)
            for some in records.values():
                for record in some:
                    if change := change_of(record):
                        self._feed.take(change)
            await self._note_progress(consumer, backoff)
            await asyncio.sleep(0)  # a poll that finds records does not let other tasks run

    async def _note_progress(self, consumer: AIOKafkaConsumer, backoff: Backoff) -> None:
        """Notes the offsets, also those after records that no stream gets, and whether an end is reached."""
        positions = {at: await consumer.position(at) for at in consumer.assignment()}
        for at, offset in positions.items():
            self._feed.read_to(at.partition, offset)
        if self._end is not None:
            look, asked_at, ends = self._end
            if all(positions.get(at, 0) >= offset for at, offset in ends.items()):
                self._end = None
                self._passed_look = look
                self._feed.complete(asked_at)
                self._outage.end()
                backoff.reset()
                if not self._follows.done():
                    self._follows.set_result(True)
        self._moved.set()
        self._moved = asyncio.Event()

    async def _watch(self, consumer: AIOKafkaConsumer, known: Topic) -> None:
        """Asks the broker for the topic and its end. Raises TopicGone when it is no longer the same, and
        TimeoutError when the broker does not answer."""
        partitions, needed_at = known.partitions, time.monotonic()
        while True:
            self._look_now.clear()
            self._looks += 1
            look, asked_at = self._looks, int(self._clock().timestamp())
            async with asyncio.timeout(ANSWER_SECONDS):
                topic = await described(consumer, self._topic)
                if topic is None:
                    raise TopicGone(f"the topic {self._topic} no longer exists")
                if topic.topic_id != known.topic_id or topic.partitions < partitions:
                    raise TopicGone(f"the topic {self._topic} was removed and created again")
                if topic.partitions > partitions:
                    await self._add_partitions(consumer, topic.partitions)
                    partitions = topic.partitions
                ends = await consumer.end_offsets(list(consumer.assignment()))
                # A reader that is behind must reach one end before it is given the next.
                self._end = self._end or (look, asked_at, ends)
            if self._is_needed():
                needed_at = time.monotonic()
            elif time.monotonic() - needed_at > IDLE_SECONDS:
                raise _Idle
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._look_now.wait()

    async def _add_partitions(self, consumer: AIOKafkaConsumer, count: int) -> None:
        """Also reads new partitions, from their start: every record in them is newer than the last look."""
        offsets = {at: await consumer.position(at) for at in consumer.assignment()}
        more = {at: offsets.get(at, 0) for at in (TopicPartition(self._topic, n) for n in range(count))}
        self._feed.add_partitions(count)
        _assign(consumer, more)


@asynccontextmanager
async def consumer_of(broker: Broker) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of committed records without a group, for the duration of the block. Raises aiokafka's
    `KafkaError`, or the fault that kept it from connecting."""
    heard: list[Exception] = []
    consumer = AIOKafkaConsumer(
        **client_options(broker),
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
        fetch_max_bytes=FETCH_BYTES,
    )
    try:
        with connection_faults(heard.append):
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await consumer.start()
            except (KafkaError, OSError, TimeoutError) as error:
                raise cause(error, heard) from None
        yield consumer
    finally:
        with contextlib.suppress(KafkaError, OSError, TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                await consumer.stop()


def _assign(consumer: AIOKafkaConsumer, offsets: dict[TopicPartition, int]) -> None:
    consumer.assign(list(offsets))
    for at, offset in offsets.items():
        consumer.seek(at, offset)


def _reason(error: Exception) -> str:
    if isinstance(error, TopicGone):
        return str(error)
    return fault(error) if str(error) else "the broker does not answer"
