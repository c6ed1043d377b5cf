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
        self._reading = asyncio.Lock()
        self._waiting = Waiting(
            settings.deliveries_topic,
            create_organizations=settings.unknown_organizations == "create",
        )
        # Retries take longer, and a new source must not wait for them.
        self._database, self._retries = (
            PatientConnection(
                settings,
                application_name=name,
                session=SESSION,
                connect_timeout_seconds=TIMEOUT_SECONDS,
                command_timeout_seconds=TIMEOUT_SECONDS,
            )
            for name in ("callfold-ingest-sources", "callfold-ingest-waiting")
        )
        self._outage = Outage(logger, "cannot read the sources", "reads the sources again")

    async def refresh(self) -> bool:
        """Reads them now. Returns false, and keeps the former ones, while the database does not answer.
        Raises permanent faults."""
        async with self._reading:
            return await self._attempt(self._database, self._read)

    async def refreshed(self, stop: asyncio.Event) -> KnownSources | None:
        """Reads them now, however long the database does not answer. Returns None when `stop` is set first.
        Raises permanent faults."""
        while not stop.is_set():
            if await self.refresh():
                return self.known
            await self._database.pause(stop)
        return None

    async def retry_waiting(self) -> bool:
        """Retries deliveries that wait for their organization. Returns false while the database does not
        answer. Raises permanent faults."""
        return await self._attempt(self._retries, self._retry)

    async def _read(self, connection: Connection) -> None:
        self.known = await read_known_sources(connection, self._box)

    async def _retry(self, connection: Connection) -> None:
        if self.known is not None:
            await self._waiting.retry(connection, self.known)

    async def _attempt(
        self, database: PatientConnection, work: Callable[[Connection], Awaitable[None]]
    ) -> bool:
        try:
            await work(await database.opened())
        except (*PASSING_TYPES, TimeoutError) as fault:
            self._outage.begin(database.failed(fault))
            return False
        database.succeeded()
        self._outage.end()
        return True

    def close(self) -> None:
        """Closes the connections."""
        self._database.close()
        self._retries.close()
