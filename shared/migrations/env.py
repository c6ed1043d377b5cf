"""Alembic's entry point: runs the steps over asyncpg, each in a transaction of its own, one run at a time."""

import asyncio

from alembic import context
from alembic.migration import MigrationContext
from sqlalchemy import Connection, event

from shared.database.engine import engine
from shared.database.tables import metadata
from shared.migrations.alone import LOCK_TIMEOUT, alone


def _run(connection: Connection) -> None:
    @event.listens_for(connection, "begin")
    def _limit_waits(connection: Connection) -> None:
        # Statements outside a transaction (CREATE INDEX CONCURRENTLY) may wait long and block nothing.
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
    """The current step of the tables, even if this code does not know it."""
    try:
        return MigrationContext.configure(connection).get_current_revision()
    finally:
        connection.rollback()  # each step begins a transaction of its own


async def _main() -> None:
    known = context.config.attributes
    database_url, pooler = known["database_url"], known["pooler"]
    databases = engine(database_url, application_name="callfold-migrate", pooler=pooler)
    try:
        async with alone(database_url, pooler), databases.connect() as connection:
            await connection.run_sync(_run)
    finally:
        await databases.dispose()


asyncio.run(_main())
