"""`callfold replay`: reads records again, on the path of ingest, while the services run."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, get_args
from uuid import UUID

import typer
from aiokafka import ConsumerRecord

from services.ingest.arrivals import Sort, Sorted, sort_events
from services.ingest.deliveries import place_all, sort_deliveries
from services.ingest.writer import Writer
from services.ops.addresses import database, find_both, find_database, kafka_faults
from services.ops.commands.command_connection import LONG_STATEMENT_SECONDS
from services.ops.repair.rehearsal import Rehearsal
from services.ops.repair.replay_source import (
    Span,
    offsets_of,
    partitions_of_span,
    read_file,
    read_span,
    span_consumer,
)
from services.ops.terminal.environment import settings_from_environment
from services.ops.terminal.failure import Failure
from services.ops.terminal.operator import audit, operator
from services.ops.terminal.options import (
    DryRunOption,
    JsonOption,
    OnlyOrganizationOption,
    StateOption,
    read_uuid,
)
from services.ops.terminal.printing import counted, print_json
from services.ops.terminal.progress_bar import progress
from shared.calls.event import Event, EventType, call_uuid
from shared.database.connection import Connection
from shared.secret_box import SecretBox
from shared.settings.ingest import IngestSettings
from shared.store.changes import Changes
from shared.store.quarantine import BadRecord
from shared.store.sources import read_known_sources

Chosen = Callable[[Event], bool]
Batches = AsyncIterator[Sequence[ConsumerRecord]]
TYPES: Final = get_args(EventType)
REASONS_MAX: Final = 100
REASONS_SHOWN: Final = 3


@dataclass
class Replayed:
    """The outcomes of the records. `no_value` counts tombstones of Kafka's compaction, `other` counts the
    records that the filter leaves out, and `ignored` counts deliveries that tell nothing of a call's course.
    `reasons` has the broken rules of quarantined records, with counts."""

    read: int = 0
    new: int = 0
    duplicate: int = 0
    conflicting: int = 0
    quarantined: int = 0
    deleted: int = 0
    no_value: int = 0
    ignored: int = 0
    replaced: int = 0
    other: int = 0
    new_calls: int = 0
    changed_calls: int = 0
    dry_run: bool = field(default=False, kw_only=True)
    reasons: dict[str, int] = field(default_factory=dict, kw_only=True)

    @property
    def is_mostly_quarantined(self) -> bool:
        """Whether most of the chosen records are not events: the wrong file, or the wrong topic."""
        return self.quarantined * 2 > self.read - self.other - self.no_value - self.ignored

    def count(self, batch: Changes, bad_records: int) -> None:
        """Adds the outcomes of a batch."""
        self.new += len(batch.events)
        self.duplicate += batch.duplicates
        self.conflicting += len(batch.conflicting)
        self.replaced += len(batch.rewritten)
        self.deleted += len(batch.of_deleted_calls)
        self.quarantined += bad_records + len(batch.refused)
        self._count_reasons(refused.reason for refused in batch.refused)
        self.new_calls += len(batch.new_calls)
        self.changed_calls += len(batch.changed_calls)

    def count_bad(self, bad_records: Sequence[BadRecord]) -> None:
        """Adds the rules that these records break."""
        self._count_reasons(bad.rule or bad.reason for bad in bad_records)

    def _count_reasons(self, reasons: Iterable[str]) -> None:
        for reason in reasons:
            if reason in self.reasons or len(self.reasons) < REASONS_MAX:
                self.reasons[reason] = self.reasons.get(reason, 0) + 1


def replay(
    partition: Annotated[
        int | None, typer.Option("--partition", min=0, help="Only this partition. Default: all.")
    ] = None,
    from_offset: Annotated[
        int | None,
        typer.Option(
            "--from-offset", min=0, help="The first offset; needs --partition. Default: the oldest record."
        ),
    ] = None,
    to_offset: Annotated[
        int | None,
        typer.Option(
            "--to-offset",
            min=0,
            help="Stop before this offset; needs --partition. Default: the end of the partition.",
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="TIME",
            help="The first record timestamp, with an offset, such as 2026-11-24T10:00:00Z. Default: the "
            "oldest record.",
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="TIME",
            help="Stop before this record timestamp. Default: the end of each partition.",
        ),
    ] = None,
    organization_id: OnlyOrganizationOption = None,
    call: Annotated[
        str | None,
        typer.Option(
            "--call",
            metavar="ID",
            help="Only events of this call, by its id or, with --organization, its external id. "
            "Default: all calls.",
        ),
    ] = None,
    event_type: Annotated[
        str | None,
        typer.Option(
            "--type", metavar="TYPE", help="Only events of this type, such as call.completed. Default: all."
        ),
    ] = None,
    topic: Annotated[
        str | None, typer.Option("--topic", metavar="TOPIC", help="The topic. Default: CALLFOLD_TOPIC.")
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--file",
            metavar="FILE",
            help="Read this file instead of a topic: one event per line, JSON arrays or pretty-printed "
            "objects, plain or gzip-compressed; - is standard input.",
        ),
    ] = None,
    create_organizations: Annotated[
        bool | None,
        typer.Option(
            "--create-organizations/--no-create-organizations",
            help="Whether an event of an unknown organization creates it or is quarantined. Default: "
            "CALLFOLD_UNKNOWN_ORGANIZATIONS if it is set, else quarantined.",
            show_default=False,
        ),
    ] = None,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="Replace a stored event by the first one of the same id in the span, if its content "
            "differs. Default: the stored event stays.",
        ),
    ] = False,
    dry_run: DryRunOption = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read a span of a topic, or an archive, again on the path of ingest.

    Missing events are stored and counted. Stored events stay as they are, and deleted calls stay deleted. No
    consumer group is touched, and the services continue. It can be interrupted and run again. With a filter,
    records that are not events are skipped.

    The topic of deliveries and the topics of sources are translated again, by the present sources and
    dialects. Any other topic has callfold's own events. With --replace, a translation that differs replaces
    the stored event, and the calls and counts follow. The audit log names the replaced events of each call.

    Exit status: 0 when the records were replayed; 1 when that failed, or when more than half of them are
    quarantined.
    """
    span = _span(topic, partition, from_offset, to_offset, since, until)
    if file is not None and span != Span(span.topic):
        raise Failure(
            "A file has no partitions, offsets or record timestamps: omit those options with --file."
        )
    chosen = _chosen(organization_id, call, event_type)
    settings = _settings(create_organizations)
    done = asyncio.run(_replay(state, settings, file, span, chosen, dry_run, replace=replace, quiet=as_json))
    if as_json:
        print_json(asdict(done))
    else:
        _print(done)
    if done.is_mostly_quarantined:
        raise typer.Exit(1)


