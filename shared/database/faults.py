"""Faults of PostgreSQL, and which of them are temporary."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg


class TablesOutdated(Exception):
    """The database's tables are older than this code. Waiting helps, because a migration updates them."""


@contextmanager
def outbox_needed() -> Iterator[None]:
    """Raises `TablesOutdated` if the block does not find the outbox: a server was added to Citus since the
    last migration."""
    try:
        yield
    except asyncpg.UndefinedTableError as error:
        if _OUTBOX.search(error.message or "") is None:
            raise
        raise TablesOutdated("this server has no outbox yet: run `callfold migrate`") from error


_OUTBOX: Final = re.compile(r'"(public\.)?(publisher|call_changes)"')

PASSING_TYPES = (
    OSError,
    TablesOutdated,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""The exceptions that `is_passing` can judge. Any other is permanent."""

_PASSING_CLASSES: Final = frozenset({"08", "28", "40", "53", "57"})
_PASSING_STATES: Final = frozenset(
    {
        "55P03",  # A lock was not available in time.
        "25P03",  # A transaction was idle for too long, for example while the process was suspended.
        "25006",  # The server is now a standby: the primary is elsewhere, or will be.
        "42501",  # A privilege has not been granted to the role yet.
    }
)
_INTERNAL: Final = "XX000"
_LOST_IN_COPY: Final = ("failed to COPY to shard", "failed to complete COPY on")
_SPLIT: Final = "could not find valid entry for shard"
_PROTOCOL_VIOLATION: Final = "08P01"
_is_misconfigured = re.compile(
    "unsupported startup parameter|no such (database|user)|does not exist|authentication failed"
).search


def is_passing(error: BaseException) -> bool:
    """Whether waiting and a new connection help. The server may be unreachable, starting or overloaded, or
    have closed the connection or cancelled a deadlock. Its tables, role or privileges may not have been
    created yet.

    Citus reports the loss of a node as an internal error, and so every fault of a node in a COPY, and a shard
    that was split meanwhile. The loss of a node in a COPY can also be an error of input and output.

    For connections that run one operation at a time: there, asyncpg reports "another operation is in
    progress" for a connection that broke during an operation.
    """
    if isinstance(error, asyncpg.PostgresError):
        if error.sqlstate == _PROTOCOL_VIOLATION:
            return _is_passing_fault_of_pooler(error)
        if error.sqlstate == _INTERNAL:
            message = error.message or ""
            return is_of_node_in_copy(error) or "connection" in message or message.startswith(_SPLIT)
        if isinstance(error, asyncpg.PostgresIOError):
            return (error.message or "").startswith(_LOST_IN_COPY)
        state = error.sqlstate or ""
        return state[:2] in _PASSING_CLASSES or state in _PASSING_STATES
    if isinstance(error, asyncpg.ClientConfigurationError):
        return False
    if isinstance(error, asyncpg.InterfaceError):
        return "connection" in str(error) or "another operation" in str(error)
    return isinstance(error, OSError | TimeoutError | TablesOutdated | asyncpg.InternalClientError)


def _is_passing_fault_of_pooler(error: asyncpg.PostgresError) -> bool:
    """PgBouncer reports nearly all of its faults as protocol violations, above all an unreachable server. A
    violation that PostgreSQL itself reports is a bug and names the place in PostgreSQL's source. It is
    permanent, and so is a wrong name, password or setting."""
    return error.server_source_function is None and not _is_misconfigured(str(error))


def is_of_node_in_copy(error: BaseException) -> bool:
    """Whether a COPY failed on a node of Citus. The error has the node's message, without its SQLSTATE."""
    return (
        isinstance(error, asyncpg.InternalServerError) and error.server_source_function == "ReportCopyError"
    )
