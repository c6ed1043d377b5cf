"""Connections to PostgreSQL, direct or through a pooler."""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import asyncpg

from shared.database.pooled import PooledConnection
from shared.settings.database import Pooler

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
    """Opens one connection for one worker. Each of its statements runs with these server settings, with or
    without a pooler. Raises exceptions that `is_passing` can judge."""
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
    """Rewords faults of connecting that do not name their cause."""
    try:
        yield
    except TimeoutError as error:
        if str(error):  # the operating system's, of TCP
            raise
        raise TimeoutError(
            f"no connection within {timeout_seconds:g} s, which is callfold's limit for connecting"
        ) from error
    except ssl.SSLError as error:
        # For the caller, the server is unreachable. Python's exception for a refused certificate is also a
        # ValueError.
        raise ConnectionError(f"TLS failed: {_reason(error)}") from error
    except asyncpg.ConnectionDoesNotExistError as error:
        if "sslcert=" not in database_url:
            raise
        # With TLS 1.3 the server refuses after the client has finished the handshake; asyncpg does not learn
        # the reason.
        raise ConnectionError(
            f"TLS failed, perhaps because the server refuses the certificate in sslcert ({error})"
        ) from error
    except asyncpg.TargetServerAttributeNotMatched as error:
        raise ConnectionError("none of its hosts matches target_session_attrs") from error
    except asyncpg.ProtocolViolationError as error:
        if pooler == "none" and "unsupported startup parameter" in str(error):
            advice = "in transaction mode, PgBouncer needs CALLFOLD_DATABASE_POOLER=transaction"
            error.message = f"{error}: {advice}"
            error.args = (error.message,)
        raise


def _reason(error: ssl.SSLError) -> str:
    """The reason, without OpenSSL's names and source positions."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is refused: {error.verify_message.rstrip('.')}"
    return (error.reason or str(error)).lower().replace("_", " ")


REFUSAL_TYPES = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, ValueError)
"""The exceptions of PostgreSQL and of the driver for a record that they refuse."""
