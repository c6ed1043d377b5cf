"""PostgreSQL: connecting, and telling a fault that passes from one that does not."""

import asyncio
import random
from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:  # the stubs are generic, the class is not
    Connection = asyncpg.Connection

_PASSING_CLASSES = frozenset({"08", "40", "53", "57"})
_LOCK_NOT_AVAILABLE = "55P03"


async def connect(
    database_url: str,
    *,
    application_name: str,
    timeout_seconds: float = 10,
    settings: dict[str, str] | None = None,
) -> Connection:
    """One connection for one worker. Raises what `is_passing` can judge."""
    return await asyncpg.connect(
        database_url,
        timeout=timeout_seconds,
        command_timeout=120,
        server_settings={"application_name": application_name, "timezone": "UTC", **(settings or {})},
    )


PASSING_TYPES = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What `is_passing` can judge; anything else never passes."""


def is_passing(error: BaseException) -> bool:
    """Whether waiting, and a new connection, helps: the server is away, starting, overloaded, closed the
    connection, or chose us as a deadlock's victim.

    For connections that do one thing at a time: there, "another operation is in progress" is asyncpg's word
    for one that broke in the middle.
    """
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return state[:2] in _PASSING_CLASSES or state == _LOCK_NOT_AVAILABLE
    if isinstance(error, asyncpg.InterfaceError):
        return "connection" in str(error) or "another operation" in str(error)
    return isinstance(error, OSError | TimeoutError | asyncpg.InternalClientError)


class Backoff:
    """Growing waits between tries, each with jitter, so that replicas don't come in step."""

    def __init__(self, *, first_seconds: float = 0.05, longest_seconds: float = 5) -> None:
        self._first = self._next = first_seconds
        self._longest = longest_seconds

    def reset(self) -> None:
        """After a success: the next fault begins with the first wait again."""
        self._next = self._first

    async def wait(self, stop: asyncio.Event) -> None:
        """Waits once; returns at once when `stop` is set."""
        seconds = self._next * random.uniform(0.5, 1)  # noqa: S311
        self._next = min(self._next * 2, self._longest)
        try:
            await asyncio.wait_for(stop.wait(), seconds)
        except TimeoutError:
            return
