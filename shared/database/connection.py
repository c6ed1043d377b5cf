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


REFUSAL_TYPES = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, ValueError)
"""What PostgreSQL, or the driver, raises for a record that it does not take."""
