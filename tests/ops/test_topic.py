"""`callfold topic`: creates a topic once, checks it from then on, and reports bad settings."""

import asyncio
import socket
import uuid
from contextlib import closing
from dataclasses import replace

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from services.ops.embedded.servers import Servers
from services.ops.topic_settings import TopicSettings, findings
from shared.kafka.topic import DELIVERY_BYTES_MAX, RECORD_BYTES_MAX, administration
from tests.support.command_line import callfold

OWN = ("topic", "deliveries_topic", "calls_topic")


def own_topics(bootstrap: str) -> dict[str, str]:
    """Settings with topics that do not exist."""
    return {"kafka_bootstrap": bootstrap} | {name: new_name() for name in OWN}


def new_name() -> str:
    return f"call-events-{uuid.uuid4().hex[:12]}"


async def test_the_topic_is_created_once_and_left_unchanged(bootstrap: str) -> None:
    where = own_topics(bootstrap)
    made = await callfold("topic", "--json", "--partitions", "3", **where)
    assert made.json == {
        "topic": where["topic"],
        "created": True,
        "partitions": 3,
        "max_message_bytes": RECORD_BYTES_MAX,
        "findings": [],
        "deliveries": {
            "topic": where["deliveries_topic"],
            "created": True,
            "partitions": 3,
            "max_message_bytes": DELIVERY_BYTES_MAX,
            "findings": [],
        },
        "calls": {
            "topic": where["calls_topic"],
            "created": True,
            "partitions": 3,
            "max_message_bytes": RECORD_BYTES_MAX,
            "findings": [],
        },
    }
    again = await callfold("topic", "--json", "--partitions", "2", **where)
    assert again.json == made.json | {
        "created": False,
        "deliveries": made.json["deliveries"] | {"created": False},
        "calls": made.json["calls"] | {"created": False},
    }
    assert (await callfold("topic", **where)).output == "".join(
        f"Topic {where[each]} already exists, with 3 partitions.\n" for each in OWN
    )


async def test_a_new_topic_has_8_partitions_by_default(bootstrap: str) -> None:
    where = own_topics(bootstrap)
    made = await callfold("topic", **where)
    assert made.output == "".join(f"Created topic {where[each]} with 8 partitions.\n" for each in OWN)


async def test_too_few_partitions_are_reported_with_the_command_that_adds_some(bootstrap: str) -> None:
    where = own_topics(bootstrap)
    await callfold("topic", "--partitions", "1", **where)
    told = await callfold("topic", "--partitions", "4", **where)
    assert told.status == 1
    assert told.failure.startswith(f"The topic {where['topic']} has 1 partition, fewer than 4.")
    assert f"--alter --topic {where['topic']} --partitions 4`" in told.failure


async def test_a_topic_that_refuses_large_records_is_reported(bootstrap: str) -> None:
    where = own_topics(bootstrap)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics(
            [NewTopic(where["topic"], 8, 1, topic_configs={"max.message.bytes": "1048588"})]
        )
    finally:
        await admin.close()
    told = await callfold("topic", **where)
    assert told.status == 1
    assert told.failure.startswith(f"The topic {where['topic']} accepts records of up to 1,048,588 bytes.")
    assert f"--add-config max.message.bytes={RECORD_BYTES_MAX}` raises it." in told.failure


async def test_a_topic_of_calls_must_keep_the_last_state_of_each(bootstrap: str) -> None:
    where = own_topics(bootstrap)
    await callfold("topic", **where)
    await configure(bootstrap, where["calls_topic"], {"cleanup.policy": "delete"})
    told = await callfold("topic", **where)
    assert told.status == 1
    assert told.failure.startswith(
        f"The topic {where['calls_topic']} has cleanup.policy=delete: Kafka removes"
    )
    assert "`callfold publish --all` restores the removed ones." in told.failure


