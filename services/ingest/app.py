"""The ingest service: batches of records from Kafka into the store, offsets committed after the database.

The order is the whole of exactness: parse, store in one transaction, and only then commit the offsets of
the batch, partition by partition. A crash anywhere leaves a transaction whole or not at all, and redelivery
is harmless. A database or broker that is away is waited for; nothing is skipped.
"""

import asyncio
import logging
import signal
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, cast

from aiokafka import ConsumerRecord as Record
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaError,
    UnknownTopicOrPartitionError,
)
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker, KafkaMessage
from faststream.kafka.message import FAKE_CONSUMER
from faststream.kafka.prometheus import KafkaPrometheusMiddleware

from services.ingest.arrivals import sort_out
from services.ingest.assignment import ASK_SECONDS, STALL_SECONDS, Assignment, offsets_of
from services.ingest.batch_trace import UNTRACED, BatchTrace, untraced
from services.ingest.connections import expect_closed_transports
from services.ingest.consumer import Consumer, FaultListener
from services.ingest.header_names import read_any_header_name
from services.ingest.metrics import Metrics, Standing
from services.ingest.progress import Progress
from services.ingest.watch import Watch, unowned_reason
from services.ingest.writer import Writer
from shared.changes import Arrival
from shared.kafka import wait_for_topic
from shared.kafka_client import KafkaRefusal, client_options, connection_faults, refusal
from shared.quarantine import BadRecord
from shared.settings import IngestSettings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

logger = logging.getLogger("callfold.ingest")

METADATA_SECONDS: Final = 60
"""How old aiokafka's view of the topic may be."""

_timestamp_ms = attrgetter("timestamp")


