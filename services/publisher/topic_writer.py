"""Writing states of calls to the topic, in transactions of one transactional id.

A new producer of this id fences the older ones: the broker refuses every record that they still send. So no
state that an earlier leader read can follow one that a later leader read.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError

from services.publisher.changed_calls import State
from shared.encoding import encode
from shared.kafka.client import cause, connection_faults
from shared.kafka.producer import producer
from shared.kafka.topic import RECORD_BYTES_MAX
from shared.settings.publisher import PublisherSettings

KAFKA_SECONDS: Final = 30
CLOSE_SECONDS: Final = 2

Record = tuple[bytes, bytes | None, list[tuple[str, bytes]]]
"""Key, value and headers."""


class TopicWriter:
    """The only producer that the topic takes records from, until a later one starts."""

    def __init__(self, sender: AIOKafkaProducer, topic: str) -> None:
        self._sender = sender
        self._topic = topic

    async def write(self, records: Sequence[Record]) -> None:
        """Writes the records in one transaction. Raises aiokafka's `KafkaError`: `ProducerFenced` if a later
        producer has started. After any error, this producer must not be used again; the next one ends the
        transaction."""
        with _kafka_errors():
            async with asyncio.timeout(KAFKA_SECONDS):
                await self._sender.begin_transaction()
                sent = [
                    await self._sender.send(self._topic, value, key, headers=headers)
                    for key, value, headers in records
                ]
                await asyncio.gather(*sent)
                await self._sender.commit_transaction()


@asynccontextmanager
async def topic_writer(settings: PublisherSettings, group: int | None = None) -> AsyncIterator[TopicWriter]:
    """A writer for the duration of the block. When the block begins, all earlier producers are fenced, in a
    distributed database those of the same group. Raises aiokafka's `KafkaError`."""
    of_worker = f"-{group}" if group else ""
    heard: list[Exception] = []
    sender = producer(
        settings,
        request_bytes_max=RECORD_BYTES_MAX,
        compression="zstd",
        linger_ms=0,
        transactional_id=f"callfold-publisher-{settings.calls_topic}{of_worker}",
    )
    writer = TopicWriter(sender, settings.calls_topic)
    try:
        with connection_faults(heard.append):
            try:
                with _kafka_errors():
                    async with asyncio.timeout(KAFKA_SECONDS):
                        await sender.start()
                await writer.write(())  # returns when the broker knows this producer
            except KafkaError as error:
                raise cause(error, heard) from None
        yield writer
    finally:
        with contextlib.suppress(KafkaError, OSError, TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await sender.stop()


def record(state: State) -> Record:
    """The record of a call's state. A deleted call has no value, so that Kafka removes it from the topic."""
    organization_id, call_id = state.key
    key = f"{organization_id}:{call_id}".encode()
    headers = [("organization", str(organization_id).encode())]
    if state.livemode is not None:
        headers.append(("mode", b"live" if state.livemode else b"test"))
    if state.call is None:
        return key, None, headers
    headers.append(("revision", str(state.revision).encode()))
    return key, encode(state.call), headers


@contextlib.contextmanager
def _kafka_errors() -> Iterator[None]:
    """Turns faults of the network into those of Kafka, which tells them from faults of the database."""
    try:
        yield
    except TimeoutError as error:
        raise KafkaTimeoutError(f"the broker has not answered within {KAFKA_SECONDS} s") from error
    except OSError as error:
        raise KafkaConnectionError(str(error)) from error
