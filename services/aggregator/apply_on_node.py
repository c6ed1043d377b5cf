"""Applies the deltas of a distributed database on one of its servers, in the shards that this server has.

A server sees its shards as ordinary tables. So the statement of `apply_deltas` runs there as it is, and no
transaction spans servers. Each server needs an aggregator of its own."""

import re
from typing import Final

from services.aggregator.apply_deltas import APPLY
from shared.database.connection import Connection


async def apply_on_node(connection: Connection, most: int) -> int:
    """Applies up to `most` waiting deltas of the shards on the connected server, and returns their number.
    Raises asyncpg's errors."""
    applied = 0
    for statement in await _statements(connection):
        if applied < most:
            applied += await connection.fetchval(statement, most - applied)
    return applied


async def _statements(connection: Connection) -> list[str]:
    """The statement of each group of shards. They are read each time, because shards are moved."""
    groups: dict[str, dict[str, str]] = {}
    for table, first_hash, shard in await connection.fetch(_SHARDS):
        groups.setdefault(first_hash, {})[table] = shard
    return [_of_shards(names) for names in groups.values()]


def _of_shards(names: dict[str, str]) -> str:
    return _TABLES.sub(lambda table: names[table[0]], APPLY)


_TABLES: Final = re.compile("daily_call_(deltas|counts|totals)")

_SHARDS: Final = """
SELECT logicalrelid::text, shardminvalue, shard_name(logicalrelid, shardid)
FROM pg_dist_shard JOIN pg_dist_placement USING (shardid) JOIN pg_dist_local_group USING (groupid)
WHERE logicalrelid = ANY ('{daily_call_deltas,daily_call_counts,daily_call_totals}'::regclass[])
ORDER BY shardminvalue
"""
