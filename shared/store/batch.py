"""Writes one batch to PostgreSQL, all of it or nothing.

- `read_known` reads tombstones, stored events and the current counts of each call, in one snapshot.
- `changes` (pure, in shared/store/changes.py) folds the calls and computes their deltas.
- `write` writes one transaction. It raises `Overtaken` when another writer was faster.

The caller calls the three in this order; this module calls neither `changes` nor the caller.
"""

import logging
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from io import BytesIO
from typing import Any, Final
from uuid import UUID

import asyncpg
from msgspec.json import encode

from shared.calls.event import Event
from shared.calls.organization_tombstone import organization_tombstone
from shared.calls.stored_payload import ENVELOPE_BYTES, stored_payload
from shared.calls.zones import time_zone, zone_rules
from shared.counts.cell import CALL_COLUMNS, COUNTED_COLUMNS, Cell, Measures, call_row, counted_as
from shared.database.connection import Connection
from shared.database.faults import is_of_node_in_copy, outbox_needed
from shared.database.locks import DAYS_LOCK
from shared.store.audit import write_audit
from shared.store.by_shard import KEYS, ByShard, ShardOf, by_shard, found_by_key, in_organizations
from shared.store.changes import CallKey, Changes, KnownCall, Organization, TouchedCall, Written, group
from shared.store.deltas_channel import notify_deltas
from shared.store.quarantine import BadRecord, hold_calls, write_quarantine
from shared.store.sources import write_organizations_of_calls

logger = logging.getLogger("callfold.store")


class Overtaken(Exception):
    """Another writer of a call, such as a delete, was faster: read again."""


class TooLarge(Exception):
    """The stored events of the batch's calls are too many to hold in memory at once: store the batch in
    parts."""


_UNKNOWN: Final = KnownCall()
_KEYS_OF_CALLS: Final = re.compile(r"\b(calls|call_events)_pkey(_\d+)?\b")
"""The names of both keys, and of these on a shard of Citus."""
AUDITED_LENGTH_MAX: Final = 4_000
"""The length to which the audit log cuts the ids of replaced events."""
STORED_BYTES_MAX: Final = 64 * 1024 * 1024


async def read_known(
    connection: Connection,
    arrived: Mapping[CallKey, Sequence[Event]],
    *,
    stored_bytes_max: int = STORED_BYTES_MAX,
    shard_of: ShardOf | None = None,
) -> tuple[Mapping[UUID, Organization], Sequence[TouchedCall]]:
    """Reads the state of these calls in one snapshot: the organizations that exist, and each call with its
    arrived events, in order. Every call of a deleted organization counts as deleted. With `shard_of`, each
    statement over calls reads one shard. Raises `TooLarge`, unless there is only one call."""
    owners = list({organization_id for organization_id, _ in arrived})
    left = stored_bytes_max if len(arrived) > 1 else None
    touched: list[TouchedCall] = []
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        organizations = await connection.fetch(_READ_ORGANIZATIONS, owners)
        for part in by_shard(list(arrived.items()), _owner_of_arrived, shard_of):
            keys = [key for key, _ in part.items]
            known = await _read_calls(connection, keys, part.organizations, left)
            if known is None:
                raise TooLarge(f"{len(arrived):,} calls have more than {stored_bytes_max:,} bytes of events")
            touched += [TouchedCall(*one, call) for one, call in zip(part.items, known, strict=True)]
            if left is not None and shard_of is not None:
                left -= sum(len(payload) for call in known for payload in call.events.values())
    if shard_of is not None:
        touched.sort(key=_key_of_touched)
    return {id_: _organization(id_, *fields) for id_, *fields in organizations}, touched


def _owner_of_arrived(arrived: tuple[CallKey, Sequence[Event]]) -> UUID:
    (organization_id, _), _ = arrived
    return organization_id


def _key_of_touched(touched: TouchedCall) -> CallKey:
    return touched.key


