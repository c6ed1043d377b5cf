"""The directory of sources: read from the database, and again every few seconds."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from services.ingest.waiting import Waiting
from shared.database.connection import Connection
from shared.database.faults import PASSING_TYPES
from shared.database.patient_connection import PatientConnection
from shared.database.timeouts import OWN_LOCK_TIMEOUT
from shared.outage import Outage
from shared.settings.ingest import IngestSettings
from shared.store.sources import KnownSources, read_known_sources

logger = logging.getLogger("callfold.ingest")

TIMEOUT_SECONDS: Final = 10
SESSION: Final = {
    "statement_timeout": "10s",
    "lock_timeout": OWN_LOCK_TIMEOUT,
    "idle_in_transaction_session_timeout": "60s",
    # The deleted quarantined record is a delivery that no offset brings back.
    "synchronous_commit": "on",
}


class SourceDirectory:
    """The sources and numbers as they were read last. `known` is None before the first reading."""

    def __init__(self, settings: IngestSettings) -> None:
        self.known: KnownSources | None = None
        self._box = settings.secret_box()
        self._working = asyncio.Lock()
        self._waiting = Waiting(
            settings.deliveries_topic,
            create_organizations=settings.unknown_organizations == "create",
        )
        self._database = PatientConnection(
            settings,
            application_name="callfold-ingest-sources",
            session=SESSION,
            connect_timeout_seconds=TIMEOUT_SECONDS,
            command_timeout_seconds=TIMEOUT_SECONDS,
        )
        self._outage = Outage(logger, "cannot read the sources", "reads the sources again")

    async def refresh(self) -> bool:
        """Reads them now. Returns false, and keeps the former ones, while the database does not answer.
        Raises permanent faults."""
        return await self._attempt(self._read)

    async def retry_waiting(self) -> bool:
        """Retries the deliveries that wait for another one. Returns false while the database does not
        answer. Raises permanent faults."""
        return await self._attempt(self._waiting.retry)

    async def _read(self, connection: Connection) -> None:
        self.known = await read_known_sources(connection, self._box)

    async def _attempt(self, work: Callable[[Connection], Awaitable[None]]) -> bool:
        async with self._working:
            try:
                await work(await self._database.opened())
            except (*PASSING_TYPES, TimeoutError) as fault:
                self._outage.begin(self._database.failed(fault))
                return False
        self._outage.end()
        return True

    def close(self) -> None:
        """Closes the connection."""
        self._database.close()