NOT_GOOD = {
    "one record of each key": (
        {"cleanup.policy": "compact"},
        "has cleanup.policy=compact: Kafka removes all events of a key but the last",
        "--add-config cleanup.policy=delete` prevents that.",
    ),
    "old records and those of a key": (
        {"cleanup.policy": "compact,delete"},
        "has cleanup.policy=compact,delete: ",
        "--add-config cleanup.policy=delete` prevents that.",
    ),
    "records for a minute": (
        {"retention.ms": "60000"},
        "has retention.ms=60000, less than a day: Kafka removes events that ingest has not read",
        "--add-config retention.ms=604800000` keeps them for a week.",
    ),
    "a few records": (
        {"retention.bytes": "1000000"},
        "has retention.bytes=1000000, less than 1 GiB for each partition: ",
        "--add-config retention.bytes=-1` leaves the limit to retention.ms.",
    ),
    "no record that is acknowledged by all": (
        {"min.insync.replicas": "2"},
        "has min.insync.replicas=2 and 1 replica(s): Kafka refuses every record of a producer with acks=all.",
        "--add-config min.insync.replicas=1` lets them in.",
    ),
}


@pytest.mark.parametrize("kept", NOT_GOOD)
async def test_a_topic_that_keeps_too_little_is_reported(bootstrap: str, kept: str) -> None:
    changed, sentence, remedy = NOT_GOOD[kept]
    where = own_topics(bootstrap)
    assert (await callfold("topic", "--partitions", "1", **where)).status == 0
    await configure(bootstrap, where["topic"], changed)
    told = await callfold("topic", **where)
    assert told.status == 1
    assert told.failure.startswith(f"The topic {where['topic']} {sentence}")
    assert told.failure.endswith(remedy)


async def test_all_bad_settings_are_reported_together(bootstrap: str) -> None:
    where = own_topics(bootstrap)
    await callfold("topic", "--partitions", "1", **where)
    await configure(bootstrap, where["topic"], {"cleanup.policy": "compact", "retention.ms": "60000"})
    told = await callfold("topic", "--json", **where)
    assert (told.status, told.output, len(told.failure.splitlines())) == (1, "", 2)


GOOD = TopicSettings("call-events", "delete", 604_800_000, -1, RECORD_BYTES_MAX, 2, False, 3)


@pytest.mark.parametrize(
    ("settings", "sentences"),
    [
        (GOOD, []),
        (replace(GOOD, retention_ms=-1), []),
        (replace(GOOD, min_insync_replicas=1), ["an event that one broker acknowledged alone is lost"]),
        (replace(GOOD, unclean_leader_election=True), ["may become the leader, and they are lost"]),
        (replace(GOOD, min_insync_replicas=1, replicas=1, unclean_leader_election=True), []),
    ],
)
def test_a_setting_that_loses_events_only_with_a_broker_is_a_warning(
    settings: TopicSettings, sentences: list[str]
) -> None:
    found = findings(settings, "broker:9092")
    assert [finding.fault for finding in found] == [False] * len(sentences)
    for finding, sentence in zip(found, sentences, strict=True):
        assert sentence in finding.sentence


async def configure(bootstrap: str, topic: str, changed: dict[str, str]) -> None:
    """Changes settings of a topic. The others get the broker's defaults, except the maximum record size."""
    configs = {"max.message.bytes": str(RECORD_BYTES_MAX), **changed}
    async with administration(bootstrap) as admin:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=configs)])


async def test_a_refusal_of_the_broker_is_reported_in_its_words(bootstrap: str) -> None:
    many = await callfold("topic", "--replication-factor", "3", kafka_bootstrap=bootstrap, topic=new_name())
    assert many.status == 1
    assert "Unable to replicate the partition 3 time(s)" in many.failure
    named = await callfold("topic", kafka_bootstrap=bootstrap, topic="call events")
    assert "Topic name is invalid" in named.failure


async def test_the_command_waits_for_a_broker_that_is_starting(running: Servers, bootstrap: str) -> None:
    where = own_topics(bootstrap)
    running.kafka.stop()
    try:
        at_once = await callfold("topic", **where)
        assert at_once.failure == f"Kafka can't be reached at {bootstrap}: connection refused."
        waiting = asyncio.create_task(callfold("topic", "--wait", "60", **where))
    finally:
        await running.kafka.start()
    assert (await waiting).output == "".join(
        f"Created topic {where[each]} with 8 partitions.\n" for each in OWN
    )


async def test_the_command_waits_for_an_absent_broker_as_long_as_requested() -> None:
    with closing(socket.socket()) as deaf:
        deaf.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{deaf.getsockname()[1]}"
        told = await callfold("topic", "--wait", "0.5", kafka_bootstrap=where)
    assert told.failure == f"Kafka can't be reached at {where}: connection refused."
