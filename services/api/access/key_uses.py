"""When each key was last used: kept in memory and written to the database at intervals."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from services.api.database.databases import Database
from services.api.http.errors import ApiError
from shared.database.loggable import loggable
from shared.outage import Outage

WRITE: Final = "SELECT callfold_keys_used($1, $2)"
_LAST_SECONDS = 0.5

log = logging.getLogger("callfold.api")


class KeyUses:
    """The uses that are not written yet. No request waits for a write."""

    def __init__(self) -> None:
        self._last: dict[UUID, datetime] = {}
        self._outage = Outage(
            log, "the last use of keys cannot be written", "the last use of keys can be written again"
        )

    def note(self, key_id: UUID, at: datetime) -> None:
        """Notes that a key was used."""
        self._last[key_id] = at

    async def write(self, primary: Database) -> None:
        """Writes the uses in one statement. If the database is unavailable, it keeps them."""
        taken, self._last = self._last, {}
        if not taken:
            return
        try:
            async with primary.connection() as connection:
                await connection.execute(WRITE, list(taken), list(taken.values()))
        except (ApiError, asyncpg.PostgresError) as error:
            self._last = {**taken, **self._last}
            if not isinstance(error, ApiError):  # the `Database` has already logged an ApiError's cause
                self._outage.begin(loggable(error))
            return
        self._outage.end()

    @asynccontextmanager
    async def written(self, primary: Database, interval_seconds: float) -> AsyncIterator[None]:
        """Writes the uses at every interval during the block, and a last time at its end, within
        `_LAST_SECONDS`."""
        stop = asyncio.Event()

        async def write_now_and_then() -> None:
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), interval_seconds)
                await self.write(primary)

        writing = asyncio.create_task(write_now_and_then())
        try:
            yield
        finally:
            stop.set()
            await asyncio.wait({writing}, timeout=_LAST_SECONDS)
            writing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writing
