"""Kafka: the topic. Reading it is ingest's, writing it the telephony systems'."""

import asyncio
import logging

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from shared.database import Backoff

logger = logging.getLogger("callfold.kafka")

RECORD_BYTES_MAX = 5 * 1024 * 1024
"""What the topic lets through: more than an event may have, so that a larger one is seen and quarantined."""


async def ensure_topic(bootstrap: str, topic: str, partitions: int, *, replication_factor: int = 1) -> None:
    """Makes the topic unless it is there. Raises aiokafka's `KafkaError` when the broker refuses it."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        config = {"max.message.bytes": str(RECORD_BYTES_MAX)}
        made = await admin.create_topics(
            [NewTopic(topic, partitions, replication_factor, topic_configs=config)]
        )
        for _, code, *message in made.topic_errors:
            error = for_code(code)
            if code and error is not TopicAlreadyExistsError:
                raise error(*message)
    finally:
        await admin.close()


async def wait_for_topic(bootstrap: str, topic: str, stop: asyncio.Event) -> None:
    """Returns when the broker answers and has the topic, or when `stop` is set."""
    backoff = Backoff()
    said = ""
    while not stop.is_set():
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        try:
            await admin.start()
            if topic in await admin.list_topics():
                return
            missing = f"the broker at {bootstrap} has no topic {topic}"
        except KafkaError as error:
            missing = f"no broker at {bootstrap}: {error}"
        finally:
            await admin.close()
        if missing != said:
            logger.warning("waits: %s", missing)
            said = missing
        await backoff.wait(stop)
