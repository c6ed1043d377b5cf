"""A command that cannot work prints one sentence and exits with a status other than 0."""

import asyncio
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from services.ops.addresses import Place, database_faults
from services.ops.embedded.state import plan, save
from services.ops.terminal.failure import Failure
from shared.database.connection import Connection
from tests.support.command_line import callfold
from tests.support.events import ORGANIZATION

NOBODY = UUID("0b6cf1f4-6d2e-4a3b-9b3e-2f7c5a1d8e90")
NOTHING_LISTENS = "127.0.0.1:1"

WRONG: dict[str, tuple[tuple[str | UUID, ...], str]] = {
    "lower-case zone": (
        ("org", "create", "A", "--time-zone", "europe/berlin"),
        "Did you mean Europe/Berlin?",
    ),
    "not a zone": (("org", "create", "A", "--time-zone", "posixrules"), "There is no time zone 'posixrules'"),
    "a file beside the zones": (("org", "create", "A", "--time-zone", "localtime"), "There is no time zone"),
    "an offset": (("org", "create", "A", "--time-zone", "+02:00"), "There is no time zone"),
    "a path": (("org", "create", "A", "--time-zone", "../../etc/passwd"), "There is no time zone"),
    "no name": (("org", "create", "  "), "A name must have 1 to 200 printable characters."),
    "a long name": (("org", "create", "A" * 201), "A name must have 1 to 200 printable characters."),
    "a line break in a name": (("org", "create", "A\nB"), "A name must have 1 to 200 printable characters."),
    "half of a letter in a name": (
        ("org", "create", "A\udc80"),
        "A name must have 1 to 200 printable characters.",
    ),
    "id of no form": (("org", "create", "A", "--id", "7"), "--id must be a UUID"),
    "id taken": (("org", "create", "A", "--id", ORGANIZATION), f"Organization {ORGANIZATION} already exists"),
    "key for nobody": (("key", "create", "--organization", NOBODY), f"There is no organization {NOBODY}"),
    "key for no form": (("key", "create", "--organization", "x"), "--organization must be a UUID"),
    "keys of nobody": (("key", "list", "--organization", NOBODY), f"There is no organization {NOBODY}"),
    "revoke no form": (("key", "revoke", "x"), "The key's id must be a UUID"),
    "revoke nothing": (("key", "revoke", NOBODY), "There is no such key"),
    "revoke no key": (("key", "revoke", "kros_live_x"), "There is no such key"),
    "prove nobody": (("verify", "--organization", NOBODY), f"There is no organization {NOBODY}"),
    "prove no form": (("verify", "--organization", "x"), "--organization must be a UUID"),
    "no stack": (("verify", "--state", "none"), "There is no stack in none"),
}


@pytest.mark.parametrize("case", WRONG)
async def test_an_invalid_argument_is_reported_in_one_sentence(
    database_url: str, database: Connection, case: str
) -> None:
    await database.execute("INSERT INTO organizations (id, name) VALUES ($1, 'Taken')", ORGANIZATION)
    arguments, sentence = WRONG[case]
    done = await callfold(*arguments, database_url=database_url)
    assert sentence in done.failure
    assert "\n" not in done.failure
    assert done.status == 1
    assert done.output == ""


