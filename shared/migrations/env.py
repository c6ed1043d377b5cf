"""Alembic's entry: runs the steps over asyncpg in one transaction, under a lock: one run at a time."""

import asyncio

from alembic import context
from sqlalchemy import Connection, text

from shared.engine import engine
from shared.tables import metadata

MIGRATION_LOCK = 4_107_402_001


def _run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata)
    with context.begin_transaction():
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        context.run_migrations()


async def _main() -> None:
    known = context.config.attributes
    databases = engine(known["database_url"], application_name="callfold-migrate", pooler=known["pooler"])
    try:
        async with databases.connect() as connection:
            await connection.run_sync(_run)
    finally:
        await databases.dispose()


asyncio.run(_main())