def _print(done: Replayed) -> None:
    would = "would be " if done.dry_run else ""
    without_value = f"{done.no_value:,} without a value, " if done.no_value else ""
    typer.echo(
        f"{counted(done.read, 'record')} read: {done.new:,} {would}new, {done.duplicate:,} duplicate, "
        f"{done.quarantined:,} {would}quarantined, {done.deleted:,} of deleted calls, "
        f"{without_value}{done.other:,} filtered out."
    )
    if done.ignored:
        inside = "it" if done.ignored == 1 else "them"
        typer.echo(
            f"{counted(done.ignored, 'record')} ignored: nothing in {inside} is about the course of a call."
        )
    if done.replaced:
        typer.echo(f"{counted(done.replaced, 'event')} {would}replaced by another one of the same id.")
    if done.conflicting:
        typer.echo(
            f"{counted(done.conflicting, 'record')} dropped: the call already has an event with the same id "
            "and different content."
        )
    typer.echo(f"{counted(done.new_calls, 'call')} {would}created, {done.changed_calls:,} {would}changed.")
    if done.is_mostly_quarantined:
        typer.echo("Most of these records were quarantined. The most frequent reasons:", err=True)
        for reason, records in Counter(done.reasons).most_common(REASONS_SHOWN):
            typer.echo(f"  {counted(records, 'record')}: {reason}", err=True)


def _settings(create_organizations: bool | None) -> IngestSettings:
    """Ingest's settings. No organization is created by default: the operator's shell may lack ingest's
    environment."""
    settings = settings_from_environment(IngestSettings)
    if create_organizations is None:
        said = "unknown_organizations" in settings.model_fields_set
        create_organizations = said and settings.unknown_organizations == "create"
    unknown = "create" if create_organizations else "quarantine"
    # The breaker guards against a faulty producer; an operator replays these records on purpose.
    return settings.model_copy(update={"unknown_organizations": unknown, "breaker_share": 1.0})


async def _replay(
    state: Path | None,
    settings: IngestSettings,
    file: str | None,
    span: Span,
    chosen: Chosen | None,
    dry_run: bool,
    *,
    replace: bool,
    quiet: bool,
) -> Replayed:
    done = Replayed(dry_run=dry_run)
    place = find_database(state) if file is not None else find_both(state)[0]
    settings = settings.model_copy(update={"database_url": place.address, "database_pooler": place.pooler})
    async with (
        database(place, LONG_STATEMENT_SECONDS) as connection,
        _batches(state, file, span) as (batches, expected),
    ):
        if not dry_run:
            await audit(connection, "records replayed", details=file or f"topic {span.topic}")
        create = settings.unknown_organizations == "create"
        rehearsal = Rehearsal(connection, create_organizations=create, replace=replace, stored=done.count)
        writer = Writer(settings, stored=done.count, replaced_by=operator() if replace else None)
        sort = await _sort(connection, settings, span, file)
        first: set[int] = set()
        take = rehearsal.write if dry_run else writer.write
        with closing(writer), progress("records", expected, quiet=quiet) as bar:
            async for records in batches:
                done.read += len(records)
                found = await sort(records, datetime.now(UTC))
                await place_all(connection, found, datetime.now(UTC))
                if replace:
                    done.duplicate += _drop_repeated(found, first)
                done.no_value += found.no_value
                done.ignored += found.ignored
                await take(_asked(found, chosen, done))
                bar.advance(done.read, f"{records[-1].topic} {records[-1].partition}/{records[-1].offset}")
    return done


