"""FastStream: what ingest uses of it, and what ingest replaces or turns off.

Used: one subscriber that polls the topic and passes on batches; middlewares, for the span of a batch and
FastStream's own metrics; starting and stopping the broker.

Replaced or turned off:

- creating the consumer. Its builder, a private part, is replaced by one that creates `Consumer`.
- decoding records. FastStream's parsers decode headers and raise on bytes that are not UTF-8.
- acknowledging records. The policy is manual, and messages refer to a consumer that commits nothing.
- polling after a fault. A later commit would skip the batch, so a fault ends the process: `Consumer` reports
  exceptions of polling, and `_FaultListener` those of middlewares and parsers.
- signals: a process has several subscriptions, and `Ingest` handles its signals.
- logging, creating topics and injecting dependencies: turned off.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, cast

from aiokafka import ConsumerRecord as Record
from faststream import AckPolicy, BaseMiddleware, ContextRepo, FastStream
from faststream.kafka import KafkaBroker, KafkaMessage
from faststream.kafka.message import FAKE_CONSUMER
from faststream.kafka.prometheus import KafkaPrometheusMiddleware
from prometheus_client import CollectorRegistry

from services.ingest.assignment import Assignment
from services.ingest.consumer import Consumer
from shared.kafka.client import client_options
from shared.settings.ingest import IngestSettings
from shared.upstream import expect_parts

if TYPE_CHECKING:
    from services.ingest.traces import Traces

METADATA_SECONDS: Final = 60
"""The maximum age of aiokafka's metadata of the topic."""

Fail = Callable[[Exception], None]


class Subscription:
    """The membership in the consumer group. It passes batches to `take`, one at a time."""

    def __init__(
        self,
        settings: IngestSettings,
        assignment: Assignment,
        *,
        take: Callable[[Sequence[Record]], Awaitable[None]],
        fail: Fail,
        before_stop: Callable[[], Awaitable[None]],
        registry: CollectorRegistry,
        traces: "Traces | None" = None,
    ) -> None:
        """`fail` is called with each fault that FastStream would ignore. `before_stop` runs after a stop is
        requested, while the consumer is still connected."""
        self._settings = settings
        self._assignment = assignment
        self._fail = fail
        middlewares: list[Any] = [partial(_FaultListener, fail)]  # outside all others
        if traces is not None:
            middlewares.append(traces.middleware)
        if settings.faststream_metrics:
            middlewares.append(KafkaPrometheusMiddleware(registry=registry, app_name="callfold-ingest"))
        self._broker = _broker(settings, middlewares)
        self._subscriber = _subscriber(self._broker, settings, assignment)
        self._subscriber(take)
        self._ended = asyncio.Event()
        self._app = FastStream(self._broker, logger=None, on_shutdown=[before_stop])

    @property
    def consumer(self) -> Consumer | None:
        """The consumer, also while it starts or stops."""
        consumer: Consumer | None = self._subscriber.consumer
        return consumer

    def running_consumer(self) -> Consumer | None:
        """The consumer, once it has started."""
        return self.consumer if self._subscriber.running else None

    async def run(self, *, on_poll: Callable[[], None], on_missing_topic: Callable[[], None]) -> None:
        """Reads until `end`. Raises aiokafka's errors at the start."""
        builder: Any = await self._broker.connect()
        expect_parts("faststream", builder, "keywords")
        expect_parts("faststream", self._broker.config, "broker_config")
        expect_parts("faststream", self._broker.config.broker_config, "builder")
        self._broker.config.broker_config.builder = partial(
            Consumer,
            self._fail,
            on_poll,
            self._assignment.read,
            on_missing_topic,
            self._assignment.assignor,
            **(builder.keywords | client_options(self._settings)),
        )
        starting = asyncio.create_task(self._app.start())
        ended = asyncio.create_task(self._ended.wait())
        try:
            await asyncio.wait({starting, ended}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                await ended
            await self._app.stop()
        finally:
            for task in (starting, ended):
                task.cancel()
            await asyncio.wait({starting, ended})

    def end(self) -> None:
        """Ends `run`."""
        self._ended.set()

    async def leave(self) -> None:
        """Leaves the group; `run` continues."""
        await self._subscriber.stop()

    async def join(self) -> None:
        """Joins the group with a new consumer. Raises aiokafka's errors."""
        await self._subscriber.start()


def _broker(settings: IngestSettings, middlewares: Sequence[Any]) -> KafkaBroker:
    return KafkaBroker(
        settings.kafka_bootstrap.split(","),
        client_id="callfold-ingest",
        consumer_only=True,
        metadata_max_age_ms=METADATA_SECONDS * 1000,
        allow_auto_create_topics=False,
        graceful_timeout=1,  # by then, `before_stop` has waited for the current batch
        middlewares=middlewares,
        apply_types=False,
        logger=None,
    )


def _subscriber(broker: KafkaBroker, settings: IngestSettings, assignment: Assignment) -> Any:
    return broker.subscriber(
        settings.topic,
        batch=True,
        max_records=settings.batch_records,
        batch_timeout_ms=int(settings.batch_linger_seconds * 1000),
        group_id=settings.consumer_group,
        group_instance_id=settings.group_instance_id,
        ack_policy=AckPolicy.MANUAL,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_partition_fetch_bytes=4 * 1024 * 1024,  # large enough that a batch rarely waits for the broker
        fetch_max_bytes=16 * 1024 * 1024,
        session_timeout_ms=int(settings.session_timeout_seconds * 1000),
        heartbeat_interval_ms=int(min(1, settings.session_timeout_seconds / 10) * 1000),
        max_poll_interval_ms=15 * 60 * 1000,
        rebalance_timeout_ms=60 * 1000,
        # FastStream's type requires a class; aiokafka accepts any object with its methods.
        partition_assignment_strategy=cast("Any", (assignment.assignor,)),
        listener=assignment,
        parser=_with_values if settings.faststream_metrics else _undecoded,
        decoder=_records_of,
    )


async def _undecoded(records: tuple[Record, ...]) -> KafkaMessage:
    return KafkaMessage(body=(), raw_message=records, consumer=FAKE_CONSUMER)


async def _with_values(records: tuple[Record, ...]) -> KafkaMessage:
    """The same for FastStream's metrics, which measure values by the message body."""
    values = [record.value or b"" for record in records]
    return KafkaMessage(body=values, raw_message=records, consumer=FAKE_CONSUMER)


async def _records_of(message: KafkaMessage) -> Sequence[Record]:
    return message.raw_message


class _FaultListener(BaseMiddleware[Any, Any]):
    """Calls `fail` with each exception raised between the poll and the handler's return."""

    def __init__(self, fail: Fail, records: Any, /, *, context: ContextRepo) -> None:
        super().__init__(records, context=context)
        self._fail = fail

    async def after_processed(
        self,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,
    ) -> bool | None:
        """As FastStream's, which propagates the fault."""
        if isinstance(exc_val, Exception):
            self._fail(exc_val)
        return await super().after_processed(exc_type, exc_val, exc_tb)
