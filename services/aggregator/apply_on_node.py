"""Applies the deltas of a distributed database on one of its servers, in the shards that this server has.

A server sees its shards as ordinary tables. So the statement of `apply_deltas` runs there as it is, and no
transaction spans servers. The process has a connection to each server.

Citus does not know of that statement, and would move a shard meanwhile. So a write through Citus comes first.
It changes nothing, and keeps the shards in place until the transaction ends."""

import re
from collections.abc import Mapping
from typing import Final

from services.aggregator.apply_deltas import APPLY, WAITING, WAITING_MAX
from shared.database.connection import Connection
from shared.database.held_locks import keep_in_place


async def apply_on_node(connection: Connection, most: int) -> int:
    """Applies up to `most` waiting deltas of the shards on the connected server, and returns their number.
    Raises asyncpg's errors."""
    applied = 0
    for shards in await _shards(connection):
        if applied < most:
            applied += await _apply(connection, shards, most - applied)
    return applied


async def _apply(connection: Connection, shards: Mapping[str, str], most: int) -> int:
    """Applies up to `most` waiting deltas of these shards, which stay in place meanwhile."""
    organization_id = await connection.fetchval(_of_shards(_ANY_ORGANIZATION, shards))
    if organization_id is None:
        return 0
    async with connection.transaction(isolation="read_committed"):
        await keep_in_place(connection, organization_id)
        if shards not in await _shards(connection):  # they were moved away meanwhile
            return 0
        applied: int = await connection.fetchval(_of_shards(APPLY, shards), most)
        return applied


async def waiting_on_node(connection: Connection) -> tuple[int, float]:
    """The waiting deltas of the shards on the connected server, as `waiting_deltas` returns them. Raises
    asyncpg's errors."""
    deltas, oldest_seconds = 0, 0.0
    for shards in await _shards(connection):
        some, seconds = await connection.fetchrow(_of_shards(WAITING, shards), WAITING_MAX) or (0, 0.0)
        deltas, oldest_seconds = deltas + some, max(oldest_seconds, seconds)
    return deltas, oldest_seconds


async def _shards(connection: Connection) -> list[Mapping[str, str]]:
    """The names of the shards that belong together, by table. They are read each time, because shards are
    moved."""
    groups: dict[str, dict[str, str]] = {}
    for table, first_hash, shard in await connection.fetch(_SHARDS):
        groups.setdefault(first_hash, {})[table] = shard
    return list(groups.values())


def _of_shards(statement: str, shards: Mapping[str, str]) -> str:
    return _TABLES.sub(lambda table: shards[table[0]], statement)


_TABLES: Final = re.compile("daily_call_(deltas|counts|totals)")

_ANY_ORGANIZATION: Final = "SELECT organization_id FROM daily_call_deltas LIMIT 1"

_SHARDS: Final = """
SELECT logicalrelid::text, shardminvalue, shard_name(logicalrelid, shardid)
FROM pg_dist_shard JOIN pg_dist_placement USING (shardid) JOIN pg_dist_local_group USING (groupid)
WHERE logicalrelid = ANY ('{daily_call_deltas,daily_call_counts,daily_call_totals}'::regclass[])
ORDER BY shardminvalue
"""
