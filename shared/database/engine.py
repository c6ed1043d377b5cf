"""SQLAlchemy's engine. Only migrations use it."""

from functools import partial
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from shared.database.connection import connect
from shared.settings.database import Pooler

STATEMENT_SECONDS: Final = 24 * 3600
"""The longest time of a step's statement, such as creating an index of a large table."""


def engine(database_url: str, *, application_name: str, pooler: Pooler = "none") -> AsyncEngine:
    """SQLAlchemy's engine over the same connections as everywhere else. From SQLAlchemy's own URL, asyncpg
    would not get the hosts, sockets and certificates that a libpq URL can name."""
    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=partial(
            connect,
            database_url,
            application_name=application_name,
            pooler=pooler,
            command_timeout_seconds=STATEMENT_SECONDS,
        ),
        poolclass=NullPool,
        # Unnamed and uncached statements: a pooler may run the next one in another session.
        connect_args={"prepared_statement_cache_size": 0, "prepared_statement_name_func": str},
    )
