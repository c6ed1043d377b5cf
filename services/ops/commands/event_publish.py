"""`callfold event publish`: publishes events to the topic, each after the check of `callfold event check`."""

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from services.ops.addresses import KafkaPlace, find_kafka, kafka_faults
from services.ops.commands.event import Checked, FileArgument, checked_events, line
from services.ops.repair.archive import Use, shown
from services.ops.terminal.environment import settings_from_environment
from services.ops.terminal.failure import Failure
from services.ops.terminal.options import JsonOption, StateOption
from services.ops.terminal.plain_help import Command
from services.ops.terminal.printing import counted, print_json
from services.ops.terminal.program import command_line
from shared.kafka.producer import producer
from shared.kafka.topic import administration, partitions_of
from shared.settings.kafka import KafkaSettings

PUBLISH: Final = Use(("event", "publish", "-"), "publish", "published")
_RECORDS_IN_FLIGHT: Final = 1_000


@dataclass(frozen=True)
class Published:
    """The number of records that were published to the topic, and of those that were refused."""

    topic: str
    published: int
    refused: int


def publish(
    file: FileArgument,
    topic: Annotated[
        str | None,
        typer.Option(
            "--topic", metavar="TOPIC", help="The topic. Default: CALLFOLD_TOPIC.", show_default=False
        ),
    ] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish events to the topic that ingest reads.

    Each event is checked first, as `callfold event check` does. A refused event is reported, and is not
    published. The key of a record is the call id. Publishing an event again changes no call.

    Exit status: 0 when every event was published; 1 when an event was refused, when the file has none, or
    when Kafka did not acknowledge them.
    """
    place = find_kafka(state)
    name = topic or settings_from_environment(KafkaSettings).topic
    done = asyncio.run(_publish(place, name, file))
    if not done.published and not done.refused:
        raise Failure(f"{shown(file)} has no event.")
    if as_json:
        print_json(done)
    else:
        refused = f" Refused {counted(done.refused, 'record')}." if done.refused else ""
        typer.echo(f"Published {counted(done.published, 'event')} to {name}.{refused}")
    if done.refused:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Adds this command to those of `event`."""
    app.command(cls=Command)(publish)


async def _publish(place: KafkaPlace, topic: str, file: str) -> Published:
    """Publishes the events of the file in their order. Raises Failure."""
    published = refused = 0
    with kafka_faults(place):
        async with administration(place.broker) as admin:
            if not await partitions_of(admin, topic):
                create = f"CALLFOLD_TOPIC={topic} {command_line('topic', state=place.state)}"
                raise Failure(f"Kafka has no topic {topic}. `{create}` creates it.")
        async with producer(place.broker) as to:
            events = checked_events(file, PUBLISH, datetime.now(UTC))
            while batch := list(itertools.islice(events, _RECORDS_IN_FLIGHT)):
                good = list(_without_refused(batch))
                await asyncio.gather(
                    *[await to.send(topic, each.value, key=each.key.encode()) for each in good]
                )
                published += len(good)
                refused += len(batch) - len(good)
    return Published(topic, published, refused)


def _without_refused(batch: list[Checked]) -> Iterator[Checked]:
    """The records that ingest accepts. Standard error gets each refused record and each left-out field."""
    for each in batch:
        if each.outcome != "accepted":
            typer.echo(line(each), err=True)
        if each.outcome != "refused":
            yield each
