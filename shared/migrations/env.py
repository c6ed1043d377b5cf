"""Alembic's entry: runs the steps over asyncpg, each in a transaction of its own, one run at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from alembic import context
from alembic.migration import MigrationContext
from sqlalchemy import Connection, event

from shared.database import connect
from shared.engine import engine
from shared.settings import Pooler
from shared.tables import metadata

MIGRATION_LOCK = 4_107_402_001
LOCK_TIMEOUT = "500ms"
"""How long a step may wait for a lock on a table. Whoever comes after it waits as long: ingest and API must
not be held up by a step that itself is held up, by a proof or a dump that reads for minutes. Shorter than
PostgreSQL's `deadlock_timeout` of 1 s: in a circle of waits it is the step that gives way."""
LOOK_EVERY_SECONDS = 0.5


def _run(connection: Connection) -> None:
    @event.listens_for(connection, "begin")
    def _limit_waits(connection: Connection) -> None:
        # What runs in no transaction, such as CREATE INDEX CONCURRENTLY, waits long and in nobody's way.
        if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")

    newest, there = context.script.get_current_head(), _step(connection)
    if there is not None and newest is not None and there > newest:
        context.config.attributes["newer_step"] = there
        return
    context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


def _step(connection: Connection) -> str | None:
    """The step that the tables are at, also one that is not known here."""
    try:
        return MigrationContext.configure(connection).get_current_revision()
    finally:
        connection.rollback()  # each step begins a transaction of its own


@asynccontextmanager
async def _alone(database_url: str, pooler: Pooler) -> AsyncIterator[None]:
    """Waits until no other run is under way, and keeps others waiting for as long as the block.

    The lock is a transaction's of its own: it outlives the steps' transactions, and a pooler keeps it in its
    place. Whoever waits asks again and again instead of waiting in a statement, whose snapshot
    CREATE INDEX CONCURRENTLY would wait for in turn.
    """
    connection = await connect(database_url, application_name="callfold-migrate-lock", pooler=pooler)
    try:
        while True:
            async with connection.transaction(isolation="read_committed"):
                if await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", MIGRATION_LOCK):
                    # It also ends the statement before it, whose snapshot lasts until there is another.
                    await connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
                    yield
                    return
            await asyncio.sleep(LOOK_EVERY_SECONDS)
    finally:
        await connection.close(timeout=5)


async def _main() -> None:
    known = context.config.attributes
    database_url, pooler = known["database_url"], known["pooler"]
    databases = engine(database_url, application_name="callfold-migrate", pooler=pooler)
    try:
        async with _alone(database_url, pooler), databases.connect() as connection:
            await connection.run_sync(_run)
    finally:
        await databases.dispose()


asyncio.run(_main())