async def _read_calls(
    connection: Connection,
    keys: Sequence[CallKey],
    organizations: Sequence[UUID] | None,
    bytes_max: int | None,
) -> list[KnownCall] | None:
    """The stored state of each of these calls, in their order; None if their events have more bytes.
    `organizations` are those of `Part`."""
    owners = [organization_id for organization_id, _ in keys]
    calls = [call_id for _, call_id in keys]
    distinct_owners = list(set(owners))
    asked_deleted = (
        [*owners, *distinct_owners],
        [*calls, *map(organization_tombstone, distinct_owners)],
    )
    deleted = await connection.fetch(*_READ_DELETED.of(organizations, *asked_deleted))
    counts = await connection.fetch(*_READ_COUNTED.of(organizations, owners, calls))
    stored = await connection.fetch(*_READ_EVENTS.of(organizations, owners, calls, bytes_max))
    events: defaultdict[int, dict[str, str]] = defaultdict(dict)
    for n, event_id, payload in stored:
        if payload is None:
            return None
        events[n][event_id] = payload
    known = [_UNKNOWN] * len(calls)
    for row in counts:
        n, version, revision, *columns = row
        known[n - 1] = KnownCall(row=Written(version, revision), counted=counted_as(*columns))
    for n, payloads in events.items():
        known[n - 1] = known[n - 1]._replace(events=payloads)
    deleted_owners = {distinct_owners[n - 1 - len(calls)] for (n,) in deleted if n > len(calls)}
    for n, owner in enumerate(owners):
        if owner in deleted_owners:
            known[n] = KnownCall(deleted=True)
    for (n,) in deleted:
        if n <= len(calls):
            known[n - 1] = KnownCall(deleted=True)
    return known


def _organization(organization_id: UUID, name: str, retention_days: int | None) -> Organization:
    if time_zone(name).key != name:
        logger.error(
            "unknown time zone %r; counting this organization in UTC",
            name,
            extra={"organization_id": organization_id},
        )
    return Organization(name, retention_days)


async def write(
    connection: Connection,
    batch: Changes,
    bad_records: Sequence[BadRecord],
    *,
    now: datetime | None = None,
    named: Collection[tuple[UUID, UUID, str]] = (),
    actor: str = "ingest",
    compact_payloads: bool = False,
    shard_of: ShardOf | None = None,
    row_by_row: bool = False,
) -> None:
    """Writes the changes and the bad records in one transaction.

    Bad records need `now` (aware), the time at which their retention is judged. `named` are organizations
    that sources name for calls: organization, source and the call's id in it. The audit log names `actor` for
    replaced events. With `compact_payloads`, the stored payloads leave out what their row says otherwise.
    With `shard_of`, each frequent statement over calls goes to one shard. With `row_by_row`, each new row has
    a statement of its own, which is slow. The fault of a COPY on a node of Citus has no SQLSTATE.
    Raises `Overtaken` if the data that was read has changed, `TablesOutdated` on a server that was added
    without its outbox, and asyncpg's errors. Then nothing is written.
    """
    try:
        async with connection.transaction(isolation="read_committed"):
            # Before any row is locked: a delete takes the same lock first, and the call's row after it.
            await hold_calls(connection, [key for bad in bad_records for key in bad.named.tombstones])
            with outbox_needed():
                await _write(connection, batch, compact_payloads, shard_of, _insert if row_by_row else _copy)
            for (organization_id, call_id), those in group(batch.rewritten).items():
                await write_audit(
                    connection,
                    organization_id=organization_id,
                    actor=actor,
                    action="events replaced",
                    subject=str(call_id),
                    details=", ".join(event.id for event in those)[:AUDITED_LENGTH_MAX],
                )
            if named:
                await write_organizations_of_calls(connection, named)
            if bad_records:
                if now is None:
                    raise ValueError("bad records require `now`")
                await write_quarantine(connection, bad_records, now)
    except (asyncpg.UniqueViolationError, asyncpg.InternalServerError) as error:
        if not _is_overtaken(error):
            raise
        raise Overtaken(str(error).partition("\n")[0]) from error


def _is_overtaken(error: asyncpg.PostgresError) -> bool:
    if is_of_node_in_copy(error):
        return _KEYS_OF_CALLS.search(error.message or "") is not None
    return _KEYS_OF_CALLS.fullmatch(error.constraint_name or "") is not None


Add = Callable[[Connection, str, Sequence[Sequence[object]]], Awaitable[None]]


async def _copy(connection: Connection, table: str, rows: Sequence[Sequence[object]]) -> None:
    await connection.copy_records_to_table(table, columns=_COLUMNS[table], records=rows)


async def _insert(connection: Connection, table: str, rows: Sequence[Sequence[object]]) -> None:
    await connection.executemany(_INSERTS[table], rows)


