"""One batch into PostgreSQL, whole or not at all.

read_known   one snapshot: tombstones, stored events, what each call counts for now
changes      pure: the calls folded anew, and the deltas that follow
write        one transaction, refused with `Overtaken` when another owner was faster
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
from aiokafka import ConsumerRecord as Record
from msgspec.structs import astuple

from services.ingest.quarantine import BadRecord, write_quarantine
from shared.count import (
    DELTAS_CHANNEL,
    NO_DIRECTION,
    NO_PHONE_NUMBER,
    Cell,
    Counted,
    Deltas,
    Measures,
    counted,
)
from shared.database import Connection
from shared.event import Event, read_stored
from shared.fold import Call, distinct, fold


class Overtaken(Exception):
    """Another owner of the partition, or a delete, was faster: read again."""


class CallKey(NamedTuple):
    organization_id: UUID
    call_id: UUID


class Arrival(NamedTuple):
    """An event and the record it came in."""

    record: Record
    event: Event


@dataclass(frozen=True)
class Known:
    """What the database has of the calls of a batch, at one snapshot."""

    zones: Mapping[UUID, ZoneInfo]
    deleted: frozenset[CallKey]
    counted: Mapping[CallKey, tuple[int, Counted]]
    """Of each call there: its version, and what it counts for."""
    events: Mapping[CallKey, Mapping[str, str]]
    """Of each call there: the payload of each event, by the event's id."""


@dataclass(frozen=True)
class Changes:
    """What one batch does to the database."""

    organizations: Sequence[UUID]
    """The ones that nobody created."""
    events: Sequence[Event]
    new_calls: Sequence[tuple[Call, date]]
    changed_calls: Sequence[tuple[Call, date, int]]
    """Each with the version that it replaces."""
    deltas: Mapping[Cell, Measures]
    duplicates: int
    of_deleted_calls: int


UTC_ZONE: Final = ZoneInfo("UTC")


async def store(
    connection: Connection,
    arrivals: Sequence[Arrival],
    bad_records: Sequence[BadRecord],
    *,
    create_organizations: bool = True,
) -> Changes:
    """Stores a batch whole, and answers what it changed. Events of an organization that nobody created make
    it, in UTC, or are quarantined. Raises `Overtaken` and asyncpg's errors; then nothing is stored."""
    by_call: defaultdict[CallKey, list[Event]] = defaultdict(list)
    for _, event in arrivals:
        by_call[CallKey(event.organization_id, event.call_id)].append(event)
    known = await read_known(connection, list(by_call))
    if not create_organizations:
        strangers = [a for a in arrivals if a.event.organization_id not in known.zones]
        for record, event in strangers:
            reason = f"organization_id: {event.organization_id} is no organization here"
            bad_records = [*bad_records, BadRecord(record, reason)]
            by_call.pop(CallKey(event.organization_id, event.call_id), None)
    batch = changes(by_call, known)
    await write(connection, batch, bad_records)
    return batch


async def read_known(connection: Connection, keys: Sequence[CallKey]) -> Known:
    """What the database has of these calls, read in one snapshot."""
    organizations = [key.organization_id for key in keys]
    calls = [key.call_id for key in keys]
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        zones = await connection.fetch(_READ_ZONES, list(set(organizations)))
        deleted = await connection.fetch(_READ_DELETED, organizations, calls)
        counts = await connection.fetch(_READ_COUNTED, organizations, calls)
        stored = await connection.fetch(_READ_EVENTS, organizations, calls)
    events: defaultdict[CallKey, dict[str, str]] = defaultdict(dict)
    for n, event_id, payload in stored:
        events[keys[n - 1]][event_id] = payload
    return Known(
        zones={organization_id: ZoneInfo(name) for organization_id, name in zones},
        deleted=frozenset(keys[n - 1] for (n,) in deleted),
        counted={
            keys[row["n"] - 1]: (row["version"], Counted(Cell(*row[2:8]), Measures(1, *row[8:13])))
            for row in counts
        },
        events=events,
    )


def changes(by_call: Mapping[CallKey, Sequence[Event]], known: Known) -> Changes:
    """What these events change. Pure."""
    events: list[Event] = []
    new_calls: list[tuple[Call, date]] = []
    changed_calls: list[tuple[Call, date, int]] = []
    deltas = Deltas()
    duplicates = of_deleted_calls = 0
    for key in sorted(by_call, key=_lock_order):
        arrived = by_call[key]
        if key in known.deleted:
            of_deleted_calls += len(arrived)
            continue
        stored = known.events.get(key, {})
        fresh = [event for event in distinct(arrived) if event.id not in stored]
        duplicates += len(arrived) - len(fresh)
        if not fresh:
            continue
        call = fold([*map(read_stored, stored.values()), *fresh])
        zone = known.zones.get(key.organization_id, UTC_ZONE)
        now = counted(call, zone)
        if (before := known.counted.get(key)) is None:
            new_calls.append((call, now.cell.day))
        else:
            changed_calls.append((call, now.cell.day, before[0]))
            deltas.take(before[1])
        deltas.add(now)
        events += fresh
    strangers = {event.organization_id for event in events} - known.zones.keys()
    return Changes(
        sorted(strangers),
        events,
        new_calls,
        changed_calls,
        deltas.changes(),
        duplicates,
        of_deleted_calls,
    )


