"""Faults of PostgreSQL: which of them pass, and how each may be logged."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import asyncpg

from shared.database.timeouts import whose_timeout


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


_LOGGABLE_CLASSES = frozenset({"08", "23", "25", "28", "3D", "40", "42", "53", "54", "55", "57"})
"""Where PostgreSQL's primary message has names of tables and rules in it, and never what was stored."""


def loggable(error: BaseException, ours: Mapping[str, str] = MappingProxyType({})) -> str:
    """A fault in words that may be logged: nothing of a record, a row or a password is in them. Of a time-out
    they say whose setting it is; `ours` are those that callfold gave the connection (`whose_timeout`)."""
    kind = type(error).__name__
    if (whose := whose_timeout(error, ours)) is not None and isinstance(error, asyncpg.PostgresError):
        return f"{kind} (SQLSTATE {error.sqlstate}): {error.message} ({whose})"
    if isinstance(error, TimeoutError) and not str(error):
        return f"{kind}: no answer within the time that callfold gives a statement"
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        # Not `str(error)`: that has the DETAIL, which quotes rows.
        message = f": {error.message}" if state[:2] in _LOGGABLE_CLASSES and error.message else ""
        return f"{kind} (SQLSTATE {state}){message}"
    if isinstance(error, asyncpg.ClientConfigurationError):
        return str(error).partition("\n")[0]  # what follows is a hint, of parameters that we don't have
    if isinstance(error, OSError | TablesOutdated) or type(error) is asyncpg.InterfaceError:
        return str(error) or kind
    return kind
