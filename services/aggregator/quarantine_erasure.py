"""Erases quarantined records that may no longer be kept: records of deleted calls, and old records."""

from datetime import datetime
from typing import Final
from uuid import UUID

from services.aggregator.prune import retentions, still_kept
from shared.calls.named_call import SEVERAL_CALLS, named_call
from shared.calls.retention import kept_since
from shared.calls.zones import time_zone
from shared.database.connection import Connection
from shared.store.quarantine import (
    HAS_CONTENT,
    OF_SEVERAL_ORGANIZATIONS,
    hold_calls,
    read_deleted,
    retained_from,
    strictest_kept_since,
)

CHUNK_RECORDS: Final = 500
CHUNK_BYTES: Final = 16 * 1024 * 1024


async def place_quarantined(connection: Connection, now: datetime) -> int:
    """Finds the calls of records that an older version quarantined, and returns the number of records.
    Records of deleted calls and organizations are removed, as their delete would have done.

    `now` is aware. Raises asyncpg's errors; completed chunks stay done."""
    placed = 0
    while rows := await connection.fetch(_UNPLACED, CHUNK_RECORDS, CHUNK_BYTES):
        named = [named_call(row["key"], row["value"]) for row in rows]
        keys = {key for one in named for key in one.tombstones}
        async with connection.transaction(isolation="read_committed"):
            await hold_calls(connection, keys)
            deleted = await read_deleted(connection, keys)
            await connection.execute(
                _PLACE,
                [row["id"] for row in rows],
                [one.organization_id for one in named],
                [one.call_id for one in named],
                [
                    retained_from(one, row["produced_at"], min(row["quarantined_at"], now))
                    for one, row in zip(named, rows, strict=True)
                ],
            )
            pairs = list(zip(rows, named, strict=True))
            gone = [row["id"] for row, one in pairs if not deleted.isdisjoint(one.tombstones)]
            await connection.execute(_REMOVE, gone)
            apart = [row["id"] for row, one in pairs if len(one.organizations) > 1]
            await connection.execute(
                _EMPTY, apart, f"stored without content, because {OF_SEVERAL_ORGANIZATIONS}"
            )
        placed += len(rows)
    return placed


async def remove_deleted(connection: Connection) -> int:
    """Removes the records of deleted calls, and returns their number. A delete removes them itself, except
    one by a process of an older version. Raises asyncpg's errors; completed chunks stay done."""
    removed = 0
    while ids := await connection.fetch(_REMOVE_DELETED, CHUNK_RECORDS):
        removed += len(ids)
    return removed


async def prune_quarantined(
    connection: Connection, now: datetime, *, organization_id: UUID | None = None, dry_run: bool = False
) -> int:
    """Removes the quarantined records that are older at `now` (aware) than their organization's retention,
    and returns their number. Without `organization_id`, it also removes records that name no organization, by
    the shortest retention of all. Raises asyncpg's errors; completed chunks stay done."""
    pruned = 0
    for kept in await retentions(connection, organization_id):
        before = kept_since(now, time_zone(kept.time_zone), kept.retention_days)
        if dry_run:
            pruned += await connection.fetchval(_COUNT_OLD, kept.owner, before)
            continue
        while True:
            async with connection.transaction(isolation="read_committed"):
                if not await still_kept(connection, kept):
                    break
                ids = await connection.fetch(_PRUNE, kept.owner, before, CHUNK_RECORDS)
            if not ids:
                break
            pruned += len(ids)
    if organization_id is None and (strictest := await strictest_kept_since(connection, now)) is not None:
        if dry_run:
            old: int = await connection.fetchval(_COUNT_OLD_OF_NONE, strictest)
            return pruned + old
        while ids := await connection.fetch(_PRUNE_OF_NONE, strictest, CHUNK_RECORDS):
            pruned += len(ids)
    return pruned


_UNPLACED: Final = """
SELECT id, key, value, produced_at, quarantined_at FROM (
    SELECT *, sum(bytes) OVER (ORDER BY id) AS so_far
    FROM (SELECT id, key, value, produced_at, quarantined_at,
              coalesce(octet_length(key), 0) + coalesce(octet_length(value), 0) AS bytes
          FROM quarantined_records WHERE organization_id IS NULL AND retained_from IS NULL
          LIMIT $1) AS record
) AS record
WHERE so_far - bytes < $2 ORDER BY id
"""

_PLACE: Final = """
UPDATE quarantined_records AS record
SET organization_id = placed.organization_id, call_id = placed.call_id, retained_from = placed.retained_from
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::timestamptz[])
    AS placed(id, organization_id, call_id, retained_from)
WHERE record.id = placed.id
"""

_REMOVE: Final = "DELETE FROM quarantined_records WHERE id = ANY($1::uuid[])"

_EMPTY: Final = """
UPDATE quarantined_records
SET key = NULL, value = NULL, header_names = '{}', header_values = '{}', reason = $2
WHERE id = ANY($1::uuid[])
"""

# The nil UUID stands for several calls of the organization, which may include the deleted one.
_REMOVE_DELETED: Final = f"""
DELETE FROM quarantined_records WHERE id IN (
    SELECT record.id FROM quarantined_records AS record
    JOIN deleted_calls AS deleted ON deleted.organization_id = record.organization_id
        AND (deleted.call_id = record.call_id
             OR (record.call_id = '{SEVERAL_CALLS}' AND deleted.deleted_at >= record.quarantined_at))
    WHERE {HAS_CONTENT} LIMIT $1
)
RETURNING id
"""

_OLD: Final = "organization_id = $1 AND retained_from < $2"
_OLD_OF_NONE: Final = "organization_id IS NULL AND retained_from < $1"

_COUNT_OLD: Final = f"SELECT count(*) FROM quarantined_records WHERE {_OLD}"
_COUNT_OLD_OF_NONE: Final = f"SELECT count(*) FROM quarantined_records WHERE {_OLD_OF_NONE}"

# The order makes each server of Citus choose the same records.
_PRUNE: Final = f"""
DELETE FROM quarantined_records WHERE id IN (
    SELECT id FROM quarantined_records WHERE {_OLD}
    ORDER BY retained_from, id LIMIT $3 FOR UPDATE SKIP LOCKED)
RETURNING id
"""

_PRUNE_OF_NONE: Final = f"""
DELETE FROM quarantined_records WHERE id IN (
    SELECT id FROM quarantined_records WHERE {_OLD_OF_NONE}
    ORDER BY retained_from, id LIMIT $2 FOR UPDATE SKIP LOCKED)
RETURNING id
"""
