"""The settings of the topic in Kafka that decide whether every event reaches ingest."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import UnknownTopicOrPartitionError, for_code

from services.ops.terminal.waiting import attempts
from shared.calls.event import VALUE_BYTES_MAX
from shared.kafka.client import Broker
from shared.kafka.topic import DELIVERY_BYTES_MAX, RECORD_BYTES_MAX, REPLICAS_OF_CLUSTER, administration
from shared.sources.envelopes import BODY_BYTES_MAX

RETENTION_MS_LEAST: Final = 24 * 3600 * 1000
"""Ingest may be stopped for this long and still read every event."""
RETENTION_BYTES_LEAST: Final = 1 << 30
KNOWN_SECONDS: Final = 10
UNLIMITED: Final = -1


@dataclass(frozen=True)
class Kind:
    """A kind of topic: the largest records that it must accept, the limit of a new topic, and the effect of
    a lower limit."""

    record_bytes_least: int
    record_bytes_max: int
    effect: str
    compacted: bool = False
    """Whether Kafka keeps the last record of each key, and not every record for some time."""


EVENTS: Final = Kind(
    VALUE_BYTES_MAX + 64 * 1024,  # a record whose value is just too large, with its key and headers
    RECORD_BYTES_MAX,
    "Kafka rejects a record that is too large for an event, and ingest cannot quarantine it.",
)
DELIVERIES: Final = Kind(
    BODY_BYTES_MAX + 64 * 1024,
    DELIVERY_BYTES_MAX,
    "The receiver refuses requests with larger bodies, although a system may send them.",
)

OF_SOURCE: Final = Kind(
    EVENTS.record_bytes_least,
    DELIVERY_BYTES_MAX,
    "Kafka rejects a larger record of the system.",
)


CALLS: Final = Kind(
    2 * VALUE_BYTES_MAX,  # a call with a transcript that just fits into an event, escaped
    RECORD_BYTES_MAX,
    "Kafka rejects a call with a longer transcript, and the publisher ends.",
    compacted=True,
)


@dataclass(frozen=True)
class TopicSettings:
    """The settings of a topic, its own or the broker's defaults."""

    topic: str
    cleanup_policy: str
    retention_ms: int
    retention_bytes: int
    """Of each partition. Both are -1 where there is no limit."""
    max_message_bytes: int
    min_insync_replicas: int
    unclean_leader_election: bool
    replicas: int
    """The smallest number of replicas of a partition."""


@dataclass(frozen=True)
class Finding:
    """One unsafe setting, as a sentence with its effect and the command that changes it. A `fault` loses or
    refuses events by itself; the others do so when a broker fails."""

    sentence: str
    fault: bool = True


async def read_topic_settings(admin: AIOKafkaAdminClient, topic: str) -> TopicSettings:
    """The settings of an existing or just created topic. Raises aiokafka's `KafkaError`."""
    for pause in attempts(KNOWN_SECONDS):
        try:
            return await _read(admin, topic)
        except UnknownTopicOrPartitionError as unknown:  # this broker does not know the new topic yet
            last = unknown
            await asyncio.sleep(pause)
    raise last


async def topic_findings(broker: Broker, topic: str, address: str, kind: Kind = EVENTS) -> list[Finding]:
    """The unsafe settings of an existing topic. Raises aiokafka's `KafkaError`."""
    async with administration(broker) as admin:
        return findings(await read_topic_settings(admin, topic), address, kind)


async def _read(admin: AIOKafkaAdminClient, topic: str) -> TopicSettings:
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs=dict.fromkeys(_NAMES, ""))
    (answer,) = await admin.describe_configs([resource])
    ((code, message, _, _, entries),) = answer.resources
    if code:
        raise for_code(code)(message or "")
    found = {name: value for name, value, *_ in entries}
    # This describes all topics, because a broker may create a topic that is described by name.
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


def findings(settings: TopicSettings, address: str, kind: Kind = EVENTS) -> list[Finding]:
    """The unsafe ones of these settings. `address` is Kafka's, for the commands. Pure."""
    found = []
    topic = f"The topic {settings.topic}"

    def change(setting: str) -> str:
        return (
            f"Kafka's own `kafka-configs.sh --bootstrap-server {address} --alter --entity-type topics "
            f"--entity-name {settings.topic} --add-config {setting}`"
        )

    if kind.compacted:
        if settings.cleanup_policy != "compact":
            found.append(
                Finding(
                    f"{topic} has cleanup.policy={settings.cleanup_policy}: Kafka removes calls that did not "
                    f"change for some time. {change('cleanup.policy=compact')} keeps the last state of each "
                    "call, and `callfold publish --all` restores the removed ones."
                )
            )
    else:
        found += _findings_of_retention(settings, topic, change)
    if settings.max_message_bytes < kind.record_bytes_least:
        found.append(
            Finding(
                f"{topic} accepts records of up to {settings.max_message_bytes:,} bytes. {kind.effect} "
                f"{change(f'max.message.bytes={kind.record_bytes_max}')} raises it."
            )
        )
    if settings.min_insync_replicas > settings.replicas:
        found.append(
            Finding(
                f"{topic} has min.insync.replicas={settings.min_insync_replicas} and {settings.replicas} "
                "replica(s): Kafka refuses every record of a producer with acks=all. "
                f"{change(f'min.insync.replicas={max(1, settings.replicas - 1)}')} lets them in."
            )
        )
    if settings.replicas >= REPLICAS_OF_CLUSTER and settings.min_insync_replicas == 1:
        found.append(
            Finding(
                f"{topic} has min.insync.replicas=1 and {settings.replicas} replicas: an event that one "
                f"broker acknowledged alone is lost with that broker. {change('min.insync.replicas=2')} "
                "requires two.",
                fault=False,
            )
        )
    if settings.replicas > 1 and settings.unclean_leader_election:
        found.append(
            Finding(
                f"{topic} has unclean.leader.election.enable=true: a broker that lacks the latest events may "
                f"become the leader, and they are lost. {change('unclean.leader.election.enable=false')} "
                "prevents that.",
                fault=False,
            )
        )
    return found


def _findings_of_retention(
    settings: TopicSettings, topic: str, change: Callable[[str], str]
) -> list[Finding]:
    found = []
    if settings.cleanup_policy != "delete":
        found.append(
            Finding(
                f"{topic} has cleanup.policy={settings.cleanup_policy}: Kafka removes all events of a key "
                "but the last, and with them what ingest has not read. "
                f"{change('cleanup.policy=delete')} prevents that."
            )
        )
    if UNLIMITED < settings.retention_ms < RETENTION_MS_LEAST:
        week = 7 * RETENTION_MS_LEAST
        found.append(
            Finding(
                f"{topic} has retention.ms={settings.retention_ms}, less than a day: Kafka removes events "
                "that ingest has not read when it is stopped for longer. "
                f"{change(f'retention.ms={week}')} keeps them for a week."
            )
        )
    if UNLIMITED < settings.retention_bytes < RETENTION_BYTES_LEAST:
        found.append(
            Finding(
                f"{topic} has retention.bytes={settings.retention_bytes}, less than 1 GiB for each "
                "partition: Kafka removes events that ingest has not read when many come at once. "
                f"{change('retention.bytes=-1')} leaves the limit to retention.ms."
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
