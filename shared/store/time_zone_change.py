"""Moving the calls of an organization to the days and hours of another time zone, exact in every snapshot."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from shared.calls import zones
from shared.calls.local_time import LocalHour, local_hour
from shared.counts.cell import COUNTED_COLUMNS, Measures
from shared.counts.counted_sql import CELL, COUNTED, INTO_DELTAS
from shared.database.connection import Connection
from shared.database.distributed import is_distributed
from shared.database.held_locks import AT_SERVER, hold_on_each_server, keep_in_place
from shared.database.locks import DAYS_LOCK
from shared.store.deltas_channel import notify_deltas

CHUNK_CALLS: Final = 5_000
STATEMENT_SECONDS: Final = 3600


async def move_days(connection: Connection, organization_id: UUID, time_zone: str) -> int:
    """Sets the organization's time zone (an IANA name), and the day and hour of each of its calls, with the
    counts. It runs within the caller's transaction and returns the number of moved calls.

    Most calls are moved first, the oldest ones first, while ingest continues in the old zone. A batch with a
    moved call is retried until the end. Calls that ingest wrote meanwhile are moved under the lock that
    ingest tries to take, without waiting, at the end of each write. While it is held, all batches are
    retried; the first one afterwards reads the new zone. In a deadlock, PostgreSQL may cancel this
    transaction: the caller must retry it. Raises `LookupError` if there is no such organization,
    NotEverywhere, and asyncpg's errors.
    """
    zone = zones.time_zone(time_zone)
    # No reader of a call sees its day: the outbox does not get these calls.
    await connection.execute("SET LOCAL callfold.moves_days = 'on'")
    if await is_distributed(connection):
        # Rows that were moved to another server have its transaction ids.
        await keep_in_place(connection, organization_id)
    since = await connection.fetchval(_SINCE, organization_id)
    moved = await _move(connection, organization_id, zone, None)
    await hold_on_each_server(connection, DAYS_LOCK, organization_id, seconds=STATEMENT_SECONDS)
    rules = zones.zone_rules(time_zone)
    if await connection.fetchval(_SET_TIME_ZONE, organization_id, time_zone, rules) is None:
        raise LookupError(f"there is no organization {organization_id}")
    moved += await _move(connection, organization_id, zone, since)
    await notify_deltas(connection)
    return moved


async def _move(connection: Connection, organization_id: UUID, zone: ZoneInfo, since: str | None) -> int:
    """Moves the calls. With `since`, a transaction id, only calls written by a transaction that had not ended
    then. A call that changes meanwhile is left to the second pass."""
    moved = 0
    prepared = await connection.prepare(_CALLS, name="", timeout=STATEMENT_SECONDS)
    cursor = await prepared.cursor(organization_id, since, timeout=STATEMENT_SECONDS)
    while rows := await cursor.fetch(CHUNK_CALLS, timeout=STATEMENT_SECONDS):
        moving = [
            (id_, *before, *now, revision)
            for id_, created_at, *before, revision in rows
            if (now := local_hour(created_at, zone)) != tuple(before)
        ]
        if moving:
            moved += await _move_some(connection, organization_id, moving)
    return moved


async def _move_some(connection: Connection, organization_id: UUID, moving: Sequence[Any]) -> int:
    moved: int = await connection.fetchval(
        _MOVE, organization_id, *zip(*moving, strict=True), timeout=STATEMENT_SECONDS
    )
    return moved


# Transaction ids belong to one server: that of the organization's rows.
_SINCE: Final = f"""
SELECT pg_snapshot_xmin(pg_current_snapshot())::xid::text FROM {AT_SERVER.format("$1")}
"""

_SET_TIME_ZONE: Final = "UPDATE organizations SET time_zone = $2, zone_rules = $3 WHERE id = $1 RETURNING id"

# The second pass reads only newer rows: a row's xmin is the transaction that wrote it.
_CALLS: Final = """
SELECT id, created_at, day, hour, revision FROM calls
WHERE organization_id = $1
    AND ($2::text IS NULL OR age(xmin) <= age($2::text::xid) AND xmin <> pg_current_xact_id()::xid)
ORDER BY created_at
"""

_COLUMNS: Final = ", ".join(f"calls.{name}" for name in COUNTED_COLUMNS if name not in LocalHour._fields)

_MOVE: Final = f"""
WITH moved AS (
    UPDATE calls SET day = moving.day_now, hour = moving.hour_now, revision = calls.revision + 1
    FROM unnest($2::uuid[], $3::date[], $4::smallint[], $5::date[], $6::smallint[], $7::integer[])
        AS moving(id, day_before, hour_before, day_now, hour_now, revision)
    WHERE calls.organization_id = $1 AND calls.id = moving.id AND calls.revision = moving.revision
        AND calls.day = moving.day_before AND calls.hour IS NOT DISTINCT FROM moving.hour_before
    RETURNING {_COLUMNS}, day_before, hour_before, day_now, hour_now
), counted AS (
    SELECT sign, {COUNTED}
    FROM moved,
        LATERAL (VALUES (day_before, hour_before, -1), (day_now, hour_now, 1)) AS side(day, hour, sign)
), written AS (
    {INTO_DELTAS}
    SELECT {CELL}, {", ".join(f"sum(sign * {name})" for name in Measures._fields)}
    FROM counted GROUP BY {CELL}
)
SELECT count(*) FROM moved
"""