class Ingest:
    """One process of the consumer group."""

    def __init__(self, settings: IngestSettings, tracer_provider: "TracerProvider | None" = None) -> None:
        read_any_header_name()
        expect_closed_transports()
        self._settings = settings
        self._stopping = asyncio.Event()
        self._assignment = Assignment(
            settings.topic, lambda: self._subscriber.consumer, on_assigned=lambda: self._watch.look_now()
        )
        self.metrics = Metrics(
            Standing(
                is_waiting=lambda: self._reason_to_wait() is not None,
                partitions=self._assignment.partitions,
                lag=self._assignment.lag,
                unowned_partitions=lambda: len(self._assignment.unowned()),
            )
        )
        self._writer = Writer(settings, self.metrics, self._stopping)
        self._progress = Progress(settings)
        self._watch = Watch(
            settings.topic,
            self._assignment,
            self._progress,
            consumer=self._running_consumer,
            writer_waits=lambda: self._writer.waiting is not None,
            start_over=self._start_over,
        )
        self._found_topic = False
        self._committing: asyncio.Task[None] | None = None
        self._failure: Exception | None = None
        self._batch_in_hand: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._batch_in_hand.set_result(None)
        self._follow = untraced
        middlewares: list[Any] = [partial(FaultListener, self._fail)]  # around all others
        if tracer_provider is not None:
            from services.ingest.traces import Traces

            traces = Traces(tracer_provider, settings.consumer_group)
            self._follow = traces.follow
            middlewares.append(traces.middleware)
        if settings.faststream_metrics:
            middlewares.append(
                KafkaPrometheusMiddleware(registry=self.metrics.registry, app_name="callfold-ingest")
            )
        self._broker = KafkaBroker(
            settings.kafka_bootstrap.split(","),
            client_id="callfold-ingest",
            consumer_only=True,
            metadata_max_age_ms=METADATA_SECONDS * 1000,
            allow_auto_create_topics=False,
            graceful_timeout=1,  # `_stop` has waited for the batch in hand by then
            middlewares=middlewares,
            apply_types=False,
            logger=None,
        )
        self._subscriber = self._broker.subscriber(
            settings.topic,
            batch=True,
            max_records=settings.batch_records,
            batch_timeout_ms=int(settings.batch_linger_seconds * 1000),
            group_id=settings.consumer_group,
            group_instance_id=settings.group_instance_id,
            ack_policy=AckPolicy.MANUAL,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_partition_fetch_bytes=4 * 1024 * 1024,  # enough that a batch seldom waits for the broker
            fetch_max_bytes=16 * 1024 * 1024,
            session_timeout_ms=int(settings.session_timeout_seconds * 1000),
            heartbeat_interval_ms=int(min(1, settings.session_timeout_seconds / 10) * 1000),
            max_poll_interval_ms=15 * 60 * 1000,
            rebalance_timeout_ms=60 * 1000,
            # FastStream's type asks for a class; aiokafka takes whatever has its methods.
            partition_assignment_strategy=cast("Any", (self._assignment.assignor,)),
            listener=self._assignment,
            parser=_with_values if settings.faststream_metrics else _as_it_is,
            decoder=_undecoded,
        )
        self._subscriber(self._take)
        self._app = FastStream(self._broker, logger=None, on_shutdown=[self._stop])

    async def run(self) -> None:
        """Consumes until SIGTERM or SIGINT. Raises the first fault that does not pass."""
        settings = self._settings
        # Until FastStream listens to them: without a handler, the first process of a container ignores them.
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._end)
        await wait_for_topic(settings, settings.topic, self._stopping)
        if self._stopping.is_set():
            return
        self._found_topic = True
        builder: Any = await self._broker.connect()
        options = builder.keywords | client_options(settings)
        self._broker.config.broker_config.builder = partial(
            Consumer,
            self._fail,
            self.metrics.progress.set_to_current_time,
            self._assignment.read,
            self._watch.look_now,
            self._assignment.assignor,
            **options,
        )
        watching = asyncio.create_task(self._watch_topic())
        try:
            with connection_faults(self._hear):
                await self._app.run()
        except KafkaError as fault:
            self._failure = self._failure or fault
        finally:
            watching.cancel()
            await asyncio.wait([watching])
            self._progress.close()
            self._writer.close()
        if refused := refusal(self._failure):
            raise KafkaRefusal(f"Kafka can't be used at {settings.kafka_bootstrap}: {refused}.")
        if self._failure is not None:
            raise self._failure

    async def _watch_topic(self) -> None:
        try:
            await self._watch.run()
        except Exception as fault:
            self._fail(fault)

    def _running_consumer(self) -> Consumer | None:
        consumer: Consumer | None = self._subscriber.consumer
        return consumer if self._subscriber.running else None

    async def _start_over(self, what: str, is_another_log: bool) -> None:
        """Leaves the topic, of which `what` became, waits until it exists, and reads it with a new consumer.

        What the consumer knows is of the former topic: the broker removes the group's offsets with a topic,
        and positions, or a commit that aiokafka repeats until the topic exists again, must not outlive it.
        `is_another_log` says that the topic may be another one, and that nobody saw the former one gone: then
        offsets may have been committed since, and this process's partitions are read from their first record.
        """
        logger.warning(
            "the topic %s %s: reads it with a new consumer once it exists", self._settings.topic, what
        )
        self._found_topic = False
        if self._committing is not None:
            self._committing.cancel()
        if is_another_log:
            await self._commit_begin()
        while not self._stopping.is_set():
            await self._subscriber.stop()
            self._assignment.forget()
            self._assignment.topic = None
            await wait_for_topic(self._settings, self._settings.topic, self._stopping)
            if self._stopping.is_set():
                return
            self._found_topic = True
            try:
                await self._subscriber.start()
            except UnknownTopicOrPartitionError:  # removed since
                self._found_topic = False
            else:
                return

    async def _commit_begin(self) -> None:
        """Commits the first offset of this process's partitions."""
        consumer = self._running_consumer()
        if consumer is None or not consumer.assignment():
            return
        try:
            async with asyncio.timeout(ASK_SECONDS):
                await consumer.commit(dict.fromkeys(consumer.assignment(), 0))
        except (KafkaError, TimeoutError) as error:
            logger.info("could not commit the first offset of the new topic: %s", error)

    async def why_waiting(self) -> str | None:
        """Why nothing is stored now; None when all is well, also when there is nothing to store."""
        return self._reason_to_wait()

    def _reason_to_wait(self) -> str | None:
        if not self._found_topic:
            return f"waits for Kafka and its topic {self._settings.topic}"
        if self._writer.waiting is not None:
            return self._writer.waiting
        if not self._assignment.joined:
            return "joins the consumer group"
        if self._subscriber.consumer is not None and self._subscriber.consumer.lost_broker:
            return "waits for Kafka"
        if unowned := self._assignment.unowned():
            return f"{unowned_reason(unowned)} of the topic {self._settings.topic}"
        if stalled := self._assignment.stalled():
            numbers = ", ".join(map(str, stalled))
            return f"has read nothing from partitions {numbers} for {STALL_SECONDS} s, although records wait"
        return None

    async def _take(self, records: Sequence[Record]) -> None:
        """Reads a batch while the one before is being stored, then stores it in its turn.

        FastStream goes on after whatever a handler raises, and a later commit would pass over the batch: so a
        fault ends the process, and no batch comes after it.
        """
        trace = UNTRACED
        try:
            trace = self._follow(records)
            consumer = self._running_consumer()
            with trace.step("parse"):
                arrivals, bad_records = await sort_out(records, datetime.now(UTC))
            with trace.step("wait for the batch before"):
                # Not `await`: whoever cancels this must not cancel that.
                await asyncio.wait([self._batch_in_hand])
        except Exception as fault:
            self._fail(fault)
        if self._stopping.is_set():
            trace.end(self._failure)
        else:
            self._batch_in_hand = asyncio.create_task(
                self._finish(consumer, records, arrivals, bad_records, trace)
            )

    async def _finish(
        self,
        consumer: Consumer | None,
        records: Sequence[Record],
        arrivals: Sequence[Arrival],
        bad_records: Sequence[BadRecord],
        trace: BatchTrace,
    ) -> None:
        """Stores a batch, and only then commits its offsets."""
        try:
            with trace.step("store"):
                began = time.monotonic()
                if await self._writer.write(arrivals, bad_records, trace):
                    self._measure(records, time.monotonic() - began, now=time.time())
                    self.metrics.count_without_value(len(records) - len(arrivals) - len(bad_records))
                    with trace.step("commit offsets"):
                        await self._commit(consumer, records, trace)
        except Exception as fault:
            self._fail(fault)
            trace.end(fault)
        finally:
            trace.end()

    def _measure(self, records: Sequence[Record], seconds: float, now: float) -> None:
        self.metrics.batch_records.observe(len(records))
        self.metrics.batch_seconds.observe(seconds)
        self.metrics.delay_seconds.observe(max(now - min(map(_timestamp_ms, records)) / 1000, 0))
        self.metrics.progress.set(now)

    def _fail(self, fault: Exception) -> None:
        self._failure = self._failure or fault
        self._end()

    def _end(self) -> None:
        self._stopping.set()
        self._app.exit()

    def _hear(self, fault: Exception) -> None:
        """aiokafka tries for ever to reconnect, whatever the broker says. Credentials come with the start of
        a process, so what was refused ends it, and the next start has what is right by then."""
        if refusal(fault):
            self._fail(fault)

    async def _stop(self) -> None:
        """Before the broker is closed: no further batch, and the one in hand has its time to end."""
        self._stopping.set()
        await asyncio.wait([self._batch_in_hand], timeout=self._settings.stop_timeout_seconds)

    async def _commit(self, consumer: Consumer | None, records: Sequence[Record], trace: BatchTrace) -> None:
        """Commits the batch's offsets, for the partitions that are still this process's, unless the consumer
        that read them has been left with its topic. aiokafka itself waits for a broker that is away."""
        is_current = consumer is self._subscriber.consumer and self._found_topic
        if consumer is None or not is_current:
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
                "lost partitions before the commit; their new owner reads the batch again, to no harm"
            )
        finally:
            self._committing = None


async def _as_it_is(records: tuple[Record, ...]) -> KafkaMessage:
    """FastStream's own parser decodes headers, and raises on what can't be decoded."""
    return KafkaMessage(body=(), raw_message=records, consumer=FAKE_CONSUMER)


async def _with_values(records: tuple[Record, ...]) -> KafkaMessage:
    """The same for FastStream's metrics, which measure the values by the body."""
    values = [record.value or b"" for record in records]
    return KafkaMessage(body=values, raw_message=records, consumer=FAKE_CONSUMER)


async def _undecoded(message: KafkaMessage) -> Sequence[Record]:
    return message.raw_message
