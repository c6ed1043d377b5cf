"""Work on each server of a database that becomes distributed."""

import asyncio

import pytest

from shared.database import each_server
from shared.database.connection import Connection
from shared.database.each_server import on_each_server
from shared.settings.database import DatabaseSettings
from tests.support.processes import until

CATALOG = """
CREATE TABLE pg_dist_local_group AS SELECT 0 AS groupid;
CREATE TABLE pg_dist_node AS
    SELECT groupid, nodename, 5432 AS nodeport, true AS isactive, 'primary' AS noderole
    FROM (VALUES (0, 'coordinator'), (1, 'one'), (2, 'two')) AS server(groupid, nodename);
CREATE TABLE pg_dist_partition (logicalrelid regclass);
INSERT INTO pg_dist_partition VALUES ('calls');
"""


@pytest.mark.one_postgres("its own tables stand for those of Citus")
async def test_servers_are_found_when_the_database_becomes_distributed_and_when_one_leaves(
    database_url: str, database: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(each_server, "LEARN_SECONDS", 0.1)
    at: list[str | None] = []
    stop = asyncio.Event()

    async def work(settings: DatabaseSettings, server: str | None) -> None:
        at.append(server)
        try:
            await stop.wait()
        finally:
            at.remove(server)

    working = asyncio.create_task(on_each_server(DatabaseSettings(database_url=database_url), work, stop))
    await until(lambda: at == [None], "the work on one PostgreSQL")
    await database.execute(CATALOG)
    await until(lambda: {*at} == {None, "one:5432", "two:5432"}, "the work on each server")
    await database.execute("DELETE FROM pg_dist_node WHERE nodename = 'two'")
    await until(lambda: {*at} == {None, "one:5432"}, "the end of the work on a server that left")
    stop.set()
    await working
    assert at == []
