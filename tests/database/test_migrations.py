"""The migrations create the tables of shared/database/tables.py, and can be run by anyone at any time."""

import asyncio
import sys
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection as SyncConnection
from sqlalchemy import text

from shared.database.engine import engine
from shared.database.schema_step import NEEDED_STEP, new_enough
from shared.database.tables import metadata
from shared.migrations.upgrade import HERE, upgrade
from tests.support.databases import Databases

MIGRATE = "import sys; from shared.migrations.upgrade import upgrade; upgrade(sys.argv[1])"

# Not compared by autogenerate: checks, storage parameters, comments, partial and descending indexes.
CATALOG = """
SELECT 'constraint' AS kind, conrelid::regclass::text AS of, conname AS name, pg_get_constraintdef(oid) AS is
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL
SELECT 'index', tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL
SELECT 'options', oid::regclass::text, '', reloptions::text FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
UNION ALL
SELECT 'column', attrelid::regclass::text, attname,
       format_type(atttypid, atttypmod) || ' ' || attnotnull || ' ' || attidentity::text || ' '
       || coalesce(col_description(attrelid, attnum), '')
FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0
ORDER BY 1, 2, 3
"""


@pytest.mark.one_postgres("shards are tables, too")
async def test_migrated_tables_are_the_ones_described(database_url: str, databases: Databases) -> None:
    by_migrations = engine(database_url, application_name="test")

    def compare(connection: SyncConnection) -> Any:
        options = {"compare_type": True, "compare_server_default": True}
        return compare_metadata(MigrationContext.configure(connection, opts=options), metadata)

    async with databases.empty() as described:
        by_metadata = engine(described, application_name="test")
        async with by_metadata.begin() as one, by_migrations.connect() as other:
            assert await other.run_sync(compare) == []
            await one.run_sync(metadata.create_all)
            seen = [tuple(row) for row in await one.execute(text(CATALOG))]
            expected = [
                tuple(row) for row in await other.execute(text(CATALOG)) if row[1] != "alembic_version"
            ]
        assert seen == expected
        for each in (by_metadata, by_migrations):
            await each.dispose()


def test_steps_are_numbered_and_the_newest_is_the_one_that_is_needed() -> None:
    """By this order, a service distinguishes older from newer tables without reading the steps."""
    steps = list(ScriptDirectory(str(HERE)).walk_revisions())
    numbers = [step.revision for step in steps]
    assert numbers == [f"{number:04}" for number in range(len(steps), 0, -1)]
    assert numbers[0] == NEEDED_STEP
    assert not new_enough(None)
    assert not new_enough("0000")
    assert new_enough(f"{len(steps) + 1:04}")


async def test_migrations_run_again_and_side_by_side(databases: Databases) -> None:
    async with databases.empty() as url:
        at_once = [await asyncio.create_subprocess_exec(sys.executable, "-c", MIGRATE, url) for _ in range(3)]
        assert [await process.wait() for process in at_once] == [0, 0, 0]
        await asyncio.to_thread(upgrade, url)
