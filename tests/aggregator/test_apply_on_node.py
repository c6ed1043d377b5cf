"""Deltas of a distributed database, with ordinary tables in the place of shards."""

import pytest

from services.aggregator.apply_on_node import apply_on_node, waiting_on_node
from shared.database.connection import Connection
from tests.support import seed

TABLES = ("daily_call_deltas", "daily_call_counts", "daily_call_totals")

CATALOG = """
CREATE TABLE pg_dist_shard (logicalrelid regclass, shardid bigint, shardminvalue text);
CREATE TABLE pg_dist_placement (shardid bigint, groupid integer);
CREATE TABLE pg_dist_local_group (groupid integer);
CREATE FUNCTION shard_name(regclass, bigint) RETURNS text RETURN $1::text || '_' || $2;
INSERT INTO pg_dist_local_group VALUES (1);
"""


async def shards(database: Connection, first_hash: str, shard: int, group: int) -> None:
    """A shard of each table of counts, on the server with this number."""
    for n, table in enumerate(TABLES):
        await database.execute(f"CREATE TABLE {table}_{shard + n} (LIKE {table} INCLUDING ALL)")
        await database.execute(
            "INSERT INTO pg_dist_shard VALUES ($1::text::regclass, $2, $3)", table, shard + n, first_hash
        )
        await database.execute("INSERT INTO pg_dist_placement VALUES ($1, $2)", shard + n, group)


async def rows(database: Connection, shard: int) -> list[int]:
    """The numbers of rows in the shards of the deltas, counts and totals."""
    names = [f"{table}_{shard + n}" for n, table in enumerate(TABLES)]
    return [await database.fetchval(f"SELECT count(*) FROM {name}") for name in names]  # noqa: S608


@pytest.mark.one_postgres("its own tables stand for those of Citus")
async def test_only_the_shards_of_this_server_are_applied(database: Connection) -> None:
    acme = await seed.tenant(database)
    for day in (24, 25, 26):
        await seed.call(database, acme, f"2026-11-{day}T01:00:00Z", duration=60)
    await database.execute(CATALOG)
    for first_hash, shard, group in (("-100", 11, 1), ("0", 21, 1), ("100", 31, 2)):
        await shards(database, first_hash, shard, group)
        copy = f"INSERT INTO daily_call_deltas_{shard} OVERRIDING SYSTEM VALUE TABLE daily_call_deltas"
        await database.execute(copy)

    deltas, oldest_seconds = await waiting_on_node(database)
    assert (deltas, oldest_seconds > 0) == (6, True)
    assert await apply_on_node(database, 4) == 4
    assert [await rows(database, shard) for shard in (11, 21, 31)] == [[0, 3, 3], [2, 1, 1], [3, 0, 0]]
    assert await apply_on_node(database, 4) == 2
    assert await apply_on_node(database, 4) == 0
    assert await waiting_on_node(database) == (0, 0)
    assert [await rows(database, shard) for shard in (11, 21, 31)] == [[0, 3, 3], [0, 3, 3], [3, 0, 0]]
    assert await database.fetchval("SELECT sum(calls) FROM daily_call_counts_12") == 3
    assert await database.fetchval("SELECT count(*) FROM daily_call_deltas") == 3
