"""On a cluster of Citus, `callfold migrate` distributes a database and completes it."""

import asyncio
from uuid import UUID

import asyncpg
import pytest

from services.ops.proof.proof import prove
from shared.database.connection import Connection
from shared.database.distributed import is_distributed, servers
from shared.migrations.distribute import check_server, distribute, place_tables
from shared.migrations.give_roles import give_roles, missing
from shared.migrations.on_server import CannotDistribute
from shared.migrations.places import OF_EACH_SERVER
from shared.migrations.upgrade import upgrade
from tests.distributed.conftest import Cluster
from tests.support import seed


async def test_a_database_stays_plain_without_the_option(citus_url: str) -> None:
    """Also where the extension is installed."""
    await asyncio.to_thread(upgrade, citus_url)
    assert not await place_tables(citus_url)
    connection = await asyncpg.connect(citus_url)
    assert not await is_distributed(connection)
    await connection.close()


async def test_rows_move_along_and_sessions_end(citus_url: str) -> None:
    await asyncio.to_thread(upgrade, citus_url)
    await give_roles(citus_url)
    service = await asyncpg.connect(citus_url)
    tenants = [await seed.tenant(service) for _ in range(5)]
    transaction = service.transaction()
    await transaction.start()
    await service.execute("SELECT 1 FROM calls")
    await distribute(citus_url)
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
        await service.execute("SELECT 1")
    connection = await asyncpg.connect(citus_url)
    assert await is_distributed(connection)
    assert {row[0] for row in await connection.fetch("SELECT id FROM organizations")} == {
        tenant.id for tenant in tenants
    }
    assert (await prove(citus_url)).exact
    await distribute(citus_url)
    assert await missing(connection) == {}
    await connection.close()


async def test_tables_may_be_older_than_the_extension(cluster: Cluster) -> None:
    """So an existing database is moved. Each server gets its functions."""
    url = cluster.urls[0]
    await asyncio.to_thread(upgrade, url)
    await give_roles(url)
    database = await asyncpg.connect(url)
    tenant = await seed.tenant(database)
    await seed.call(database, tenant)
    await cluster.join()
    await distribute(url)
    for one in cluster.urls:
        server = await asyncpg.connect(one)
        assert await server.fetchval(_FUNCTIONS) == 9
        assert await server.fetchval("SELECT has_function_privilege('callfold_api', $1, 'EXECUTE')", KEY)
        await server.close()
    assert (await prove(url)).exact
    assert {row[0] for row in await _organizations(url)} == {tenant.id}
    database.terminate()


async def test_a_worker_is_refused_before_any_table_is_made(citus_url: str, cluster: Cluster) -> None:
    for distributes in (False, True):
        with pytest.raises(CannotDistribute, match="is a worker of Citus; connect to the coordinator"):
            await check_server(cluster.urls[1], distributes=distributes)


async def test_a_user_who_cannot_disconnect_services_is_refused(citus_url: str) -> None:
    database = await asyncpg.connect(citus_url)
    await database.execute("DROP ROLE IF EXISTS callfold_test_owner")
    await database.execute("CREATE ROLE callfold_test_owner LOGIN")
    url = citus_url.replace("postgres@", "callfold_test_owner@")
    try:
        with pytest.raises(CannotDistribute, match="grant it pg_read_all_stats and pg_signal_backend"):
            await check_server(url, distributes=True)
        await check_server(url, distributes=False)
    finally:
        await database.execute("DROP ROLE callfold_test_owner")
        await database.close()


async def test_a_worker_that_cannot_be_reached_is_named(database_url: str, database: Connection) -> None:
    await database.execute(
        "SELECT citus_update_node(nodeid, nodename, 1) FROM pg_dist_node WHERE groupid = 1"
    )
    with pytest.raises(CannotDistribute, match=r"Server 127.0.0.1:1 of Citus cannot be reached"):
        await place_tables(database_url)


async def test_a_server_without_the_outbox_refuses_calls(database_url: str, database: Connection) -> None:
    """The next run completes it, and gives the roles their rights on it."""
    urls = [one.url for one in await servers(database, database_url) if one.url != database_url]
    for url in urls:
        worker = await asyncpg.connect(url)
        await worker.execute("DROP TABLE publisher")
        await worker.execute("ALTER TABLE call_changes DROP COLUMN marks_before")
        await worker.close()
    await database.execute("INSERT INTO publisher DEFAULT VALUES")
    with pytest.raises(asyncpg.UndefinedTableError):
        await database.execute(_CALL, UUID(int=1))
    assert await place_tables(database_url)
    await database.execute(_CALL, UUID(int=1))
    rights, changes = [], 0
    for url in urls:
        worker = await asyncpg.connect(url)
        changes += await worker.fetchval("SELECT count(*) FROM call_changes WHERE marks_before IS NULL")
        rights.append(await worker.fetchval(_RIGHTS, OF_EACH_SERVER))
        await worker.close()
    assert changes == 1
    assert rights == [2] * len(urls)


async def _organizations(url: str) -> list[asyncpg.Record]:
    database = await asyncpg.connect(url)
    found = await database.fetch("SELECT id FROM organizations")
    await database.close()
    return found


KEY = "callfold_key(bytea)"

_FUNCTIONS = "SELECT count(*) FROM pg_proc WHERE proname LIKE 'callfold%'"

_CALL = """
INSERT INTO calls (organization_id, id, livemode, status, created_at, day, version, revision, laws)
VALUES ($1, $1, true, 'completed', now(), current_date, 1, 1, 1)
"""

_RIGHTS = """
SELECT count(*) FROM unnest($1::text[]) AS name
WHERE has_table_privilege('callfold_publisher', name, 'SELECT')
"""
