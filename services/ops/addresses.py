"""Where an operator's command finds the database and Kafka, and what it says when one is not there."""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated, Final, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import typer
from aiokafka.errors import KafkaError
from pydantic_settings import BaseSettings

from services.ops.embedded import state as embedded
from services.ops.failure import Failure
from shared.database import Connection, connect
from shared.settings import DatabaseSettings, InvalidSetting, KafkaSettings

_SILENCE: Final = logging.NullHandler()  # what aiokafka would write on standard error, the Failure says
_Settings = TypeVar("_Settings", bound=BaseSettings)

DEFAULT_STATE: Final = Path(".callfold")

StateOption = Annotated[
    Path | None,
    typer.Option(
        "--state",
        metavar="DIRECTORY",
        help="The state directory of an embedded stack (`callfold up`). Without it, the settings "
        "CALLFOLD_DATABASE_URL and CALLFOLD_KAFKA_BOOTSTRAP tell where to look, and without those the "
        "stack in .callfold/ is taken.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for a script, and nothing else.")]


def find_database(state: Path | None) -> str:
    """The URL of the database that a command works on. Raises Failure when nothing names one."""
    settings = settings_from_environment(DatabaseSettings)
    stack = _stack(state, named="database_url" in settings.model_fields_set)
    if stack is not None:
        return stack.database_url
    return settings.database_url


def find_kafka(state: Path | None) -> str:
    """Kafka's bootstrap address. Raises Failure when nothing names one."""
    settings = settings_from_environment(KafkaSettings)
    stack = _stack(state, named="kafka_bootstrap" in settings.model_fields_set)
    return settings.kafka_bootstrap if stack is None else stack.kafka


def find_both(state: Path | None) -> tuple[str, str]:
    """The database's URL and Kafka's address, never of two different stacks. Raises Failure when one is set
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


def settings_from_environment(of: type[_Settings]) -> _Settings:
    """These settings. Raises Failure that names the variable which is not as it must be."""
    try:
        return of()
    except InvalidSetting as error:
        raise Failure(str(error)) from None


@asynccontextmanager
async def database(database_url: str) -> AsyncIterator[Connection]:
    """A connection for one command. Its expected faults become Failure: away, refused, not migrated."""
    with database_faults(database_url):
        connection = await connect(database_url, application_name="callfold-ops")
        try:
            yield connection
        finally:
            await connection.close(timeout=5)


@contextmanager
def database_faults(database_url: str) -> Iterator[None]:
    """Turns what a database can do to a command into a Failure that says what to do."""
    try:
        yield
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError) as error:
        raise Failure(
            f"The database {_place(database_url)} lacks callfold's tables, or has them of another version "
            f"({error}): `callfold migrate` brings it up to date."
        ) from None
    except asyncpg.InvalidCatalogNameError:
        raise Failure(
            f"There is no database {_place(database_url)}: create it, then `callfold migrate`."
        ) from None
    except (asyncpg.PostgresConnectionError, asyncpg.InvalidAuthorizationSpecificationError) as error:
        raise Failure(f"PostgreSQL refuses the connection to {_place(database_url)}: {error}.") from None
    except (
        asyncpg.OperatorInterventionError,
        asyncpg.InsufficientResourcesError,
        asyncpg.InsufficientPrivilegeError,
        asyncpg.TransactionRollbackError,
    ) as error:
        raise Failure(f"PostgreSQL gave up on {_place(database_url)}: {error}.") from None
    except asyncpg.InterfaceError as error:
        if not isinstance(error, asyncpg.ClientConfigurationError) and "connection" not in str(error):
            raise
        raise Failure(f"PostgreSQL at {_place(database_url)} can't be used: {error}.") from None
    except (OSError, TimeoutError) as error:
        said = str(error) or "no answer in time"
        raise Failure(f"PostgreSQL can't be reached at {_place(database_url)}: {said}.") from None


@contextmanager
def kafka_faults(bootstrap: str) -> Iterator[None]:
    """Turns what Kafka can do to a command into a Failure."""
    logging.getLogger("aiokafka").addHandler(_SILENCE)
    try:
        yield
    except (KafkaError, OSError, TimeoutError) as error:
        said = str(error) or type(error).__name__
        raise Failure(f"Kafka can't be used at {bootstrap}: {said}.") from None


def read_uuid(text: str, what: str) -> UUID:
    """A UUID as an operator types it. Raises Failure."""
    try:
        return UUID(text.strip())
    except ValueError:
        raise Failure(
            f"{what} must be a UUID, such as 0b6cf1f4-6d2e-4a3b-9b3e-2f7c5a1d8e90, not {text!r}."
        ) from None


async def require_organization(connection: Connection, organization_id: UUID) -> None:
    """Raises Failure when there is no such organization."""
    if await connection.fetchval("SELECT 1 FROM organizations WHERE id = $1", organization_id) is None:
        raise Failure(
            f"There is no organization {organization_id}: `callfold org list` shows those there are."
        )


def _stack(state: Path | None, *, named: bool) -> embedded.State | None:
    """The embedded stack to take; None: what the settings name."""
    if state is not None:
        return embedded.load(state)
    if named:
        return None
    if (DEFAULT_STATE / "stack.json").exists():
        return embedded.load(DEFAULT_STATE)
    raise Failure(
        "No database and no Kafka are known here: name the state directory of a stack with --state "
        "(`callfold up` makes one), or set CALLFOLD_DATABASE_URL and CALLFOLD_KAFKA_BOOTSTRAP."
    )


def _place(database_url: str) -> str:
    """The URL without what must not be shown."""
    parts = urlsplit(database_url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.path.lstrip('/') or 'postgres'} on {host or 'this machine'}"
