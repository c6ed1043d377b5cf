"""Telling the database how far the topic is read, beside the connection that stores.

Nothing here holds up a batch or ends the process. What an unreachable database did not take, the next round
writes.
"""

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from shared.database import PASSING_TYPES, Connection, connect, told
from shared.read_progress import write_read_until
from shared.settings import IngestSettings

logger = logging.getLogger("callfold.ingest")

TIMEOUT_SECONDS: Final = 3
SESSION: Final = {
    "statement_timeout": "3s",
    "lock_timeout": "1s",
    "idle_in_transaction_session_timeout": "3s",
}


class Progress:
    """One connection of its own, made when it is needed."""

    def __init__(self, settings: IngestSettings) -> None:
        self._settings = settings
        self._connection: Connection | None = None
        self._fault = ""

    async def now(self) -> datetime | None:
        """The database's clock; None while the database does not answer."""
        try:
            connection = await self._connected()
            now: datetime = await connection.fetchval("SELECT clock_timestamp()")
        except (*PASSING_TYPES, TimeoutError) as fault:
            self._fail(fault)
            return None
        return now

    async def write(self, topic: str, partitions: int, read_until: Mapping[int, datetime]) -> bool:
        """Whether the database has taken how far these partitions of the topic are read."""
        try:
            await write_read_until(await self._connected(), topic, partitions, read_until)
        except (*PASSING_TYPES, TimeoutError) as fault:
            self._fail(fault)
            return False
        self._fault = ""
        return True

    def close(self) -> None:
        """Hangs up."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _connected(self) -> Connection:
        settings = self._settings
        if self._connection is None or self._connection.is_closed():
            self.close()
            self._connection = await connect(
                settings.database_url,
                application_name="callfold-ingest-progress",
                pooler=settings.database_pooler,
                timeout_seconds=TIMEOUT_SECONDS,
                command_timeout_seconds=TIMEOUT_SECONDS,
                settings=SESSION,
            )
        return self._connection

    def _fail(self, fault: Exception) -> None:
        self.close()
        if (sentence := told(fault)) != self._fault:
            self._fault = sentence
            logger.info("does not report how far the topic is read: %s", sentence)
