"""`callfold topic`: the topic that the services read, made with what they need of it."""

import asyncio
from dataclasses import dataclass
from typing import Annotated, Final

import typer
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code

from services.ops.addresses import (
    JsonOption,
    KafkaPlace,
    Refused,
    StateOption,
    find_kafka,
    kafka_faults,
    settings_from_environment,
)
from services.ops.embedded.waiting import attempts
from services.ops.failure import Failure
from services.ops.printing import counted, print_json
from shared.event import VALUE_BYTES_MAX
from shared.kafka import RECORD_BYTES_MAX, administration, ensure_topic, partitions_of
from shared.kafka_client import Broker
from shared.settings import KafkaSettings

PARTITIONS: Final = 8
LONGEST_PAUSE_SECONDS: Final = 1
RECORD_BYTES_LEAST: Final = VALUE_BYTES_MAX + 64 * 1024
"""A value that is just too large, with its key and headers."""


@dataclass(frozen=True)
class Topic:
    topic: str
    made: bool
    partitions: int
    max_message_bytes: int


def topic(
    partitions: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="COUNT",
            show_default=f"{PARTITIONS} for a new topic",
            help="How many partitions it has: as many as ingest processes may ever run. A topic that is "
            "there must have at least as many.",
        ),
    ] = None,
    replication_factor: Annotated[
        int, typer.Option(min=1, metavar="COUNT", help="On how many brokers each record of a new topic is.")
    ] = 1,
    wait: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="How long to wait for a broker that is starting."),
    ] = 0,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the topic CALLFOLD_TOPIC unless it is there, and check that it is as the services need it.

    It lets through records that are larger than an event may be, so that ingest sees and quarantines them.
    Harmless to repeat: a topic that is there is not changed.

    Exit status: 0 when the topic is there and good; 1, with a sentence that says what to do, when not.
    """
    place = find_kafka(state)
    name = settings_from_environment(KafkaSettings).topic
    found = asyncio.run(_ensure(place, name, partitions or PARTITIONS, replication_factor, wait))
    if partitions is not None and found.partitions < partitions:
        raise Failure(
            f"The topic {name} has {counted(found.partitions, 'partition')}, fewer than {partitions}. "
            f"Kafka's own `kafka-topics.sh --bootstrap-server {place.address} --alter --topic {name} "
            f"--partitions {partitions}` adds some; no event is lost or counted twice by that."
        )
    if found.max_message_bytes < RECORD_BYTES_LEAST:
        raise Failure(
            f"The topic {name} takes records of up to {found.max_message_bytes:,} bytes: one too large for "
            "an event is refused to its producer, instead of being seen and quarantined. Kafka's own "
            f"`kafka-configs.sh --bootstrap-server {place.address} --alter --entity-type topics "
            f"--entity-name {name} --add-config max.message.bytes={RECORD_BYTES_MAX}` raises it."
        )
    if as_json:
        print_json(found)
        return
    done = "is made" if found.made else "is there"
    typer.echo(f"The topic {name} {done}, with {counted(found.partitions, 'partition')}.")


async def _ensure(
    place: KafkaPlace, name: str, partitions: int, replication_factor: int, wait_seconds: float
) -> Topic:
    """Makes the topic, or looks at the one that is there. Raises Failure when that can't be done in time, and
    at once when waiting can't help."""
    for pause in attempts(wait_seconds, longest=LONGEST_PAUSE_SECONDS):
        try:
            with kafka_faults(place):
                if await ensure_topic(place.broker, name, partitions, replication_factor=replication_factor):
                    return Topic(name, True, partitions, RECORD_BYTES_MAX)
                return await _known(place.broker, name)
        except Refused:
            raise
        except Failure as failure:
            last = failure
            await asyncio.sleep(pause)
    raise last


async def _known(broker: Broker, name: str) -> Topic:
    """The topic that is there. Raises aiokafka's `KafkaError`."""
    async with administration(broker) as admin:
        resource = ConfigResource(ConfigResourceType.TOPIC, name, configs={"max.message.bytes": ""})
        (answer,) = await admin.describe_configs([resource])
        ((code, message, _, _, entries),) = answer.resources
        if code:
            raise for_code(code)(message or "")
        (bytes_max,) = (int(value) for _, value, *_ in entries)
        return Topic(name, False, len(await partitions_of(admin, name)), bytes_max)
