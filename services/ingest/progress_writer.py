"""Writes to the database how far the topic is read, over a connection of its own.

This neither delays a batch nor ends the process. After a failure, the next round writes the progress.
"""

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from shared.database.faults import PASSING_TYPES
from shared.database.loggable import loggable
from shared.database.patient_connection import PatientConnection
from shared.outage import Outage
from shared.settings.ingest import IngestSettings
from shared.store.read_progress import write_read_until

logger = logging.getLogger("callfold.ingest")

TIMEOUT_SECONDS: Final = 3
SESSION: Final = {
    "statement_timeout": "3s",
    "lock_timeout": "1s",
    "idle_in_transaction_session_timeout": "3s",
}


class Progress:
    """One connection of its own, opened when it is needed."""

    def __init__(self, settings: IngestSettings) -> None:
        self._database = PatientConnection(
            settings,
            application_name="callfold-ingest-progress",
            session=SESSION,
            connect_timeout_seconds=TIMEOUT_SECONDS,
            command_timeout_seconds=TIMEOUT_SECONDS,
        )
        self._outage = Outage(
            logger,
            "cannot report how far the topic is read",
            "reports again how far the topic is read",
            level=logging.INFO,
            each_reason=True,
        )

    async def now(self) -> datetime | None:
        """The time of the database's clock; None while the database does not answer."""
        try:
            connection = await self._database.opened()
            now: datetime = await connection.fetchval("SELECT clock_timestamp()")
        except (*PASSING_TYPES, TimeoutError) as fault:
            self._fail(fault)
            return None
        return now

    async def write(self, topic: str, partitions: int, read_until: Mapping[int, datetime]) -> bool:
        """Writes how far these partitions of the topic are read. Returns whether the database has stored
        it."""
        try:
            await write_read_until(await self._database.opened(), topic, partitions, read_until)
        except (*PASSING_TYPES, TimeoutError) as fault:
            self._fail(fault)
            return False
        self._outage.end()
        return True

    def close(self) -> None:
        """Closes the connection."""
        self._database.close()

    def _fail(self, fault: Exception) -> None:
        """Handles any fault of the database. None of them ends the process."""
        self._database.close()
        self._outage.begin(loggable(fault, SESSION))