COMMANDS: list[tuple[str | UUID, ...]] = [
    ("org", "list", "--json"),
    ("org", "create", "A"),
    ("key", "list", "--organization", NOBODY),
    ("key", "create", "--organization", NOBODY),
    ("key", "revoke", NOBODY),
    ("verify", "--json"),
    ("verify", "--topic"),
    ("lag", "--json"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(map(str, command[:2])))
@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        (
            lambda _: f"postgresql://postgres@{NOTHING_LISTENS}/callfold",
            "PostgreSQL can't be reached at callfold",
        ),
        (lambda url: url.rpartition("/")[0] + "/nowhere", "There is no database nowhere on 127.0.0.1"),
        (lambda url: url.rpartition("/")[0] + "/postgres", "`callfold migrate` brings them up to date"),
        (lambda url: url.replace("postgres@", "nobody:secret@"), "PostgreSQL refuses the connection"),
        (lambda url: f"{url}?target_session_attrs=standby", "none of its hosts matches target_session_attrs"),
        (
            lambda _: f"postgresql://{NOTHING_LISTENS}/secret@{NOTHING_LISTENS}/callfold",
            "can't be reached at the address in CALLFOLD_DATABASE_URL (is its password percent-encoded?)",
        ),
        (lambda _: "postgresql://nobody:secret@[/callfold", "CALLFOLD_DATABASE_URL must be a URL such as"),
        (
            lambda _: "mysql://nobody:secret@127.0.0.1/callfold",
            "CALLFOLD_DATABASE_URL must begin with postgresql://.",
        ),
    ],
    ids=[
        "away",
        "no database",
        "not migrated",
        "refused",
        "no standby",
        "a slash in the password",
        "malformed",
        "of another kind",
    ],
)
async def test_an_unavailable_database_is_reported_in_one_sentence(
    database_url: str, command: tuple[str | UUID, ...], address: Callable[[str], str], sentence: str
) -> None:
    done = await callfold(*command, database_url=address(database_url), kafka_bootstrap=NOTHING_LISTENS)
    assert done.status == 1
    assert sentence in done.failure
    assert "secret" not in done.failure
    assert done.output == ""


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(map(str, command[:2])))
async def test_a_command_without_an_address_says_how_to_give_one(
    command: tuple[str | UUID, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a directory without a stack
    done = await callfold(*command)
    assert "--state" in done.failure
    assert "CALLFOLD_DATABASE_URL and CALLFOLD_KAFKA_BOOTSTRAP" in done.failure


@pytest.mark.processes
async def test_a_fault_is_exit_status_1_and_a_sentence_on_standard_error() -> None:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", "from services.ops.main import run; run()", "org", "list", "--json"],
        capture_output=True,
        text=True,
        timeout=30,
        env={"CALLFOLD_DATABASE_URL": f"postgresql://postgres@{NOTHING_LISTENS}/callfold"},
    )
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line == "Error: PostgreSQL can't be reached at callfold on 127.0.0.1:1: connection refused."


@pytest.mark.parametrize(
    "command", [("org", "list"), ("verify",), ("verify", "--topic"), ("lag",), ("migrate",)]
)
async def test_a_stopped_stack_is_reported_with_the_command_that_starts_it(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for directory in (tmp_path / ".callfold", tmp_path / "it's here"):
        directory.mkdir()
        save(plan(directory))
    usual = await callfold(*command, program="./callfold")
    assert usual.failure == "The stack in .callfold is not running. `./callfold up --detach` starts it."
    other = await callfold(*command, "--state", "it's here", program="/my tools/callfold")
    start = other.failure.partition("`")[2].partition("`")[0]
    assert shlex.split(start) == ["/my tools/callfold", "up", "--detach", "--state", "it's here"]


async def test_a_suggested_command_can_be_pasted(database_url: str) -> None:
    created = await callfold("org", "create", "A", database_url=database_url, program="/my tools/callfold")
    (organization,) = (await callfold("org", "list", "--json", database_url=database_url)).json
    assert created.output.splitlines()[-1] == (
        f"To create an API key for it: '/my tools/callfold' key create --organization {organization['id']}"
    )


async def test_a_state_directory_that_is_a_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told = await callfold("status", "--state", str(tmp_path / "file"))
    assert told.failure == f"The state directory {tmp_path / 'file'} is a file, or below one: choose another."


async def test_a_usage_error_is_exit_status_2(database_url: str) -> None:
    for arguments in [("key", "create"), ("org", "create"), ("verify", "--jsn"), ("org", "crate")]:
        assert (await callfold(*arguments, database_url=database_url)).status == 2


async def test_lag_reports_unreachable_kafka_and_a_missing_topic(bootstrap: str, database_url: str) -> None:
    away = await callfold("lag", database_url=database_url, kafka_bootstrap=NOTHING_LISTENS)
    assert away.failure == f"Kafka can't be reached at {NOTHING_LISTENS}: connection refused."
    without = await callfold("lag", database_url=database_url, kafka_bootstrap=bootstrap, topic="nowhere")
    assert without.failure.startswith("Kafka has no topic nowhere")
    half = await callfold("lag", database_url=database_url)
    assert half.failure == (
        "CALLFOLD_DATABASE_URL is set and CALLFOLD_KAFKA_BOOTSTRAP is not: set both, or neither."
    )


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.PostgresError.new(
            {"C": "57P03", "M": "the database system is starting up", "D": "Recovery goes on.", "H": "Wait."}
        ),
        asyncpg.PostgresError.new({"C": "55P03", "M": "canceling statement due to lock timeout"}),
        asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress"),
    ],
    ids=["starting", "locked", "broken in the middle"],
)
def test_a_failure_of_the_database_is_reported_in_one_sentence(error: Exception) -> None:
    with pytest.raises(Failure) as told, database_faults(Place("postgresql://postgres@127.0.0.1/callfold")):
        raise error
    assert "\n" not in str(told.value)
    assert str(told.value).count(".") == str(told.value).count("127.0.0.1") * 3 + 1, (
        "it ends with a full stop"
    )
