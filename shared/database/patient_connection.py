"""A worker's connection to the database, which survives outages of the database."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from shared.backoff import Backoff
from shared.database.connection import COMMAND_SECONDS, Connection, connect
from shared.database.distributed import is_distributed
from shared.database.faults import is_passing
from shared.database.loggable import loggable
from shared.database.schema_step import check_step
from shared.outage import Outage
from shared.settings.database import DatabaseSettings

GENERIC_PLANS: Final = "force_generic_plan"
"""The `plan_cache_mode` that a distributed database cannot use."""


def database_outage(logger: logging.Logger, server: str | None = None) -> Outage:
    """An outage of the database or, with its address, of one server of a distributed database."""
    if server is None:
        return Outage(logger, "waits for the database", "the database answers again")
    return Outage(logger, f"waits for server {server}", f"server {server} answers again")


class PatientConnection:
    """One connection, opened when it is needed and again after a fault.

    A worker takes `opened()` for each of its attempts. It catches `PASSING_TYPES`, hands them to `failed` and
    calls `pause` before the next attempt. It calls `succeeded` when an attempt has done its work.
    """

    def __init__(
        self,
        settings: DatabaseSettings,
        *,
        application_name: str,
        session: Mapping[str, str],
        connect_timeout_seconds: float | None = None,
        command_timeout_seconds: float = COMMAND_SECONDS,
        longest_pause_seconds: float = 5,
        once: Callable[[Connection], Awaitable[bool]] | None = None,
    ) -> None:
        """`session` are the server settings of each statement. `once` is called with each new connection
        until it returns true. It raises asyncpg's errors."""
        self._settings = settings
        self._application_name = application_name
        self._session = session
        self._connect_timeout_seconds = connect_timeout_seconds or settings.database_connect_timeout_seconds
        self._command_timeout_seconds = command_timeout_seconds
        self._backoff = Backoff(longest_seconds=longest_pause_seconds)
        self._once = once
        self._connection: Connection | None = None
        self.is_distributed: bool | None = None
        """Whether the database of the last connection was distributed; None before the first one."""
        self._has_generic_plans = session.get("plan_cache_mode") == GENERIC_PLANS

    @property
    def is_open(self) -> bool:
        """Whether the last `opened()` returned a connection that this side has not closed."""
        return self._connection is not None

    async def opened(self) -> Connection:
        """The connection, after checking that this code can work with the tables. Raises the exceptions that
        `failed` takes, and ValueError for an invalid URL."""
        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        self.close()
        session = self._session
        if self.is_distributed and self._has_generic_plans:
            # Without the values, Citus cannot plan a statement over several organizations.
            session = {**session, "plan_cache_mode": "auto"}
        connection = await connect(
            self._settings.database_url,
            application_name=self._application_name,
            pooler=self._settings.database_pooler,
            timeout_seconds=self._connect_timeout_seconds,
            command_timeout_seconds=self._command_timeout_seconds,
            settings=session,
        )
        try:
            await check_step(connection)
            was_distributed, self.is_distributed = self.is_distributed, await is_distributed(connection)
            if self._has_generic_plans and self.is_distributed != bool(was_distributed):
                connection.terminate()
                return await self.opened()
            if self._once is not None and await self._once(connection):
                self._once = None
        except BaseException:
            connection.terminate()
            raise
        self._connection = connection
        return connection

    def failed(self, fault: Exception) -> str:
        """Closes the connection and returns the fault in words that may be logged. Raises the fault itself if
        it is permanent."""
        self.close()
        if not is_passing(fault):
            raise fault
        return loggable(fault, self._session)

    def succeeded(self) -> None:
        """Resets the next pause to the shortest."""
        self._backoff.reset()

    async def pause(self, stop: asyncio.Event) -> None:
        """Waits before the next attempt, longer each time; returns at once when `stop` is set."""
        await self._backoff.wait(stop)

    def close(self) -> None:
        """Closes the connection at once; the server rolls back what is not committed."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
