"""Kafka: the topic. Reading it is ingest's, writing it the telephony systems'."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError, KafkaError, TopicAlreadyExistsError, for_code

from shared.backoff import Backoff
from shared.kafka.client import (
    Broker,
    KafkaRefusal,
    address,
    cause,
    client_options,
    connection_faults,
    fault,
    refusal,
)
from shared.outage import Outage

logger = logging.getLogger("callfold.kafka")

CLOSE_SECONDS: Final = 3
TRY_SECONDS: Final = 10
"""How long each broker has, while the topic is waited for, until it is said that there is none."""

REPLICAS_OF_CLUSTER: Final = 3
"""From so many replicas on, an event is acknowledged by two brokers, and one may fail."""
RECORD_BYTES_MAX: Final = 5 * 1024 * 1024
"""What the topic lets through: more than an event may have, so that a larger one is seen and quarantined."""


@asynccontextmanager
async def administration(
    broker: Broker, *, request_seconds: float = 40
) -> AsyncIterator[AIOKafkaAdminClient]:
    """A client that asks about topics, for as long as the block. Raises aiokafka's `KafkaError`."""
    admin = AIOKafkaAdminClient(**client_options(broker), request_timeout_ms=int(request_seconds * 1000))
    try:
        await admin.start()
        yield admin
    finally:
        # It would wait half a minute for a broker that does not answer the end of TLS.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await admin.close()


async def partitions_of(admin: AIOKafkaAdminClient, topic: str) -> list[int]:
    """The numbers of the topic's partitions; none when there is no such topic, or this user can't see it."""
    # All topics are asked for: a broker may make one that is asked for by its name.
    known = {one["topic"]: one["partitions"] for one in await admin.describe_topics()}
    return sorted(one["partition"] for one in known.get(topic, ()))


async def ensure_topic(broker: Broker, topic: str, partitions: int, *, replication_factor: int = 1) -> bool:
    """Makes the topic unless it is there, and whether it did. Raises aiokafka's `KafkaError` when the broker
    refuses it."""
    async with administration(broker) as admin:
        if await partitions_of(admin, topic):
            return False
        if not (await admin.describe_cluster())["brokers"]:
            raise KafkaConnectionError("no broker of the cluster is ready yet")
        # No broker's default may compact the topic: a call's events have one key.
        config = {"max.message.bytes": str(RECORD_BYTES_MAX), "cleanup.policy": "delete"}
        if replication_factor >= REPLICAS_OF_CLUSTER:
            config["min.insync.replicas"] = "2"
        made = await admin.create_topics(
            [NewTopic(topic, partitions, replication_factor, topic_configs=config)]
        )
        for _, code, *message in made.topic_errors:
            error = for_code(code)
            if error is TopicAlreadyExistsError:
                return False
            if code:
                raise error(*message)
    return True


async def wait_for_topic(broker: Broker, topic: str, stop: asyncio.Event) -> None:
    """Returns when the broker answers and has the topic, or when `stop` is set, whatever the broker does.
    Raises KafkaRefusal when the broker and we don't take each other."""
    looking = asyncio.create_task(_look_for_topic(broker, topic, stop))
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({looking, stopped}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
        looking.cancel()
        await asyncio.wait({looking})
    if not looking.cancelled():
        looking.result()


async def _look_for_topic(broker: Broker, topic: str, stop: asyncio.Event) -> None:
    backoff = Backoff()
    outage = Outage(logger, "waits", f"found the topic {topic}", each_reason=True)
    where = address(broker)
    while not stop.is_set():
        faults: list[Exception] = []
        try:
            with connection_faults(faults.append):
                async with administration(broker, request_seconds=TRY_SECONDS) as admin:
                    if await partitions_of(admin, topic):
                        outage.end()
                        return
            missing = f"the broker at {where} has no topic {topic}, or does not let this user see it"
        except (KafkaError, OSError) as error:
            reason = cause(error, faults)
            if refused := refusal(reason):
                raise KafkaRefusal(f"Kafka can't be used at {where}: {refused}.") from None
            missing = f"no broker at {where}: {fault(reason)}"
        outage.begin(missing)
        await backoff.wait(stop)