async def _write(
    connection: Connection, batch: Changes, compact_payloads: bool, shard_of: ShardOf | None, add: Add
) -> None:
    if batch.organizations:
        made = await connection.fetch(_MAKE_ORGANIZATIONS, batch.organizations, zone_rules("UTC"))
        if len(made) != len(batch.organizations):
            raise Overtaken("an organization was created meanwhile")
    rows = [_event_row(event, compact_payloads) for event in batch.events]
    await add(connection, "call_events", rows)
    if batch.new_calls:
        rows = [call_row(call, when) for call, when in batch.new_calls]
        await add(connection, "calls", rows)
        # After the COPY, which waits for a delete of the same call: only now is its tombstone visible.
        keys = [(call.organization_id, call.id) for call, _ in batch.new_calls]
        if await _any_deleted(connection, keys, shard_of):
            raise Overtaken("a call was deleted meanwhile")
    if batch.changed_calls:
        rows = [(*call_row(call, when), *replaced) for call, when, replaced in batch.changed_calls]
        for part in by_shard(rows, _owner_of_row, shard_of):
            columns = zip(*part.items, strict=True)
            tag = await connection.execute(*_UPDATE_CALLS.of(part.organizations, *columns))
            if tag != f"UPDATE {len(part.items)}":
                raise Overtaken("a call was changed or deleted meanwhile")
    if batch.rewritten:
        events = [_event_row(event, compact_payloads) for event in batch.rewritten]
        rows = [(*row[:-1], encode(row[-1] or []).decode()) for row in events]
        tag = await connection.execute(_REWRITE_EVENTS, *zip(*rows, strict=True))
        if tag != f"UPDATE {len(rows)}":
            raise Overtaken("an event was removed meanwhile")
    if batch.overruled:  # after locking the calls' rows, in the same order as a delete
        gone = [(event.organization_id, event.call_id, event.id) for event in batch.overruled]
        await connection.execute(_DELETE_EVENTS, *zip(*gone, strict=True))
    if batch.new_calls or batch.changed_calls:
        await _check_days(connection, batch.time_zones)
        await _check_organizations(connection, batch, shard_of)
    if batch.deltas:
        if add is _copy:
            await _copy_deltas(connection, batch.deltas)
        else:
            rows = [(*cell, *measures) for cell, measures in batch.deltas.items()]
            await add(connection, "daily_call_deltas", rows)
        await notify_deltas(connection)


async def _any_deleted(connection: Connection, keys: Sequence[CallKey], shard_of: ShardOf | None) -> bool:
    """Whether any of these calls has a tombstone."""
    for part in by_shard(keys, _owner_of_key, shard_of):
        if await connection.fetch(*_READ_DELETED.of(part.organizations, *zip(*part.items, strict=True))):
            return True
    return False


def _owner_of_key(key: CallKey) -> UUID:
    return key[0]


def _owner_of_row(row: Sequence[Any]) -> UUID:
    organization_id: UUID = row[0]
    return organization_id


def _event_row(event: Event, compact: bool) -> tuple[object, ...]:
    """The values of a row of `call_events`."""
    notes = [*map(str, event.notes)] if event.notes else None
    return (
        event.organization_id,
        event.call_id,
        event.id,
        event.type,
        event.timestamp,
        stored_payload(event) if compact else event.payload,
        notes,
    )


async def _copy_deltas(connection: Connection, deltas: Mapping[Cell, Measures]) -> None:
    # As text: the driver would encode packed numbers digit by digit, and no value here needs an escape.
    rows = "".join("\t".join(map(str, (*cell, *measures))) + "\n" for cell, measures in deltas.items())
    await connection.copy_to_table(
        "daily_call_deltas", source=BytesIO(rows.encode()), columns=_COLUMNS["daily_call_deltas"]
    )


async def _check_days(connection: Connection, time_zones: Mapping[UUID, str]) -> None:
    """Raises `Overtaken` if a time zone is being changed or has changed: the days were computed from the zone
    that was read.

    It runs last and does not wait for the lock, because a change of the time zone may wait for these rows.
    """
    if not await connection.fetchval("SELECT pg_try_advisory_xact_lock_shared($1)", DAYS_LOCK):
        raise Overtaken("a time zone is being changed")
    now = await connection.fetch(_READ_ORGANIZATIONS, list(time_zones))
    if any(name != time_zones[id_] for id_, name, _ in now):
        raise Overtaken("a time zone was changed meanwhile")


async def _check_organizations(connection: Connection, batch: Changes, shard_of: ShardOf | None) -> None:
    """Raises `Overtaken` if an organization was deleted since it was read. The lock of `_check_days` is held:
    the deletion of an organization takes it exclusively and waits for this transaction."""
    owners = (*batch.time_zones, *batch.organizations)
    if await _any_deleted(connection, [(one, organization_tombstone(one)) for one in owners], shard_of):
        raise Overtaken("an organization was deleted meanwhile")


