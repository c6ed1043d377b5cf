"""On a cluster of Citus, `callfold migrate` distributes a database and completes it."""

import asyncio
from uuid import UUID

import asyncpg
import pytest

from services.ops.proof.proof import prove
from shared.database.connection import Connection
from shared.database.distributed import is_distributed, servers
from shared.migrations.distribute import distribute, place_tables
from shared.migrations.give_roles import give_roles, missing
from shared.migrations.places import OF_EACH_SERVER
from shared.migrations.upgrade import upgrade
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


async def test_a_server_without_the_outbox_refuses_calls(database_url: str, database: Connection) -> None:
    """The next run completes it, and gives the roles their rights on it."""
    urls = [server.url for server in await servers(database, database_url)]
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


_CALL = """
INSERT INTO calls (organization_id, id, livemode, status, created_at, day, version, revision, laws)
VALUES ($1, $1, true, 'completed', now(), current_date, 1, 1, 1)
"""

_RIGHTS = """
SELECT count(*) FROM unnest($1::text[]) AS name
WHERE has_table_privilege('callfold_publisher', name, 'SELECT')
"""
