"""The publisher: writes deliveries to their topic, each acknowledged by the broker.

The producer is not idempotent. With sequence numbers, a record that the broker refuses for its size would
make it refuse every later record of the partition. A delivery that is written twice does no harm: its events
have the same ids.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, UnknownTopicOrPartitionError

from services.receiver.bodies import HeldBody
from shared.backoff import Backoff
from shared.kafka.client import cause, connection_faults, fault
from shared.kafka.producer import producer
from shared.kafka.topic import DELIVERY_BYTES_MAX, administration, partitions_of
from shared.outage import Outage
from shared.settings.receiver import ReceiverSettings
from shared.sources.delivery_record import DeliveryRecord

logger = logging.getLogger("callfold.receiver")

LOOK_SECONDS: Final = 5
"""How often the producer looks whether a broker answers, while no request fails."""
CLOSE_SECONDS: Final = 2
_FAULTS: Final = (KafkaError, OSError, TimeoutError)


class NotPublished(Exception):
    """Kafka did not take the record, or not in time. A retry may help."""


class RecordTooLarge(Exception):
    """The broker, or the client, accepts no record of this size."""


class Publisher:
    """Publishes to the topic of deliveries."""

    def __init__(self, settings: ReceiverSettings, published: Callable[[], None] = lambda: None) -> None:
        """`published` is called for each acknowledged record."""
        self._settings = settings
        self._published = published
        self._producer: AIOKafkaProducer | None = None
        self._reason: str | None = "has not connected to Kafka yet"
        self._failed = asyncio.Event()
        self._outage = Outage(logger, "cannot publish to Kafka", "publishes to Kafka again")
        self._closing: set[asyncio.Task[None]] = set()
        self.waiting = 0
        """The records that Kafka has not acknowledged. Some of their requests may have been answered 503."""

    @property
    def is_up(self) -> bool:
        """Whether the last attempt to use Kafka succeeded."""
        return self._reason is None

    def why_waiting(self) -> str | None:
        """Why no record can be published; None when Kafka can be used."""
        return None if self._reason is None else f"waits for Kafka: {self._reason}"

    async def publish(self, record: DeliveryRecord, held: HeldBody) -> None:
        """Returns when the broker has stored the record. Raises NotPublished and RecordTooLarge. The body is
        held for as long as the producer has the record."""
        sender = self._producer
        if (
            sender is None
            or self._reason is not None
            or self.waiting >= self._settings.receiver_waiting_requests
        ):
            raise NotPublished
        self.waiting += 1
        held.hold()
        acknowledged: asyncio.Future[object] | None = None
        try:
            async with asyncio.timeout(self._settings.receiver_kafka_seconds):
                acknowledged = await sender.send(
                    self._settings.deliveries_topic, record.value, headers=list(record.headers)
                )
                acknowledged.add_done_callback(lambda ended: self._end(held, ended))
                await asyncio.shield(acknowledged)
        except MessageSizeTooLargeError:
            raise RecordTooLarge from None
        except _FAULTS as error:
            self._fail(_why(error, self._settings.receiver_kafka_seconds))
            raise NotPublished from None
        finally:
            if acknowledged is None:
                self._end(held, None)
        self._reason = None
        self._outage.end()
        self._published()

    def _end(self, held: HeldBody, ended: "asyncio.Future[object] | None") -> None:
        self.waiting -= 1
        held.release()
        if ended is not None and not ended.cancelled():
            ended.exception()  # after a time-out, the request does not retrieve it

    def _fail(self, reason: str) -> None:
        self._reason = reason
        self._outage.begin(reason)
        self._failed.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Connects to Kafka, and again with a new producer after a fault, until `stop` is set."""
        loop = asyncio.get_running_loop()
        backoff = Backoff(longest_seconds=LOOK_SECONDS)
        stopped = asyncio.ensure_future(stop.wait())
        try:
            while not stop.is_set():
                self._failed.clear()
                try:
                    fresh = await self._connected()
                except _FAULTS as error:
                    self._fail(_why(error, self._settings.receiver_kafka_seconds))
                else:
                    began = loop.time()
                    self._use(fresh)
                    await self._until_it_fails(fresh, stopped)
                    if loop.time() - began > LOOK_SECONDS:
                        backoff.reset()
                await backoff.wait(stop)
        finally:
            stopped.cancel()
            if self._producer is not None:
                self._close(self._producer)
            if self._closing:
                await asyncio.wait(self._closing, timeout=CLOSE_SECONDS)

    def _use(self, fresh: AIOKafkaProducer) -> None:
        """Replaces the producer. The outage ends with the next record, if one began it."""
        if self._producer is not None:
            self._close(self._producer)
        else:
            self._outage.end()
        self._producer, self._reason = fresh, None

    async def _connected(self) -> AIOKafkaProducer:
        """A started producer, which knows the topic. Raises KafkaError, OSError and TimeoutError."""
        settings = self._settings
        heard: list[Exception] = []
        fresh = producer(
            settings,
            request_bytes_max=DELIVERY_BYTES_MAX,
            compression="zstd",
            idempotent=False,
            request_seconds=settings.receiver_kafka_seconds,
            linger_ms=0,  # a client waits; records still share a request while another one is under way
        )
        try:
            with connection_faults(heard.append):
                async with administration(settings, request_seconds=settings.receiver_kafka_seconds) as admin:
                    if not await partitions_of(admin, settings.deliveries_topic):
                        raise UnknownTopicOrPartitionError(
                            f"there is no topic {settings.deliveries_topic}, or this user may not see it"
                        )
                await fresh.start()
                await fresh.partitions_for(settings.deliveries_topic)
        except BaseException as error:
            self._close(fresh)
            if isinstance(error, Exception):
                raise cause(error, heard) from None
            raise
        return fresh

    async def _until_it_fails(self, sender: AIOKafkaProducer, stopped: "asyncio.Future[Any]") -> None:
        """Returns when a record was not published, no broker answers, or the process stops."""
        while not (self._failed.is_set() or stopped.done()):
            failed = asyncio.ensure_future(self._failed.wait())
            await asyncio.wait({failed, stopped}, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            failed.cancel()
            if not (self._failed.is_set() or stopped.done()):
                await self._look(sender)

    async def _look(self, sender: AIOKafkaProducer) -> None:
        try:
            async with asyncio.timeout(self._settings.receiver_kafka_seconds):
                answered = await sender.client.force_metadata_update()
        except TimeoutError:
            answered = False
        if not answered:
            self._fail("no broker answers")

    def _close(self, sender: AIOKafkaProducer) -> None:
        """Closes a producer in the background. It first sends what it has, or gives it up after its time."""
        task = asyncio.create_task(_closed(sender))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


async def _closed(sender: AIOKafkaProducer) -> None:
    with contextlib.suppress(*_FAULTS):
        await sender.stop()


def _why(error: Exception, seconds: float) -> str:
    if isinstance(error, TimeoutError) and not isinstance(error, KafkaError):
        return f"no broker has answered within {seconds:g} s"
    return fault(error)