_COLUMNS: Final[Mapping[str, Sequence[str]]] = {
    "call_events": ("organization_id", "call_id", "id", "type", "occurred_at", "payload", "notes"),
    "calls": CALL_COLUMNS,
    "daily_call_deltas": (*Cell._fields, *Measures._fields),
}


def _insert_into(table: str, columns: Sequence[str]) -> str:
    values = ", ".join(f"${n}" for n in range(1, len(columns) + 1))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values})"


_INSERTS: Final = {table: _insert_into(table, columns) for table, columns in _COLUMNS.items()}
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
    "hour": "smallint",
    "laws": "smallint",
}

_MAKE_ORGANIZATIONS: Final = """
INSERT INTO organizations (id, name, zone_rules) SELECT id, '', $2 FROM unnest($1::uuid[]) AS stranger(id)
ON CONFLICT (id) DO NOTHING
RETURNING id
"""

_READ_ORGANIZATIONS: Final = """
SELECT id, time_zone, retention_days FROM organizations WHERE id = ANY($1::uuid[])
"""

_READ_DELETED: Final = ByShard(
    f"SELECT n FROM {KEYS} JOIN deleted_calls USING (organization_id, call_id)",
    f"SELECT n FROM {found_by_key('1', 'deleted_calls', 'call_id', 3)}",
)

# Payloads beyond the limit of bytes are not sent.
_PAYLOADS: Final = f"""
SELECT n, id,
       CASE WHEN sum(octet_length(payload) + {ENVELOPE_BYTES}) OVER (ROWS UNBOUNDED PRECEDING) > $3::bigint
            THEN NULL
            ELSE callfold_payload(payload, type, organization_id, call_id) END
"""
_READ_EVENTS: Final = ByShard(
    f"{_PAYLOADS} FROM {KEYS} JOIN call_events USING (organization_id, call_id)",
    f"{_PAYLOADS} FROM {found_by_key('id, payload, type', 'call_events', 'call_id', 4)}",
)

_DELETE_EVENTS: Final = """
DELETE FROM call_events USING unnest($1::uuid[], $2::uuid[], $3::text[]) AS gone(organization_id, call_id, id)
WHERE call_events.organization_id = gone.organization_id AND call_events.call_id = gone.call_id
    AND call_events.id = gone.id
"""

# Notes are passed as JSON: PostgreSQL has no array of arrays of different lengths.
_REWRITE_EVENTS: Final = """
UPDATE call_events AS event SET type = now.type, occurred_at = now.occurred_at, payload = now.payload,
    notes = (SELECT array_agg(note) FROM json_array_elements_text(now.notes::json) AS note)
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::text[], $7::text[])
    AS now(organization_id, call_id, id, type, occurred_at, payload, notes)
WHERE event.organization_id = now.organization_id AND event.call_id = now.call_id AND event.id = now.id
"""

_COUNTED: Final = ", ".join(COUNTED_COLUMNS)
_READ_COUNTED: Final = ByShard(
    f"""
SELECT n, version, revision, {", ".join(f"calls.{name}" for name in COUNTED_COLUMNS)}
FROM {KEYS} JOIN calls ON calls.organization_id = key.organization_id AND calls.id = key.call_id
""",
    f"""
SELECT n, version, revision, {", ".join(f"found.{name}" for name in COUNTED_COLUMNS)}
FROM {found_by_key(f"version, revision, {_COUNTED}", "calls", "id", 3)}
""",
)

_UPDATE: Final = f"""
UPDATE calls SET ({", ".join(column for column in CALL_COLUMNS[2:])}, revision)
              = ({", ".join(f"now.{column}" for column in CALL_COLUMNS[2:])}, calls.revision + 1)
FROM unnest({", ".join(f"${n}::{_CALL_TYPES[c]}[]" for n, c in enumerate(CALL_COLUMNS, 1))},
            ${len(CALL_COLUMNS) + 1}::integer[], ${len(CALL_COLUMNS) + 2}::integer[])
    AS now({", ".join(CALL_COLUMNS)}, replaced_version, replaced_revision)
WHERE calls.organization_id = now.organization_id AND calls.id = now.id
  AND calls.version = now.replaced_version AND calls.revision = now.replaced_revision
"""
_UPDATE_CALLS: Final = ByShard(
    _UPDATE, f"{_UPDATE} AND {in_organizations('calls.organization_id', len(CALL_COLUMNS) + 3)}"
)
