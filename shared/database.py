"""PostgreSQL: connecting, and telling a fault that passes from one that does not."""

import asyncio
import random
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import asyncpg

from shared.pooled import PooledConnection
from shared.settings.database import Pooler
from shared.step import TablesOutdated
from shared.timeouts import whose_timeout

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
    AnyConnection = Connection | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
else:  # the stubs are generic, the classes are not
    Connection = asyncpg.Connection
    AnyConnection = Connection | asyncpg.pool.PoolConnectionProxy

COMMAND_SECONDS: Final = 120


async def connect(
    database_url: str,
    *,
    application_name: str,
    pooler: Pooler = "none",
    timeout_seconds: float = 10,
    command_timeout_seconds: float = COMMAND_SECONDS,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> Connection:
    """One connection for one worker, each of its statements under these settings of the server, be there a
    pooler between or not. Raises what `is_passing` can judge."""
    session = {"application_name": application_name, "timezone": "UTC"}
    with _clear_faults(database_url, pooler, timeout_seconds):
        if pooler == "none":
            return await asyncpg.connect(
                database_url,
                timeout=timeout_seconds,
                command_timeout=command_timeout_seconds,
                server_settings={**session, **settings},
            )
        connection = await asyncpg.connect(
            database_url,
            timeout=timeout_seconds,
            command_timeout=command_timeout_seconds,
            server_settings=session,
            statement_cache_size=0,
            connection_class=PooledConnection,
        )
    connection.begin_each_transaction_with(settings)
    return connection


@contextmanager
def _clear_faults(database_url: str, pooler: Pooler, timeout_seconds: float) -> Iterator[None]:
    """Says in words what keeps a connection from being made, where the fault itself does not."""
    try:
        yield
    except TimeoutError as error:
        if str(error):  # the system's own, of TCP
            raise
        raise TimeoutError(
            f"no connection within {timeout_seconds:g} s, which is callfold's limit for connecting"
        ) from error
    except ssl.SSLError as error:
        # As what it is to the caller: a server that can't be reached. Python counts a refused certificate
        # among the ill-formed values, too.
        raise ConnectionError(f"TLS fails: {_reason(error)}") from error
    except asyncpg.ConnectionDoesNotExistError as error:
        if "sslcert=" not in database_url:
            raise
        # With TLS 1.3 the server refuses when for the client all is settled; asyncpg does not hear why.
        raise ConnectionError(
            f"TLS fails, perhaps because the server refuses the certificate in sslcert ({error})"
        ) from error
    except asyncpg.TargetServerAttributeNotMatched as error:
        raise ConnectionError("none of its hosts is what target_session_attrs asks for") from error
    except asyncpg.ProtocolViolationError as error:
        if pooler == "none" and "unsupported startup parameter" in str(error):
            advice = "in transaction mode, PgBouncer needs CALLFOLD_DATABASE_POOLER=transaction"
            error.message = f"{error}: {advice}"
            error.args = (error.message,)
        raise


def _reason(error: ssl.SSLError) -> str:
    """What is wrong, without OpenSSL's names and places."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is refused: {error.verify_message.rstrip('.')}"
    return (error.reason or str(error)).lower().replace("_", " ")


PASSING_TYPES = (
    OSError,
    TablesOutdated,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""What `is_passing` can judge; anything else never passes."""

REFUSAL_TYPES = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, ValueError)
"""What PostgreSQL, or the driver, raises for a record that it does not take."""

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