async def _sort(connection: Connection, settings: IngestSettings, span: Span, file: str | None) -> Sort:
    """The reader of the records: in callfold's own form, or deliveries of sources."""
    # No secret is needed: a delivery was verified before it was kept.
    known = await read_known_sources(connection, SecretBox([]))
    if file is None and (span.topic == settings.deliveries_topic or span.topic in known.by_topic):
        return lambda records, now: sort_deliveries(records, known, now, settings.deliveries_topic)
    if file is None and span.topic != settings.topic:
        typer.echo(
            f"Note: no source has the topic {span.topic}, so its records are read as callfold's own events.",
            err=True,
        )
    return sort_events


def _drop_repeated(found: Sorted, first: set[int]) -> int:
    """Drops events whose id an earlier record of this replay has given, as ingest does, and returns their
    number. `first` has a digest of each event so far: a whole topic has too many events to keep."""
    kept = []
    for record, event in found.arrivals:
        digest = hash((event.organization_id, event.call_id, event.id))
        if digest not in first:
            first.add(digest)
            kept.append((record, event))
    dropped = len(found.arrivals) - len(kept)
    found.arrivals = kept
    return dropped


def _asked(found: Sorted, chosen: Chosen | None, done: Replayed) -> Sorted:
    """The chosen records of a batch; the rest is counted."""
    if chosen is None:
        done.count_bad(found.bad_records)
        return found
    asked = [arrival for arrival in found.arrivals if chosen(arrival[1])]
    done.other += len(found.arrivals) - len(asked) + len(found.bad_records)
    return Sorted(asked, named=found.named, numbers=found.numbers, origins=found.origins)


@asynccontextmanager
async def _batches(
    state: Path | None, file: str | None, span: Span
) -> AsyncIterator[tuple[Batches, int | None]]:
    """The batches of the source, and the approximate number of records where it is known."""
    if file is not None:
        yield read_file(file), None
        return
    kafka = find_both(state)[1]
    with kafka_faults(kafka):
        partitions = await partitions_of_span(kafka.broker, span)
        consumer = span_consumer(kafka.broker)
        await consumer.start()
        await asyncio.sleep(0)  # aiokafka's consumer can't be stopped before one of its tasks has begun
        try:
            consumer.assign(partitions)
            offsets = await offsets_of(consumer, partitions, span)
            yield read_span(consumer, offsets), sum(stop - start for start, stop in offsets.values())
        finally:
            await consumer.stop()


def _span(
    topic: str | None,
    partition: int | None,
    from_offset: int | None,
    to_offset: int | None,
    since: str | None,
    until: str | None,
) -> Span:
    if partition is None and (from_offset is not None or to_offset is not None):
        raise Failure("--from-offset and --to-offset need --partition.")
    return Span(
        topic or settings_from_environment(IngestSettings).topic,
        partition,
        from_offset,
        to_offset,
        _read_time(since, "--from"),
        _read_time(until, "--to"),
    )


def _read_time(text: str | None, option: str) -> datetime | None:
    """A time as an operator types it. Raises Failure."""
    try:
        time = None if text is None else datetime.fromisoformat(text)
    except ValueError:
        time = None
    if text is not None and (time is None or time.tzinfo is None):
        raise Failure(f"{option} must be a time with an offset, such as 2026-11-24T10:00:00Z, not {text!r}.")
    return time


def _chosen(organization_id: UUID | None, call: str | None, event_type: str | None) -> Chosen | None:
    """The filter of events; None when all are chosen. Raises Failure."""
    if event_type is not None and event_type not in TYPES:
        raise Failure(f"--type must be one of {', '.join(TYPES)}, not {event_type!r}.")
    call_id = None if call is None else _call_id(organization_id, call)
    if (organization_id, call_id, event_type) == (None, None, None):
        return None
    return lambda event: (
        organization_id in (None, event.organization_id)
        and call_id in (None, event.call_id)
        and event_type in (None, event.type)
    )


def _call_id(organization_id: UUID | None, call: str) -> UUID:
    if organization_id is not None:
        return call_uuid(organization_id, call)
    return read_uuid(call, "--call, without --organization,")
