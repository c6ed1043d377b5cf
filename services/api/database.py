"""The database: a bounded pool of connections that may come and go while the process stays up."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg

from services.api.errors import ApiError, outdated, unavailable
from shared.database import is_passing
from shared.settings import ApiSettings

if TYPE_CHECKING:
    Pool = asyncpg.Pool[asyncpg.Record]
    Connection = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
else:  # the stubs are generic, the classes are not
    Pool = asyncpg.Pool
    Connection = asyncpg.pool.PoolConnectionProxy

_RELEASE_SECONDS = 1.0
_CLOSE_SECONDS = 1.0

_FAULTS = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)

log = logging.getLogger(__name__)


class Database:
    """Connections for one request each. Neither opening nor losing the database stops the process."""

    def __init__(self, pool: Pool, wait_seconds: float) -> None:
        self._pool = pool
        self._wait_seconds = wait_seconds
        self._away = False

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection for the block. Raises the 503 `ApiError` when the database is away, stays busy, or
        has not the tables yet."""
        acquired: Connection | None = None
        try:
            acquired = await self._pool.acquire(timeout=self._wait_seconds)
            try:
                yield acquired
            finally:
                await self._pool.release(acquired, timeout=_RELEASE_SECONDS)
        except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError) as error:
            raise outdated() from error
        except _FAULTS as error:
            # Whatever keeps us from connecting (no such database, no such role) is the database's absence.
            if acquired is not None and not is_passing(error):
                raise
            raise self._unavailable(error) from error
        except asyncio.CancelledError as error:
            # Only a stop that has waited long enough cancels a request; it is still answered.
            raise unavailable(
                "DATABASE_UNAVAILABLE", "This process is being stopped; try again in a moment."
            ) from error
        if self._away:
            self._away = False
            log.warning("the database answers again")

    def _unavailable(self, error: BaseException) -> ApiError:
        if not self._away:  # once per absence, however many requests it refuses
            self._away = True
            log.warning("the database can't be asked: %s", type(error).__name__)
        return unavailable("DATABASE_UNAVAILABLE", "The database can't be asked now; try again in a moment.")


@asynccontextmanager
async def open_database(settings: ApiSettings) -> AsyncIterator[Database]:
    """The database for as long as the block; connects when first asked."""
    seconds = settings.api_statement_timeout_seconds
    pool: Pool = await asyncpg.create_pool(
        settings.database_url,
        min_size=0,
        max_size=settings.api_pool_connections,
        timeout=settings.database_connect_timeout_seconds,
        command_timeout=seconds + 1,  # the server's own time-out comes first, unless the server is gone
        reset=_nothing,
        server_settings={
            "application_name": "callfold-api",
            "timezone": "UTC",
            "statement_timeout": str(max(1, int(seconds * 1000))),
            # Filters that were not asked for are NULL parameters. A plan for the actual values drops them;
            # a generic plan would have to keep every one, and would not know a large tenant from a small.
            "plan_cache_mode": "force_custom_plan",
            "jit": "off",
        },
    )
    try:
        yield Database(pool, settings.api_pool_wait_seconds)
    finally:
        try:
            await asyncio.wait_for(pool.close(), _CLOSE_SECONDS)
        except TimeoutError:
            pool.terminate()


async def _nothing(_: object) -> None:
    """In place of asyncpg's reset, a round trip per request: no request leaves state in its session, for
    settings and locks are only ever taken for a transaction."""
