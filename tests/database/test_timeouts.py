"""The setting behind a timeout, so that an operator need not search three configurations for it."""

import socket
from contextlib import closing

import asyncpg
import pytest
from asyncpg import PostgresError

from services.ops.addresses import Place
from services.ops.addresses import database as open_database
from services.ops.terminal.failure import Failure
from shared.database.connection import Connection, connect
from shared.database.loggable import loggable
from shared.database.timeouts import whose_timeout
from tests.support.command_line import callfold


def fault(state: str, message: str, **fields: str) -> PostgresError:
    error: PostgresError = asyncpg.PostgresError.new({"C": state, "M": message, **fields})
    return error


def test_a_limit_that_callfold_sets_is_named_as_its_own() -> None:
    error = fault("55P03", "canceling statement due to lock timeout")
    assert loggable(error, {"lock_timeout": "10s"}) == (
        "LockNotAvailableError (SQLSTATE 55P03): canceling statement due to lock timeout "
        "(PostgreSQL's lock_timeout, which callfold sets: 10s)"
    )


@pytest.mark.parametrize(
    ("error", "setting"),
    [
        (fault("57014", "canceling statement due to statement timeout"), "statement_timeout"),
        (fault("55P03", "canceling statement due to lock timeout"), "lock_timeout"),
        (
            fault("25P03", "terminating connection due to idle-in-transaction timeout"),
            "idle_in_transaction_session_timeout",
        ),
        (fault("25P04", "terminating connection due to transaction timeout"), "transaction_timeout"),
        (fault("57P05", "terminating connection due to idle-session timeout"), "idle_session_timeout"),
    ],
)
def test_a_limit_of_somebody_elses_is_named_with_who_may_set_it(error: PostgresError, setting: str) -> None:
    assert f"(PostgreSQL's {setting}, which callfold does not set here: the role, " in loggable(
        error, {"jit": "off"}
    )


def test_pgbouncers_limits_are_told_from_postgresqls() -> None:
    assert loggable(fault("08P01", "query_wait_timeout")).endswith(
        "query_wait_timeout (a setting of PgBouncer)"
    )
    assert whose_timeout(fault("08P01", "bad timeout message", R="ProcessClientReadInterrupt")) is None


@pytest.mark.parametrize(
    "error",
    [
        fault("57014", "canceling statement due to user request"),
        fault("55P03", "could not obtain lock on row in relation"),
        fault("23505", "a lock timeout"),
        OSError("statement timeout"),
    ],
)
def test_what_is_no_time_out_names_no_setting(error: Exception) -> None:
    assert whose_timeout(error) is None


@pytest.fixture
async def hurried(database: Connection) -> Connection:
    """A database whose owner sets a statement timeout of 300 ms."""
    name = await database.fetchval("SELECT current_database()")
    await database.execute(f"ALTER DATABASE {name} SET statement_timeout = '300ms'")
    return database


async def test_a_command_says_which_limit_it_ran_into_and_who_set_it(
    hurried: Connection, database_url: str
) -> None:
    await hurried.execute("BEGIN; LOCK TABLE organizations")
    done = await callfold("org", "list", database_url=database_url)
    assert done.status == 1
    assert done.failure.endswith(
        ": it exceeded statement_timeout=300ms, which is set for this database (ALTER DATABASE) and "
        "not by this command."
    )


async def test_a_command_says_when_its_own_limit_is_over(database: Connection, database_url: str) -> None:
    await database.execute("BEGIN; LOCK TABLE organizations")

    with pytest.raises(
        Failure, match=r"did not answer a statement within 0\.05 s, the limit of this command"
    ):
        async with open_database(Place(database_url), statement_seconds=0.05) as connection:
            await connection.fetch("SELECT * FROM organizations")


async def test_a_server_that_accepts_and_is_silent_is_said_with_the_limit_for_connecting() -> None:
    with closing(socket.socket()) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"postgresql://postgres@127.0.0.1:{silent.getsockname()[1]}/callfold"
        with pytest.raises(TimeoutError, match=r"no connection within 0\.1 s, which is callfold's limit"):
            await connect(url, application_name="test", timeout_seconds=0.1)
