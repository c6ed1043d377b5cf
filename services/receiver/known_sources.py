"""The sources that take requests, as one connection reads them from the database every few seconds.

A request never waits for the database if its source is known. While the database is unreachable, the sources
that were read last take requests.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from shared.database.faults import PASSING_TYPES
from shared.database.patient_connection import PatientConnection
from shared.database.timeouts import OWN_LOCK_TIMEOUT
from shared.dialects.registry import DIALECTS
from shared.outage import Outage
from shared.settings.receiver import ReceiverSettings
from shared.sources.dialect import Dialect
from shared.sources.source import Source
from shared.store.sources import StoredSource, read_sources

logger = logging.getLogger("callfold.receiver")

SESSION: Final = {"lock_timeout": OWN_LOCK_TIMEOUT, "jit": "off"}
EXTRA_READING_SECONDS: Final = 1.0
"""The shortest time between two readings that requests for unknown sources cause."""
WAIT_SECONDS: Final = 2.0
"""How long a request for an unknown source waits for the next reading."""
WAITING_MAX: Final = 64
"""How many requests may wait so."""
STATEMENT_SECONDS: Final = 10


class NothingRead(Exception):
    """The sources have not been read since the process started."""


@dataclass(frozen=True)
class KnownSource:
    """A source that takes requests. `fault` says why its requests can't be verified; it is None where they
    can."""

    source: Source
    dialect: Dialect | None
    fault: str | None = None


class KnownSources:
    """The sources of the database that take requests."""

    def __init__(self, settings: ReceiverSettings) -> None:
        self._interval_seconds = settings.receiver_sources_seconds
        self._box = settings.secret_box()
        self._database = PatientConnection(
            settings,
            application_name="callfold-receiver",
            session=SESSION,
            command_timeout_seconds=STATEMENT_SECONDS,
        )
        self._outage = Outage(logger, "cannot read the sources", "reads the sources again")
        self._reason: str | None = None
        self._sources: Mapping[UUID, KnownSource] | None = None
        self._faults: dict[UUID, tuple[datetime, str]] = {}
        self._wanted = asyncio.Event()
        self._next_reading = asyncio.Event()
        """Set at the end of the next reading that begins."""
        self._waiting = 0

    async def find(self, source_id: UUID) -> KnownSource | None:
        """The source with this id. An unknown one is looked for in the next reading. Raises NothingRead."""
        found = self._known(source_id)
        if found is None and self._reason is None and self._waiting < WAITING_MAX:
            self._waiting += 1
            try:
                self._wanted.set()
                async with asyncio.timeout(WAIT_SECONDS):
                    await self._next_reading.wait()
            except TimeoutError:
                return None
            finally:
                self._waiting -= 1
            found = self._known(source_id)
        return found

    def _known(self, source_id: UUID) -> KnownSource | None:
        if self._sources is None:
            raise NothingRead
        return self._sources.get(source_id)

    @property
    def are_read(self) -> bool:
        """Whether the last reading succeeded."""
        return self._sources is not None and self._reason is None

    def why_waiting(self) -> str | None:
        """Why no request can be taken; None when sources have been read."""
        if self._sources is not None:
            return None
        return f"waits for the database: {self._reason}" if self._reason else "reads the sources"

    async def run(self, stop: asyncio.Event) -> None:
        """Reads the sources until `stop` is set, also while the database is unreachable. Raises the first
        permanent fault."""
        loop = asyncio.get_running_loop()
        stopped = asyncio.ensure_future(stop.wait())
        try:
            while not stop.is_set():
                began = loop.time()
                if not await self._read():
                    await self._database.pause(stop)
                    continue
                await asyncio.wait({stopped}, timeout=min(EXTRA_READING_SECONDS, self._interval_seconds))
                wanted = asyncio.ensure_future(self._wanted.wait())
                rest = began + self._interval_seconds - loop.time()
                await asyncio.wait(
                    {stopped, wanted}, timeout=max(rest, 0), return_when=asyncio.FIRST_COMPLETED
                )
                wanted.cancel()
        finally:
            stopped.cancel()
            self._database.close()

    async def _read(self) -> bool:
        """Reads all sources once. Returns whether it could."""
        self._wanted.clear()
        ending, self._next_reading = self._next_reading, asyncio.Event()
        try:
            self._take(await read_sources(await self._database.opened(), self._box))
        except PASSING_TYPES as fault:
            self._reason = self._database.failed(fault)
            self._outage.begin(self._reason)
            return False
        finally:
            ending.set()
        self._database.succeeded()
        self._reason = None
        self._outage.end()
        return True

    def _take(self, stored: Iterable[StoredSource]) -> None:
        sources: dict[UUID, KnownSource] = {}
        faults: dict[UUID, tuple[datetime, str]] = {}
        for each in stored:
            known = _known(each)
            if known is None:
                continue
            sources[each.source.id] = known
            if known.fault is not None:
                faults[each.source.id] = fault = (each.changed_at, known.fault)
                if self._faults.get(each.source.id) != fault:
                    logger.error(
                        "cannot verify requests: %s", known.fault, extra={"source_id": str(each.source.id)}
                    )
        self._sources, self._faults = sources, faults


def _known(stored: StoredSource) -> KnownSource | None:
    """The source, if it takes requests."""
    source = stored.source
    dialect = DIALECTS.get(source.dialect)
    if not stored.enabled or source.topic is not None or (dialect is not None and "http" not in dialect.ways):
        return None
    fault = stored.locked
    if dialect is None:
        fault = f"This version of callfold does not know the dialect {source.dialect}."
    return KnownSource(source, dialect, fault)
