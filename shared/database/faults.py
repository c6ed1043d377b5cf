"""Faults of PostgreSQL: which of them pass."""

import re
from typing import Final

import asyncpg


class TablesOutdated(Exception):
    """The database's tables are older than this code; waiting helps, until somebody migrates them."""


PASSING_TYPES = (
    OSError,
    TablesOutdated,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""What `is_passing` can judge; anything else never passes."""

_PASSING_CLASSES: Final = frozenset({"08", "28", "40", "53", "57"})
_PASSING_STATES: Final = frozenset(
    {
        "55P03",  # a lock that could not be had in time
        "25P03",  # a transaction that was idle for too long, as of a process that slept
        "25006",  # a server that is a standby now: the primary is elsewhere, or will be
        "42501",  # a right that the role has yet to be given
    }
)
_PROTOCOL_VIOLATION: Final = "08P01"
_is_misconfigured = re.compile(
    "unsupported startup parameter|no such (database|user)|does not exist|authentication failed"
).search


def is_passing(error: BaseException) -> bool:
    """Whether waiting, and a new connection, helps: the server is away, starting, overloaded, closed the
    connection, chose us as a deadlock's victim, or has yet to be migrated, and our role or its rights made.

    For connections that do one thing at a time: there, "another operation is in progress" is asyncpg's word
    for one that broke in the middle.
    """
    if isinstance(error, asyncpg.PostgresError):
        if error.sqlstate == _PROTOCOL_VIOLATION:
            return _is_passing_fault_of_pooler(error)
        state = error.sqlstate or ""
        return state[:2] in _PASSING_CLASSES or state in _PASSING_STATES
    if isinstance(error, asyncpg.ClientConfigurationError):
        return False
    if isinstance(error, asyncpg.InterfaceError):
        return "connection" in str(error) or "another operation" in str(error)
    return isinstance(error, OSError | TimeoutError | TablesOutdated | asyncpg.InternalClientError)


def _is_passing_fault_of_pooler(error: asyncpg.PostgresError) -> bool:
    """PgBouncer calls nearly all of its faults protocol violations, above all that its server is away. One
    that PostgreSQL itself complains of is a bug: it names the place in PostgreSQL's source that found it.
    That passes as little as what else would be a class of its own: a wrong name, password or setting."""
    return error.server_source_function is None and not _is_misconfigured(str(error))
