"""Kafka: making the topic. Reading it is ingest's, writing it the telephony systems'."""

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

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