async def write(connection: Connection, batch: Changes, bad_records: Sequence[BadRecord]) -> None:
    """Writes the changes and the bad records in one transaction. Raises `Overtaken` when what was read is no
    longer so, and asyncpg's errors; then nothing is written."""
    try:
        async with connection.transaction():
            await _write(connection, batch, bad_records)
    except asyncpg.UniqueViolationError as error:
        raise Overtaken(str(error)) from error


async def _write(connection: Connection, batch: Changes, bad_records: Sequence[BadRecord]) -> None:
    if batch.organizations:
        made = await connection.fetch(_MAKE_ORGANIZATIONS, batch.organizations)
        if len(made) != len(batch.organizations):
            raise Overtaken("an organization was created meanwhile")
    await connection.copy_records_to_table(
        "call_events",
        columns=_EVENT_COLUMNS,
        records=[(e.organization_id, e.call_id, e.id, e.type, e.timestamp, e.payload) for e in batch.events],
    )
    if batch.new_calls:
        await connection.copy_records_to_table(
            "calls",
            columns=_CALL_COLUMNS,
            records=[(*astuple(call), day) for call, day in batch.new_calls],
        )
        # After the COPY, which waits for a delete of the same call: only now is its tombstone in sight.
        keys = [(call.organization_id, call.id) for call, _ in batch.new_calls]
        if await connection.fetch(_READ_DELETED, *zip(*keys, strict=True)):
            raise Overtaken("a call was deleted meanwhile")
    if batch.changed_calls:
        rows = [(*astuple(call), day, replaced) for call, day, replaced in batch.changed_calls]
        tag = await connection.execute(_UPDATE_CALLS, *zip(*rows, strict=True))
        if tag != f"UPDATE {len(rows)}":
            raise Overtaken("a call was changed or deleted meanwhile")
    if batch.deltas:
        await connection.copy_records_to_table(
            "daily_call_deltas",
            columns=(*Cell._fields, *Measures._fields),
            records=[(*cell, *measures) for cell, measures in batch.deltas.items()],
        )
        await connection.execute(f"NOTIFY {DELTAS_CHANNEL}")
    if bad_records:
        await write_quarantine(connection, bad_records)


def _lock_order(key: CallKey) -> tuple[int, int]:
    """One order for all owners: two that meet wait for each other, and seldom in a circle."""
    return key.organization_id.int, key.call_id.int


_EVENT_COLUMNS: Final = ("organization_id", "call_id", "id", "type", "occurred_at", "payload")
_CALL_COLUMNS: Final = (*Call.__struct_fields__, "day")
_CALL_TYPES: Final = {
    "organization_id": "uuid",
    "id": "uuid",
    "external_id": "text",
    "livemode": "boolean",
    "status": "text",
    "direction": "text",
    "from_number": "text",
    "to_number": "text",
    "phone_number_id": "uuid",
    "endpoint_id": "uuid",
    "duration": "integer",
    "cost": "numeric",
    "latency_ms": "integer",
    "hangup_cause": "text",
    "recording_url": "text",
    "transcript": "text",
    "created_at": "timestamptz",
    "answered_at": "timestamptz",
    "completed_at": "timestamptz",
    "version": "integer",
    "day": "date",
}

_MAKE_ORGANIZATIONS: Final = """
INSERT INTO organizations (id, name) SELECT id, '' FROM unnest($1::uuid[]) AS stranger(id)
ON CONFLICT (id) DO NOTHING
RETURNING id
"""

_READ_ZONES: Final = "SELECT id, time_zone FROM organizations WHERE id = ANY($1::uuid[])"

_KEYS: Final = "unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS key(organization_id, call_id, n)"

_READ_DELETED: Final = f"SELECT n FROM {_KEYS} JOIN deleted_calls USING (organization_id, call_id)"  # noqa: S608

_READ_EVENTS: Final = f"SELECT n, id, payload FROM {_KEYS} JOIN call_events USING (organization_id, call_id)"  # noqa: S608

_READ_COUNTED: Final = f"""
SELECT n, version,
       calls.organization_id, livemode, day,
       coalesce(direction, '{NO_DIRECTION}'), coalesce(phone_number_id, '{NO_PHONE_NUMBER}'), status,
       (answered_at IS NOT NULL)::int, coalesce(duration, 0), coalesce(cost, 0),
       coalesce(latency_ms, 0), (latency_ms IS NOT NULL)::int
FROM {_KEYS} JOIN calls ON calls.organization_id = key.organization_id AND calls.id = key.call_id
"""  # noqa: S608

_UPDATE_CALLS: Final = f"""
UPDATE calls SET ({", ".join(column for column in _CALL_COLUMNS[2:])})
              = ({", ".join(f"now.{column}" for column in _CALL_COLUMNS[2:])})
FROM unnest({", ".join(f"${n}::{_CALL_TYPES[c]}[]" for n, c in enumerate(_CALL_COLUMNS, 1))},
            ${len(_CALL_COLUMNS) + 1}::integer[]) AS now({", ".join(_CALL_COLUMNS)}, replaced_version)
WHERE calls.organization_id = now.organization_id AND calls.id = now.id
  AND calls.version = now.replaced_version
"""  # noqa: S608
