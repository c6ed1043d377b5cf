"""Retention: removes calls and events older than their organization keeps, in small transactions."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal, NamedTuple
from uuid import UUID

from shared.calls.local_time import local_day
from shared.calls.retention import kept_since
from shared.calls.zones import time_zone
from shared.counts.cell import Measures
from shared.counts.counted_sql import CELL, COUNTED, MEASURES, SUMS, TAKE_AWAY
from shared.database.connection import Connection
from shared.store.delete import DELETE_MESSAGES
from shared.store.deltas_channel import notify_deltas

CHUNK_CALLS: Final = 1_000
MODES: Final = (True, False)
Counts = Literal["keep", "drop"]


class Kept(NamedTuple):
    """An organization's retention, and the time zone of its days."""

    owner: UUID
    time_zone: str
    retention_days: int


async def prune(
    connection: Connection,
    now: datetime,
    *,
    counts: Counts = "keep",
    organization_id: UUID | None = None,
    dry_run: bool = False,
) -> int:
    """Removes the calls that began before the retention of their organization at `now`, with their events,
    and returns their number. It covers one organization or all.

    With `keep`, the calls stay counted and are recorded as pruned. With `drop`, their daily counts are also
    removed, including those of calls pruned earlier. An organization whose retention or time zone changes
    meanwhile is left to the next run. Raises asyncpg's errors; completed chunks stay done.
    """
    pruned = 0
    for kept in await retentions(connection, organization_id):
        before = kept_since(now, time_zone(kept.time_zone), kept.retention_days)
        if dry_run:
            pruned += await connection.fetchval(_COUNT, kept.owner, before)
            continue
        for livemode in MODES:
            while removed := await _prune_some(connection, kept, livemode, before, counts):
                pruned += removed
        if counts == "drop":
            await _drop_pruned(connection, kept, before)
    return pruned


async def _prune_some(
    connection: Connection, kept: Kept, livemode: bool, before: datetime, counts: Counts
) -> int:
    """Removes some calls in one small transaction. The calls are locked before their events are read: a
    concurrent ingest has either committed its events or finds the call gone and retries."""
    owner = kept.owner
    async with connection.transaction(isolation="read_committed"):
        if not await still_kept(connection, kept):
            return 0
        ids = [id_ for (id_,) in await connection.fetch(_LOCK, owner, livemode, before, CHUNK_CALLS)]
        if not ids:
            return 0
        if counts == "keep":
            await connection.execute(_PRUNE_EVENTS, owner, ids)
            await connection.execute(_PRUNE_AND_KEEP, owner, ids)
        else:
            await drop_calls(connection, owner, ids)
            await notify_deltas(connection)
        return len(ids)


async def drop_calls(connection: Connection, organization_id: UUID, ids: Sequence[UUID]) -> int:
    """Removes these calls with their events, and their counts by deltas, within the caller's transaction,
    which has locked them. Returns the number of events."""
    tag = await connection.execute(_PRUNE_EVENTS, organization_id, ids)
    await connection.execute(_PRUNE_AND_DROP, organization_id, ids)
    await connection.execute(DELETE_MESSAGES, organization_id, ids)
    return int(tag.rpartition(" ")[2])


async def _drop_pruned(connection: Connection, kept: Kept, before: datetime) -> None:
    day = local_day(before, time_zone(kept.time_zone))
    async with connection.transaction(isolation="read_committed"):
        if await still_kept(connection, kept):
            await connection.execute(_DROP_PRUNED, kept.owner, day)
            await notify_deltas(connection)


async def retentions(connection: Connection, organization_id: UUID | None) -> list[Kept]:
    """The retention of this organization, or of all organizations that have one."""
    return [Kept(*row) for row in await connection.fetch(_RETENTIONS, organization_id)]


async def still_kept(connection: Connection, kept: Kept) -> bool:
    """Whether an organization's retention and time zone are unchanged. If so, they stay unchanged until this
    transaction ends, so that no call is removed after its retention was extended."""
    return await connection.fetchval(_STILL_KEPT, *kept) is not None


_RETENTIONS: Final = """
SELECT id, time_zone, retention_days FROM organizations
WHERE retention_days IS NOT NULL AND ($1::uuid IS NULL OR id = $1)
ORDER BY id
"""

_STILL_KEPT: Final = """
SELECT id FROM organizations WHERE id = $1 AND time_zone = $2 AND retention_days = $3 FOR SHARE
"""

_OLD: Final = "organization_id = $1 AND livemode IN (false, true) AND created_at < $2"

_COUNT: Final = f"SELECT count(*) FROM calls WHERE {_OLD}"

_LOCK: Final = """
SELECT id FROM calls WHERE organization_id = $1 AND livemode = $2 AND created_at < $3
ORDER BY created_at, id LIMIT $4 FOR UPDATE SKIP LOCKED
"""

_PRUNE_EVENTS: Final = "DELETE FROM call_events WHERE organization_id = $1 AND call_id = ANY($2::uuid[])"

_COLUMNS: Final = f"{CELL}, {MEASURES}"

_GONE: Final = f"""
WITH gone AS (
    DELETE FROM calls WHERE organization_id = $1 AND id = ANY($2::uuid[]) RETURNING *
), counted AS (
    SELECT {CELL}, {SUMS}
    FROM (SELECT {COUNTED} FROM gone) AS call GROUP BY {CELL}
)
"""

_PRUNE_AND_KEEP: Final = f"""
{_GONE}
INSERT INTO pruned_call_counts AS pruned ({_COLUMNS})
SELECT {_COLUMNS} FROM counted ORDER BY {CELL}
ON CONFLICT ({CELL}) DO UPDATE
SET {", ".join(f"{name} = pruned.{name} + excluded.{name}" for name in Measures._fields)}
"""

_PRUNE_AND_DROP: Final = f"""
{_GONE}
{TAKE_AWAY} FROM counted
"""

_DROP_PRUNED: Final = f"""
WITH dropped AS (
    DELETE FROM pruned_call_counts WHERE organization_id = $1 AND day < $2::date RETURNING *
)
{TAKE_AWAY} FROM dropped
"""
