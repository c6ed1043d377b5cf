"""The database and Kafka of an operator's command, and the messages for each that is unreachable."""

import logging
import os
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
from aiokafka.errors import KafkaError

from services.ops.embedded import state as embedded
from services.ops.terminal.environment import settings_from_environment
from services.ops.terminal.failure import Failure
from services.ops.terminal.program import DEFAULT_STATE, suggestion
from shared.database.connection import COMMAND_SECONDS, Connection, connect
from shared.database.faults import is_passing
from shared.database.timeouts import timeout_setting, whose_timeout
from shared.kafka.client import Broker, address, cause, connection_faults, fault, refusal
from shared.settings.database import DatabaseSettings, Pooler
from shared.settings.kafka import KafkaSettings

_SILENCE: Final = logging.NullHandler()  # the Failure has what aiokafka would write on standard error
_NO_ANSWER: Final = "no answer within the time that callfold gives a request"


class Refused(Failure):
    """Kafka was reached, but retrying would not help."""


@dataclass(frozen=True)
class Place:
    """The address of the database, and the state directory that it comes from, if any."""

    address: str
    state: Path | None = None
    pooler: Pooler = "none"


@dataclass(frozen=True)
class KafkaPlace:
    """The settings for Kafka, and the state directory that they come from, if any."""

    broker: Broker
    state: Path | None = None

    @property
    def address(self) -> str:
        return address(self.broker)


def find_database(state: Path | None) -> Place:
    """The database of a command. Raises Failure when neither the settings nor a stack name one."""
    settings = settings_from_environment(DatabaseSettings)
    directory = _directory(state, named="database_url" in settings.model_fields_set)
    if directory is None:
        return Place(settings.database_url, pooler=settings.database_pooler)
    return Place(embedded.load(directory).database_url, directory)


def find_kafka(state: Path | None) -> KafkaPlace:
    """Kafka by the settings, including those of its security, or the embedded broker, which has no security.
    Raises Failure when neither the settings nor a stack name one."""
    settings = settings_from_environment(KafkaSettings)
    directory = _directory(state, named="kafka_bootstrap" in settings.model_fields_set)
    if directory is None:
        return KafkaPlace(settings)
    return KafkaPlace(embedded.load(directory).kafka, directory)


def find_both(state: Path | None) -> tuple[Place, KafkaPlace]:
    """The database and Kafka, never of two different stacks. Raises Failure when one is set
    and the other is not."""
    if state is None:
        database = "database_url" in settings_from_environment(DatabaseSettings).model_fields_set
        kafka = "kafka_bootstrap" in settings_from_environment(KafkaSettings).model_fields_set
        if database != kafka:
            there, missing = "CALLFOLD_DATABASE_URL", "CALLFOLD_KAFKA_BOOTSTRAP"
            if kafka:
                there, missing = missing, there
            raise Failure(f"{there} is set and {missing} is not: set both, or neither.")
    return find_database(state), find_kafka(state)


@asynccontextmanager
async def database(place: Place, statement_seconds: float = COMMAND_SECONDS) -> AsyncIterator[Connection]:
    """A connection for one command, with a limit for each statement. Expected faults become Failure:
    unreachable, refused, not migrated."""
    with database_faults(place):
        connection = await connect(
            place.address,
            application_name="callfold-ops",
            pooler=place.pooler,
            command_timeout_seconds=statement_seconds,
        )
        try:
            yield connection
        except (asyncpg.QueryCanceledError, asyncpg.LockNotAvailableError) as error:
            if (setting := timeout_setting(error)) is None or connection.is_closed():
                raise
            try:
                failure = await _timed_out(place, connection, setting)
            except asyncpg.PostgresError:  # a limit so short that it can't even be asked for
                raise error from None
            raise failure from None
        except TimeoutError as error:
            if str(error):
                raise
            raise Failure(
                f"PostgreSQL at {_without_secrets(place.address)} did not answer a statement within "
                f"{statement_seconds:g} s, the limit of this command. The statement was completed or rolled "
                "back as a whole."
            ) from None
        finally:
            await connection.close(timeout=5)


async def _timed_out(place: Place, connection: Connection, setting: str) -> Failure:
    """The failure for a timeout that callfold did not set: its value and its source."""
    found = await connection.fetchrow(
        "SELECT current_setting($1), source FROM pg_settings WHERE name = $1", setting
    )
    value, source = found or ("?", "")
    return Failure(
        f"PostgreSQL cancelled a statement on {_without_secrets(place.address)}: "
        f"it exceeded {setting}={value}, "
        f"which {_SOURCES.get(source, f'comes from `{source}`')} and not by this command."
    )


_SOURCES: Final = {
    "user": "is set for this role (ALTER ROLE)",
    "database": "is set for this database (ALTER DATABASE)",
    "database user": "is set for this role in this database (ALTER ROLE … IN DATABASE)",
    "client": "is set by the connection's options (CALLFOLD_DATABASE_URL, PGOPTIONS or a pooler)",
    "configuration file": "is set in the server's configuration",
    "command line": "is set in the server's command line",
    "session": "is set in the session (for example by a pooler's connect_query)",
}
"""The source of a value, by the column source of pg_settings."""


