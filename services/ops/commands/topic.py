"""`callfold topic`: creates callfold's own topics, or the topic of a source, and checks them."""

import asyncio
from dataclasses import asdict, dataclass
from typing import Annotated, Final

import typer

from services.ops.addresses import KafkaPlace, Refused, find_kafka, kafka_faults
from services.ops.sources.configuration import check_topic_name
from services.ops.terminal.environment import settings_from_environment
from services.ops.terminal.failure import Failure
from services.ops.terminal.options import JsonOption, StateOption
from services.ops.terminal.printing import counted, print_json
from services.ops.terminal.waiting import attempts
from services.ops.topic_settings import (
    CALLS,
    DELIVERIES,
    EVENTS,
    OF_SOURCE,
    Finding,
    Kind,
    findings,
    read_topic_settings,
)
from shared.kafka.topic import administration, ensure_topic, partitions_of
from shared.settings.kafka import KafkaSettings

PARTITIONS: Final = 8
LONGEST_PAUSE_SECONDS: Final = 1


@dataclass(frozen=True)
class Topic:
    topic: str
    created: bool
    partitions: int
    max_message_bytes: int
    findings: tuple[Finding, ...] = ()


def topic(
    of_source: Annotated[
        str | None,
        typer.Argument(
            metavar="TOPIC",
            help="The topic of a source, to be created instead. Default: callfold's own three topics.",
            show_default=False,
        ),
    ] = None,
    partitions: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="COUNT",
            show_default=f"{PARTITIONS} for a new topic",
            help="The number of partitions: the largest number of ingest processes that can share the "
            "topic. An existing topic must have at least this many.",
        ),
    ] = None,
    replication_factor: Annotated[
        int, typer.Option(min=1, metavar="COUNT", help="The replication factor of a new topic.")
    ] = 1,
    wait: Annotated[
        float,
        typer.Option(
            min=0, metavar="SECONDS", help="How long to wait for a broker that is starting, in seconds."
        ),
    ] = 0,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create the topics CALLFOLD_TOPIC, CALLFOLD_DELIVERIES_TOPIC and CALLFOLD_CALLS_TOPIC unless they exist,
    and check their settings. With TOPIC, create that one.

    CALLFOLD_TOPIC has the events, CALLFOLD_DELIVERIES_TOPIC the requests that the receiver accepts, and
    CALLFOLD_CALLS_TOPIC the calls that the publisher writes. A new topic of the first two accepts records
    that are larger than the largest event or request, so that ingest can quarantine them. Running it again is
    harmless: an existing topic is not changed.

    Exit status: 0 when they exist and their settings are safe; 1 otherwise, with the command to run.
    """
    place = find_kafka(state)
    settings = settings_from_environment(KafkaSettings)
    kinds = {settings.topic: EVENTS, settings.deliveries_topic: DELIVERIES, settings.calls_topic: CALLS}
    if of_source is not None:
        check_topic_name(of_source, "TOPIC")
        kinds = {of_source: kinds.get(of_source, OF_SOURCE)}
    count = partitions or PARTITIONS

    async def ensure() -> list[Topic]:
        return [
            await _ensure(place, name, kind, count, replication_factor, wait) for name, kind in kinds.items()
        ]

    found, *others = asyncio.run(ensure())
    if partitions is not None and found.partitions < partitions:
        raise Failure(
            f"The topic {found.topic} has {counted(found.partitions, 'partition')}, fewer than {partitions}. "
            f"Kafka's own `kafka-topics.sh --bootstrap-server {place.address} --alter --topic {found.topic} "
            f"--partitions {partitions}` adds partitions. No event is lost or counted twice by that."
        )
    every = [finding for one in (found, *others) for finding in one.findings]
    faults = [finding.sentence for finding in every if finding.fault]
    if faults:
        raise Failure("\n".join(faults))
    for finding in every:
        typer.echo(f"Warning: {finding.sentence}", err=True)
    if as_json:
        names = ("deliveries", "calls")[: len(others)]
        print_json({**asdict(found), **dict(zip(names, map(asdict, others), strict=True))})
        return
    for each in (found, *others):
        partitions_found = counted(each.partitions, "partition")
        if each.created:
            typer.echo(f"Created topic {each.topic} with {partitions_found}.")
        else:
            typer.echo(f"Topic {each.topic} already exists, with {partitions_found}.")


async def _ensure(
    place: KafkaPlace,
    name: str,
    kind: Kind,
    partitions: int,
    replication_factor: int,
    wait_seconds: float,
) -> Topic:
    """Creates the topic, or reads the existing one. Raises Failure when that fails until the deadline, and at
    once when waiting cannot help."""
    for pause in attempts(wait_seconds, longest=LONGEST_PAUSE_SECONDS):
        try:
            with kafka_faults(place):
                created = await ensure_topic(
                    place.broker,
                    name,
                    partitions,
                    replication_factor=replication_factor,
                    record_bytes_max=kind.record_bytes_max,
                    compacted=kind.compacted,
                )
                return await _known(place, name, kind, created=created)
        except Refused:
            raise
        except Failure as failure:
            last = failure
            await asyncio.sleep(pause)
    raise last


async def _known(place: KafkaPlace, name: str, kind: Kind, *, created: bool) -> Topic:
    """The topic as it is now. Raises aiokafka's `KafkaError`."""
    async with administration(place.broker) as admin:
        settings = await read_topic_settings(admin, name)
        partitions = len(await partitions_of(admin, name))
    return Topic(
        name, created, partitions, settings.max_message_bytes, tuple(findings(settings, place.address, kind))
    )
