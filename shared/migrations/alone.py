"""One run of migrations at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from shared.database.connection import connect
from shared.database.locks import MIGRATION_LOCK
from shared.settings.database import Pooler

LOCK_TIMEOUT: Final = "500ms"
"""How long a step may wait for a lock on a table. Whoever comes after it waits as long: ingest and API must
not be held up by a step that itself is held up, by a proof or a dump that reads for minutes. Shorter than
PostgreSQL's `deadlock_timeout` of 1 s: in a circle of waits it is the step that gives way."""
LOOK_EVERY_SECONDS: Final = 0.5


@asynccontextmanager
async def alone(database_url: str, pooler: Pooler) -> AsyncIterator[None]:
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
