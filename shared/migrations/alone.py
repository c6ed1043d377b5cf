"""One run of migrations at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from shared.database.connection import connect
from shared.database.locks import MIGRATION_LOCK
from shared.settings.database import Pooler

LOCK_TIMEOUT: Final = "500ms"
"""How long a step may wait for a lock on a table. Later statements queue behind it, so a step that waits for
a long proof or dump must not block ingest and API. It is shorter than PostgreSQL's `deadlock_timeout` of 1 s,
so that in a deadlock the step gives way."""
LOOK_EVERY_SECONDS: Final = 0.5


@asynccontextmanager
async def alone(database_url: str, pooler: Pooler) -> AsyncIterator[None]:
    """Waits until no other run is active, and makes others wait for the duration of the block.

    The lock belongs to a separate transaction: it lasts beyond the steps' transactions and works through a
    pooler. A waiting run polls instead of waiting in a statement, because CREATE INDEX CONCURRENTLY would in
    turn wait for that statement's snapshot.
    """
    connection = await connect(database_url, application_name="callfold-migrate-lock", pooler=pooler)
    try:
        while True:
            async with connection.transaction(isolation="read_committed"):
                if await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", MIGRATION_LOCK):
                    # This also releases the previous statement's snapshot, which lasts until the next one.
                    await connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
                    yield
                    return
            await asyncio.sleep(LOOK_EVERY_SECONDS)
    finally:
        await connection.close(timeout=5)