@contextmanager
def database_faults(place: Place) -> Iterator[None]:
    """Turns the expected faults of a database into a Failure with the action to take."""
    name = _without_secrets(place.address)
    migrate = suggestion("migrate", state=place.state)
    try:
        yield
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError) as error:
        raise Failure(
            f"The database {name} lacks callfold's tables, or has those of another version "
            f"({error}). {migrate} brings them up to date."
        ) from None
    except asyncpg.InvalidCatalogNameError:
        raise Failure(f"There is no database {name}. Create it, then run {migrate}.") from None
    except (asyncpg.PostgresConnectionError, asyncpg.InvalidAuthorizationSpecificationError) as error:
        if _of_other_server(error):
            raise Failure(f"A server of the database {name} failed: {_sentence(error)}.") from None
        whose = whose_timeout(error)
        said = _sentence(error) + (f" ({whose})" if whose else "")
        raise Failure(f"PostgreSQL refuses the connection to {name}: {said}.") from None
    except (
        asyncpg.OperatorInterventionError,
        asyncpg.InsufficientResourcesError,
        asyncpg.InsufficientPrivilegeError,
        asyncpg.LockNotAvailableError,
        asyncpg.IdleInTransactionSessionTimeoutError,
        asyncpg.TransactionTimeoutError,
        asyncpg.ReadOnlySQLTransactionError,
        asyncpg.TransactionRollbackError,
    ) as error:
        whose = whose_timeout(error)
        said = _sentence(error) + (f" ({whose})" if whose else "")
        raise Failure(f"A statement failed on {name}: {said}.") from None
    except (asyncpg.InternalServerError, asyncpg.PostgresIOError) as error:
        if not is_passing(error):
            raise
        raise Failure(f"A server of the database {name} failed: {_sentence(error)}.") from None
    except (asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        if not isinstance(error, asyncpg.ClientConfigurationError) and not is_passing(error):
            raise
        raise Failure(f"PostgreSQL at {name} can't be used: {error}.") from None
    except (OSError, TimeoutError) as error:
        _check_running(place)
        raise Failure(f"PostgreSQL can't be reached at {name}: {_system_message(error)}.") from None


@contextmanager
def kafka_faults(place: KafkaPlace) -> Iterator[None]:
    """Turns the expected faults of Kafka into a Failure; into Refused when retrying would not help."""
    logging.getLogger("aiokafka").addHandler(_SILENCE)
    faults: list[Exception] = []
    try:
        with connection_faults(faults.append):
            yield
    except (KafkaError, OSError, TimeoutError) as error:
        reason = cause(error, faults)
        if refusal(reason):
            raise Refused(f"Cannot use Kafka at {place.address}: {fault(reason)}.") from None
        if isinstance(reason, OSError) and not isinstance(reason, ConnectionResetError):
            _check_running(place)
            raise Failure(f"Kafka can't be reached at {place.address}: {_system_message(reason)}.") from None
        raise Failure(f"Cannot use Kafka at {place.address}: {fault(reason)}.") from None


async def require_organization(connection: Connection, organization_id: UUID, state: Path | None) -> None:
    """Raises Failure when there is no such organization."""
    if await connection.fetchval("SELECT 1 FROM organizations WHERE id = $1", organization_id) is None:
        raise Failure(
            f"There is no organization {organization_id}. "
            f"{suggestion('org', 'list', state=state)} lists the organizations."
        )


def _directory(state: Path | None, *, named: bool) -> Path | None:
    """The state directory of the embedded stack to use; None for the servers that the settings name."""
    if state is not None:
        return state
    if named:
        return None
    if embedded.is_remembered(DEFAULT_STATE):
        return DEFAULT_STATE
    raise Failure(
        "No database and no Kafka are configured: name the state directory of a stack with --state "
        f"({suggestion('up')} creates one), or set CALLFOLD_DATABASE_URL and CALLFOLD_KAFKA_BOOTSTRAP."
    )


def _check_running(place: Place | KafkaPlace) -> None:
    """Raises Failure when the stack of this place is not running."""
    if place.state is None:
        return
    try:
        from services.ops.embedded import processes
    except ModuleNotFoundError:  # of the extra `embedded`, which only starting a stack needs
        return
    if processes.supervisor(embedded.load(place.state)) is None:
        raise Failure(
            f"The stack in {place.state} is not running. "
            f"{suggestion('up', '--detach', state=place.state)} starts it."
        ) from None


def _of_other_server(error: asyncpg.PostgresError) -> bool:
    """Whether the connected server of Citus cannot reach another one."""
    return "connection to the remote node" in (error.message or "")


def _sentence(error: asyncpg.PostgresError) -> str:
    """The first line of PostgreSQL's message, without detail and hints."""
    return str(error).partition("\n")[0].rstrip(".")


def _system_message(error: OSError) -> str:
    """The system's message about a connection, without Python's numbers and addresses."""
    if isinstance(error, socket.gaierror):
        return (error.strerror or str(error)).lower()
    numbers = dict.fromkeys(int(number) for number in re.findall(r"\[Errno (\d+)\]", str(error)))
    return ", ".join(os.strerror(number).lower() for number in numbers) or str(error) or _NO_ANSWER


def _without_secrets(database_url: str) -> str:
    """The URL without its secrets. A password whose `/`, `?`, `#` or `@` is not percent-encoded reaches other
    parts of the URL: then no part is shown."""
    parts = urlsplit(database_url)
    said = parts.path + parts.query + parts.fragment
    if "@" in said or ":" in parts.path or parts.netloc.count("@") > 1:
        return "the address in CALLFOLD_DATABASE_URL (is its password percent-encoded?)"
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.path.lstrip('/') or 'postgres'} on {host or 'this machine'}"
