"""The Kafka topic. Ingest reads it; telephony systems write it."""

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
"""How long each broker may take to answer, while waiting for the topic, before it is reported as
unreachable."""

REPLICAS_OF_CLUSTER: Final = 3
"""With at least this many replicas, two brokers acknowledge each event, so that one may fail."""
RECORD_BYTES_MAX: Final = 5 * 1024 * 1024
"""The topic's limit per record. It is above the limit of an event, so that a larger event arrives and is
quarantined."""
DELIVERY_BYTES_MAX: Final = 8 * 1024 * 1024 + 128 * 1024
"""The limit per record of the topic of deliveries. It is above the limit of a body, with its kept headers."""


_COMPACTED: Final = {
    "cleanup.policy": "compact",
    # Within two days, earlier states of a deleted call are gone, as well as the record of its deletion.
    "max.compaction.lag.ms": str(24 * 60 * 60 * 1000),
    "delete.retention.ms": str(24 * 60 * 60 * 1000),
}


@asynccontextmanager
async def administration(
    broker: Broker, *, request_seconds: float = 40
) -> AsyncIterator[AIOKafkaAdminClient]:
    """An administration client for the duration of the block. Raises aiokafka's `KafkaError`."""
    admin = AIOKafkaAdminClient(**client_options(broker), request_timeout_ms=int(request_seconds * 1000))
    try:
        await admin.start()
        yield admin
    finally:
        # It would wait 30 s for a broker that does not answer the end of TLS.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await admin.close()


async def partitions_of(admin: AIOKafkaAdminClient, topic: str) -> list[int]:
    """The numbers of the topic's partitions; empty if the topic does not exist or this user may not see
    it."""
    # All topics are requested: a broker may create a topic that a request names.
    known = {one["topic"]: one["partitions"] for one in await admin.describe_topics()}
    return sorted(one["partition"] for one in known.get(topic, ()))


async def ensure_topic(
    broker: Broker,
    topic: str,
    partitions: int,
    *,
    replication_factor: int = 1,
    record_bytes_max: int = RECORD_BYTES_MAX,
    compacted: bool = False,
) -> bool:
    """Creates the topic unless it exists. A compacted topic keeps the last record of each key. Returns
    whether it created the topic. Raises aiokafka's `KafkaError` if the broker refuses."""
    async with administration(broker) as admin:
        if await partitions_of(admin, topic):
            return False
        if not (await admin.describe_cluster())["brokers"]:
            raise KafkaConnectionError("no broker of the cluster is ready yet")
        # A broker's default must not compact the topic of events, because a call's events share a key.
        config = {
            "max.message.bytes": str(record_bytes_max),
            **(_COMPACTED if compacted else {"cleanup.policy": "delete"}),
        }
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
    """Waits until the broker has the topic, or until `stop` is set, even if the broker does not answer.
    Raises KafkaRefusal if the broker refuses callfold or callfold the broker, and waiting cannot help."""
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
            missing = f"the broker at {where} has no topic {topic}, or this user may not see it"
        except (KafkaError, OSError) as error:
            reason = cause(error, faults)
            if refused := refusal(reason):
                raise KafkaRefusal(f"Cannot use Kafka at {where}: {refused}.") from None
            missing = f"no broker at {where}: {fault(reason)}"
        outage.begin(missing)
        await backoff.wait(stop)
