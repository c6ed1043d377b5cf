"""Retention: calls and events older than their organization keeps go, in small transactions."""

from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from shared.count import (
    DELTAS_CHANNEL,
    NO_DIRECTION,
    NO_PHONE_NUMBER,
    Cell,
    Measures,
    local_day,
    time_zone,
)
from shared.database import Connection
from shared.retention import kept_since

CHUNK_CALLS: Final = 1_000
Counts = Literal["keep", "drop"]


async def prune(
    connection: Connection,
    now: datetime,
    *,
    counts: Counts = "keep",
    organization_id: UUID | None = None,
    dry_run: bool = False,
) -> int:
    """Removes the calls that began before what their organization keeps at `now`, with their events, and
    answers how many.

    With `keep`, what was counted stays counted, and is remembered as pruned; with `drop` the daily counts go,
    too, also those of calls that were pruned before. Of one organization, or of all.
    Raises asyncpg's errors; the chunks before it are done.
    """
    pruned = 0
    for owner, zone_name, retention_days in await connection.fetch(_RETENTIONS, organization_id):
        zone = time_zone(zone_name)
        before = kept_since(now, zone, retention_days)
        if dry_run:
            pruned += await connection.fetchval(_COUNT, owner, before)
            continue
        while removed := await _prune_some(connection, owner, before, counts):
            pruned += removed
        if counts == "drop":
            await _drop_pruned(connection, owner, local_day(before, zone))
    return pruned


async def _prune_some(connection: Connection, owner: UUID, before: datetime, counts: Counts) -> int:
    """One small transaction. The calls are locked before their events are read: an ingest that is just
    storing more of them has committed them, or finds its call gone, and begins again."""
    async with connection.transaction(isolation="read_committed"):
        ids = [id_ for (id_,) in await connection.fetch(_LOCK, owner, before, CHUNK_CALLS)]
        if not ids:
            return 0
        await connection.execute(_PRUNE_EVENTS, owner, ids)
        await connection.execute(_PRUNE_AND_KEEP if counts == "keep" else _PRUNE_AND_DROP, owner, ids)
        if counts == "drop":
            await connection.execute(f"NOTIFY {DELTAS_CHANNEL}")
        return len(ids)


async def _drop_pruned(connection: Connection, owner: UUID, before: object) -> None:
    async with connection.transaction(isolation="read_committed"):
        await connection.execute(_DROP_PRUNED, owner, before)
        await connection.execute(f"NOTIFY {DELTAS_CHANNEL}")


_RETENTIONS: Final = """
SELECT id, time_zone, retention_days FROM organizations
WHERE retention_days IS NOT NULL AND ($1::uuid IS NULL OR id = $1)
ORDER BY id
"""

_OLD: Final = "organization_id = $1 AND livemode IN (false, true) AND created_at < $2"

_COUNT: Final = f"SELECT count(*) FROM calls WHERE {_OLD}"  # noqa: S608

_LOCK: Final = f"SELECT id FROM calls WHERE {_OLD} LIMIT $3 FOR UPDATE SKIP LOCKED"  # noqa: S608

_PRUNE_EVENTS: Final = "DELETE FROM call_events WHERE organization_id = $1 AND call_id = ANY($2::uuid[])"

_COLUMNS: Final = ", ".join((*Cell._fields, *Measures._fields))

_GONE: Final = f"""
WITH gone AS (
    DELETE FROM calls WHERE organization_id = $1 AND id = ANY($2::uuid[]) RETURNING *
), counted AS (
    SELECT organization_id, livemode, day, coalesce(direction, '{NO_DIRECTION}') AS direction,
        coalesce(phone_number_id, '{NO_PHONE_NUMBER}') AS phone_number_id, status,
        count(*) AS calls, count(answered_at) AS answered,
        coalesce(sum(duration), 0) AS duration_seconds, coalesce(sum(cost), 0) AS cost_cents,
        coalesce(sum(latency_ms), 0) AS latency_ms, count(latency_ms) AS latency_calls
    FROM gone GROUP BY 1, 2, 3, 4, 5, 6
)
"""  # noqa: S608

_PRUNE_AND_KEEP: Final = f"""
{_GONE}
INSERT INTO pruned_call_counts AS pruned ({_COLUMNS})
SELECT {_COLUMNS} FROM counted ORDER BY {", ".join(Cell._fields)}
ON CONFLICT ({", ".join(Cell._fields)}) DO UPDATE
SET {", ".join(f"{name} = pruned.{name} + excluded.{name}" for name in Measures._fields)}
"""  # noqa: S608

_TAKEN_AWAY: Final = ", ".join((*Cell._fields, *(f"-{name}" for name in Measures._fields)))

_PRUNE_AND_DROP: Final = f"""
{_GONE}
INSERT INTO daily_call_deltas ({_COLUMNS}) SELECT {_TAKEN_AWAY} FROM counted
"""  # noqa: S608

_DROP_PRUNED: Final = f"""
WITH dropped AS (
    DELETE FROM pruned_call_counts WHERE organization_id = $1 AND day < $2::date RETURNING *
)
INSERT INTO daily_call_deltas ({_COLUMNS}) SELECT {_TAKEN_AWAY} FROM dropped
"""  # noqa: S608
