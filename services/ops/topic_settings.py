"""The settings of the topic in Kafka that decide whether every event reaches ingest."""

import asyncio
from dataclasses import dataclass
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import UnknownTopicOrPartitionError, for_code

from services.ops.terminal.waiting import attempts
from shared.calls.event import VALUE_BYTES_MAX
from shared.kafka.client import Broker
from shared.kafka.topic import RECORD_BYTES_MAX, REPLICAS_OF_CLUSTER, administration

RECORD_BYTES_LEAST: Final = VALUE_BYTES_MAX + 64 * 1024
"""The size of a record whose value is just too large, with its key and headers."""
RETENTION_MS_LEAST: Final = 24 * 3600 * 1000
"""Ingest can be stopped for this long and still reads every event."""
RETENTION_BYTES_LEAST: Final = 1 << 30
KNOWN_SECONDS: Final = 10
UNLIMITED: Final = -1


@dataclass(frozen=True)
class TopicSettings:
    """The settings of a topic in Kafka: its own, or the defaults of the broker."""

    topic: str
    cleanup_policy: str
    retention_ms: int
    retention_bytes: int
    """The limit of each partition. Both retention settings are -1 without a limit."""
    max_message_bytes: int
    min_insync_replicas: int
    unclean_leader_election: bool
    replicas: int
    """The number of replicas of the partition with the fewest."""


@dataclass(frozen=True)
class Finding:
    """One unsafe setting, in sentences: its effect, and the command that changes it.

    A `fault` loses or refuses events in normal operation. Other findings do when a broker fails."""

    sentence: str
    fault: bool = True


async def read_topic_settings(admin: AIOKafkaAdminClient, topic: str) -> TopicSettings:
    """The settings of a topic that exists or was just created. Raises aiokafka's `KafkaError`."""
    for pause in attempts(KNOWN_SECONDS):
        try:
            return await _read(admin, topic)
        except UnknownTopicOrPartitionError as unknown:  # this broker does not know a new topic yet
            last = unknown
            await asyncio.sleep(pause)
    raise last


async def topic_findings(broker: Broker, topic: str, address: str) -> list[Finding]:
    """The unsafe settings of an existing topic. Raises aiokafka's `KafkaError`."""
    async with administration(broker) as admin:
        return findings(await read_topic_settings(admin, topic), address)


async def _read(admin: AIOKafkaAdminClient, topic: str) -> TopicSettings:
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs=dict.fromkeys(_NAMES, ""))
    (answer,) = await admin.describe_configs([resource])
    ((code, message, _, _, entries),) = answer.resources
    if code:
        raise for_code(code)(message or "")
    found = {name: value for name, value, *_ in entries}
    # Requests all topics, because a broker may create a topic that a request names.
    replicas = [
        len(partition["replicas"])
        for each in await admin.describe_topics()
        if each["topic"] == topic
        for partition in each["partitions"]
    ]
    if not replicas:
        raise UnknownTopicOrPartitionError(topic)
    return TopicSettings(
        topic,
        found["cleanup.policy"],
        int(found["retention.ms"]),
        int(found["retention.bytes"]),
        int(found["max.message.bytes"]),
        int(found["min.insync.replicas"]),
        found["unclean.leader.election.enable"] == "true",
        min(replicas),
    )


def findings(settings: TopicSettings, address: str) -> list[Finding]:
    """The unsafe ones of these settings. `address` is Kafka's, for the commands. Pure."""
    found = []
    topic = f"Topic {settings.topic}"

    def change(setting: str) -> str:
        return (
            f"run Kafka's `kafka-configs.sh --bootstrap-server {address} --alter --entity-type topics "
            f"--entity-name {settings.topic} --add-config {setting}`."
        )

    if settings.cleanup_policy != "delete":
        found.append(
            Finding(
                f"{topic} has cleanup.policy={settings.cleanup_policy}. Kafka removes all events of a key "
                "except the last one, also events that ingest has not read. "
                f"To keep them, {change('cleanup.policy=delete')}"
            )
        )
    if UNLIMITED < settings.retention_ms < RETENTION_MS_LEAST:
        week = 7 * RETENTION_MS_LEAST
        found.append(
            Finding(
                f"{topic} has retention.ms={settings.retention_ms}, less than a day. If ingest is stopped "
                "for longer, Kafka removes events that ingest has not read. "
                f"To keep events for a week, {change(f'retention.ms={week}')}"
            )
        )
    if UNLIMITED < settings.retention_bytes < RETENTION_BYTES_LEAST:
        found.append(
            Finding(
                f"{topic} has retention.bytes={settings.retention_bytes}, less than 1 GiB per partition. If "
                "many events arrive at once, Kafka removes events that ingest has not read. "
                f"To limit by retention.ms alone, {change('retention.bytes=-1')}"
            )
        )
    if settings.max_message_bytes < RECORD_BYTES_LEAST:
        found.append(
            Finding(
                f"{topic} accepts records of up to {settings.max_message_bytes:,} bytes. Kafka refuses a "
                "record that is too large for an event, so ingest cannot quarantine it. "
                f"To raise the limit, {change(f'max.message.bytes={RECORD_BYTES_MAX}')}"
            )
        )
    if settings.min_insync_replicas > settings.replicas:
        found.append(
            Finding(
                f"{topic} has min.insync.replicas={settings.min_insync_replicas} and {settings.replicas} "
                "replica(s). Kafka refuses every record of a producer with acks=all. "
                f"To accept them, {change(f'min.insync.replicas={max(1, settings.replicas - 1)}')}"
            )
        )
    if settings.replicas >= REPLICAS_OF_CLUSTER and settings.min_insync_replicas == 1:
        found.append(
            Finding(
                f"{topic} has min.insync.replicas=1 and {settings.replicas} replicas. An event that only one "
                "broker acknowledged is lost with that broker. "
                f"To require two brokers, {change('min.insync.replicas=2')}",
                fault=False,
            )
        )
    if settings.replicas > 1 and settings.unclean_leader_election:
        found.append(
            Finding(
                f"{topic} has unclean.leader.election.enable=true. A broker that lacks the latest events can "
                "become the leader, and these events are lost. "
                f"To prevent this, {change('unclean.leader.election.enable=false')}",
                fault=False,
            )
        )
    return found


_NAMES: Final = (
    "cleanup.policy",
    "retention.ms",
    "retention.bytes",
    "max.message.bytes",
    "min.insync.replicas",
    "unclean.leader.election.enable",
)
