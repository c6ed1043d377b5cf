"""A reader of one topic: batches of records from Kafka into the store, offsets committed after the database.

Exactness rests on this order: parse, store in one transaction, then commit the batch's offsets. A crash at
any point leaves a transaction whole or absent, and redelivery is harmless. A reader waits for an unreachable
database or broker and skips nothing.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from aiokafka import ConsumerRecord as Record
from aiokafka.errors import KafkaError

from services.ingest.arrivals import Sort, Sorted
from services.ingest.assignment import STALL_SECONDS, Assignment
from services.ingest.batch_trace import UNTRACED, BatchTrace, untraced
from services.ingest.consumer import Consumer
from services.ingest.metrics import Metrics
from services.ingest.offsets import Offsets
from services.ingest.progress_writer import Progress
from services.ingest.subscription import Subscription
from services.ingest.topic_return import TopicReturn
from services.ingest.watch import Watch, unowned_reason
from services.ingest.writer import Writer
from shared.kafka.client import KafkaRefusal, connection_faults, refusal
from shared.settings.ingest import IngestSettings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from services.ingest.traces import Traces


CANCEL_SECONDS: Final = 1


class Reader:
    """One member of the topic's consumer group."""

    def __init__(
        self,
        settings: IngestSettings,
        metrics: Metrics,
        sort: Sort,
        tracer_provider: "TracerProvider | None" = None,
    ) -> None:
        """Reads `settings.topic` as `settings.consumer_group`. `sort` reads the records of a batch."""
        self._settings = settings
        self._metrics = metrics
        self._sort = sort
        self.progress_at = 0.0
        """When this reader last polled Kafka or stored a batch, in seconds since 1970; 0 before the first
        poll."""
        self._stopping = asyncio.Event()
        self._failure: Exception | None = None
        self._batch_in_hand: asyncio.Task[None] | None = None
        self._assignment = Assignment(
            settings.topic, lambda: self._subscription.consumer, on_assigned=lambda: self._watch.look_now()
        )
        self._writer = Writer(settings, stored=metrics.count, retried=metrics.retried, paused=metrics.paused)
        self._offsets = Offsets(self._assignment)
        self._progress = Progress(settings)
        traces = _traces(settings, tracer_provider)
        self._follow = traces.follow if traces else untraced
        self._subscription = Subscription(
            settings,
            self._assignment,
            take=self._take,
            fail=self._fail,
            before_stop=self._stop,
            registry=metrics.registry,
            traces=traces,
        )
        self._topic = TopicReturn(
            settings, self._subscription, self._assignment, self._offsets, self._stopping
        )
        self._watch = Watch(
            settings.topic,
            self._assignment,
            self._progress,
            consumer=self._subscription.running_consumer,
            writer_waits=lambda: self._writer.waiting is not None,
            start_over=self._topic.start_over,
        )

    @property
    def topic(self) -> str:
        """The topic's name."""
        return self._settings.topic

    def partitions(self) -> int:
        """How many partitions this process reads."""
        return self._assignment.partitions()

    def lag(self) -> dict[int, int]:
        """Records that wait, by partition, as far as this process reports them."""
        return self._assignment.lag()

    def unowned_partitions(self) -> int:
        """How many partitions no process of the group reads."""
        return len(self._assignment.unowned())

    async def run(self) -> None:
        """Consumes until `end`. Raises the first permanent fault."""
        if not await self._topic.wait():
            return
        watching = asyncio.create_task(self._watch_topic())
        try:
            with connection_faults(self._hear):
                await self._subscription.run(
                    on_poll=self._note_progress, on_missing_topic=self._watch.look_now
                )
        except KafkaError as fault:
            self._failure = self._failure or fault
        finally:
            await cancelled(watching)
            self._progress.close()
            self._writer.close()
        if refused := refusal(self._failure):
            raise KafkaRefusal(f"Cannot use Kafka at {self._settings.kafka_bootstrap}: {refused}.")
        if self._failure is not None:
            raise self._failure

    async def _take(self, records: Sequence[Record]) -> None:
        """Parses a batch while the previous one is being stored, then starts to store it.

        FastStream continues after any exception of a handler, and a later commit would skip the batch. So a
        fault ends the process, and no further batch is read.
        """
        trace = UNTRACED
        try:
            trace = self._follow(records)
            consumer = self._subscription.running_consumer()
            with trace.step("parse"):
                found = await self._sort(records, datetime.now(UTC))
            with trace.step("wait for the batch before"):
                await self._batch_ends()
        except Exception as fault:
            self._fail(fault)
            trace.end(fault)
            return
        if self._stopping.is_set():  # the batch is read again
            trace.end(self._failure)
            return
        self._batch_in_hand = asyncio.create_task(self._finish(consumer, records, found, trace))

    async def _finish(
        self,
        consumer: Consumer | None,
        records: Sequence[Record],
        found: Sorted,
        trace: BatchTrace,
    ) -> None:
        """Stores a batch, and only then commits its offsets."""
        try:
            with trace.step("store"):
                began = time.monotonic()
                if await self._writer.write(found, trace):
                    self._note_progress()
                    self._metrics.batch_stored(
                        [record.timestamp for record in records],
                        found,
                        time.monotonic() - began,
                        now=time.time(),
                    )
                    with trace.step("commit offsets"):
                        await self._offsets.commit(consumer, records, trace)
        except Exception as fault:
            self._fail(fault)
            trace.end(fault)
        finally:
            trace.end()

    async def _batch_ends(self, timeout_seconds: float | None = None) -> None:
        if self._batch_in_hand is not None:
            # Not `await`: cancelling this must not cancel the batch.
            await asyncio.wait([self._batch_in_hand], timeout=timeout_seconds)

    async def _stop(self) -> None:
        """Runs before the consumer is closed: takes no further batch and waits a limited time for the current
        one."""
        self.end()
        await self._batch_ends(self._settings.stop_timeout_seconds)

    def _fail(self, fault: Exception) -> None:
        self._failure = self._failure or fault
        self.end()

    def _note_progress(self) -> None:
        self.progress_at = time.time()

    def end(self) -> None:
        """Ends `run`, after the batch being stored or a limited time."""
        self._stopping.set()
        self._writer.stop()
        self._subscription.end()

    async def _watch_topic(self) -> None:
        try:
            await self._watch.run()
        except Exception as fault:
            self._fail(fault)

    def _hear(self, fault: Exception) -> None:
        """aiokafka tries to reconnect forever, for any reason of the broker. Credentials are read when the
        process starts. So a refusal ends the process, and a restarted one reads current credentials."""
        if refusal(fault):
            self._fail(fault)

    def why_waiting(self) -> str | None:
        """Why nothing is stored now; None when it works, even if there is nothing to store."""
        if not self._topic.found:
            return f"waits for Kafka and its topic {self._settings.topic}"
        if self._writer.waiting is not None:
            return self._writer.waiting
        if not self._assignment.joined:
            return "joins the consumer group"
        if self._subscription.consumer is not None and self._subscription.consumer.lost_broker:
            return "waits for Kafka"
        if unowned := self._assignment.unowned():
            return f"{unowned_reason(unowned)} of the topic {self._settings.topic}"
        if stalled := self._assignment.stalled():
            numbers = ", ".join(map(str, stalled))
            return f"has read nothing from partitions {numbers} for {STALL_SECONDS} s, although records wait"
        return None


async def cancelled(task: "asyncio.Task[None]") -> None:
    """Cancels a task until it has ended. aiokafka's `stop` swallows a cancellation that comes meanwhile."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=CANCEL_SECONDS)


def _traces(settings: IngestSettings, provider: "TracerProvider | None") -> "Traces | None":
    if provider is None:
        return None
    from services.ingest.traces import Traces  # OpenTelemetry comes with the extra `telemetry`

    return Traces(provider, settings.consumer_group)
