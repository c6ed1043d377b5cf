"""SQLAlchemy's engine: for migrations, which alone speak to the database through it."""

from functools import partial
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from shared.database.connection import connect
from shared.settings.database import Pooler

STATEMENT_SECONDS: Final = 24 * 3600
"""The longest a step's statement may take: an index of a large table takes its time."""


def engine(database_url: str, *, application_name: str, pooler: Pooler = "none") -> AsyncEngine:
    """SQLAlchemy's engine over connections as all others are: of SQLAlchemy's own URL, asyncpg would not get
    the hosts, sockets and certificates that a libpq URL can name."""
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
        # Statements without a name and unremembered: a pooler may give the next one to another session.
        connect_args={"prepared_statement_cache_size": 0, "prepared_statement_name_func": str},
    )
