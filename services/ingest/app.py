"""The ingest service: one reader for each topic that callfold reads.

These are the topic of events, the topic of deliveries once a source calls by HTTP, and the topics that
sources name. A new source takes effect within seconds.
"""

import asyncio
import logging
import signal
import time
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from aiokafka import ConsumerRecord as Record

from services.ingest.arrivals import Sort, Sorted, sort_events
from services.ingest.deliveries import NO_SOURCE, sort_deliveries
from services.ingest.metrics import Metrics, Standing
from services.ingest.reader import Reader, cancelled
from services.ingest.source_directory import SourceDirectory
from shared.kafka.client import KafkaRefusal
from shared.settings.ingest import IngestSettings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

logger = logging.getLogger("callfold.ingest")

DELIVERIES_MAX: Final = 500
"""The most deliveries of a batch. Each may have 8 MiB."""
REFUSED_SECONDS: Final = 60
"""How long a topic of a source rests after Kafka has refused it."""


class Ingest:
    """One process. It ends with the first permanent fault of a reader, unless Kafka refuses a source's
    topic: only that topic then waits."""

    def __init__(self, settings: IngestSettings, tracer_provider: "TracerProvider | None" = None) -> None:
        self._settings = settings
        self._tracer_provider = tracer_provider
        self._stopping = asyncio.Event()
        self._directory = SourceDirectory(settings)
        self._readers: dict[str, Reader] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._refused: dict[str, tuple[str, float]] = {}
        self._changed = asyncio.Event()
        self.metrics = Metrics(
            Standing(
                # Of the topic of events: a mistyped topic of one source must not hide its state.
                is_waiting=lambda: self._events.why_waiting() is not None,
                partitions=lambda: sum(one.partitions() for one in self._each()),
                lag=lambda: {
                    (one.topic, str(number)): lag for one in self._each() for number, lag in one.lag().items()
                },
                unowned_partitions=lambda: sum(one.unowned_partitions() for one in self._each()),
                progress_at=lambda: self._events.progress_at,
            )
        )
        self._events = self._reader(settings.topic, settings.consumer_group, sort_events)

    async def run(self) -> None:
        """Consumes until SIGTERM or SIGINT. Raises the first permanent fault."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end)
        self._start(self._events)
        following = asyncio.create_task(self._follow_sources())
        following.add_done_callback(lambda _ended: self._changed.set())
        try:
            while not self._stopping.is_set():
                await self._changed.wait()
                self._changed.clear()
                if following.done() or not self._readers_continue():
                    break
        finally:
            self._end()
            await cancelled(following)
            if self._tasks:
                await asyncio.wait(self._tasks.values())
            self._directory.close()
        for task in (*self._tasks.values(), following):
            if not task.cancelled() and (fault := task.exception()) is not None:
                raise fault

    async def why_waiting(self) -> str | None:
        """Why no event is stored now; None when ingest works, even if there is nothing to store. Topics of
        sources are left out: the lag shows them."""
        return self._events.why_waiting()

    def _each(self) -> Sequence[Reader]:
        return tuple(self._readers.values())

    def _end(self) -> None:
        self._stopping.set()
        self._changed.set()
        for reader in self._each():
            reader.end()

    def _reader(self, topic: str, group: str, sort: Sort) -> Reader:
        settings = self._settings.model_copy(
            update={
                "topic": topic,
                "consumer_group": group,
                **({} if topic == self._settings.topic else self._of_sources()),
            }
        )
        return Reader(settings, self.metrics, sort, self._tracer_provider)

    def _of_sources(self) -> dict[str, object]:
        """The settings of readers of deliveries."""
        return {
            "faststream_metrics": False,  # they exist once in a process
            "breaker_share": 1.0,  # one source must not pause the others
            "batch_records": min(self._settings.batch_records, DELIVERIES_MAX),
        }

    def _start(self, reader: Reader) -> None:
        self._readers[reader.topic] = reader
        task = self._tasks[reader.topic] = asyncio.create_task(reader.run())
        task.add_done_callback(lambda _ended: self._changed.set())

    def _readers_continue(self) -> bool:
        """Forgets readers that have ended, and returns false for an end that ends the process."""
        for topic, task in list(self._tasks.items()):
            if not task.done():
                continue
            fault = None if task.cancelled() else task.exception()
            if topic == self._settings.topic or (fault is not None and not isinstance(fault, KafkaRefusal)):
                return False
            if fault is not None:
                logger.error("cannot read the topic %s of a source: %s", topic, fault)
                self._refused[topic] = (str(fault), time.monotonic())
            del self._tasks[topic], self._readers[topic]
        return True

    async def _follow_sources(self) -> None:
        """Starts and ends readers as sources come and go, and retries deliveries that wait for another one,
        until it is cancelled. Raises permanent faults."""
        while True:
            if await self._directory.refresh():
                self._adjust(self._topics_of_sources())
                await self._directory.retry_waiting()
            await asyncio.sleep(self._settings.sources_interval_seconds)

    def _topics_of_sources(self) -> set[str]:
        known = self._directory.known
        if known is None:
            return set()
        topics = {topic for topic, one in known.by_topic.items() if one.enabled}
        # Once it is read, its deliveries are read to the end, also those of a source that is deleted.
        by_http = any(one.source.topic is None for one in known.by_id.values())
        if by_http or self._settings.deliveries_topic in self._readers:
            topics.add(self._settings.deliveries_topic)
        return topics - {self._settings.topic}

    def _adjust(self, topics: set[str]) -> None:
        """Makes the readers those of these topics and of the topic of events."""
        for topic, reader in list(self._readers.items()):
            if topic not in topics and topic != self._settings.topic:
                logger.info("stops reading the topic %s: no enabled source has it", topic)
                reader.end()
        for topic in sorted(topics - self._readers.keys()):
            refused = self._refused.get(topic)
            if refused is None or time.monotonic() - refused[1] > REFUSED_SECONDS:
                self._start(
                    self._reader(topic, f"{self._settings.consumer_group}.{topic}", self._sort_deliveries)
                )

    async def _sort_deliveries(self, records: Sequence[Record], now: datetime) -> Sorted:
        """Sorts deliveries by the sources. A stop ends the wait for them; the batch is then read again."""
        topic = self._settings.deliveries_topic
        known = self._directory.known
        if known is not None:
            found = await sort_deliveries(records, known, now, topic)
            if all(bad.source_id != NO_SOURCE for bad in found.bad_records):
                return found
        # The receiver may know a new source before this process does.
        known = await self._directory.refreshed(self._stopping)
        return Sorted() if known is None else await sort_deliveries(records, known, now, topic)
