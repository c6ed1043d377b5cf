"""The output of each command, at 80 columns and as JSON. A change of wording or layout shows as a difference.

`./check -k test_output --snapshot-update` rewrites tests/ops/__snapshots__/test_output.ambr; review its diff.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import typer
from _pytest.mark.structures import ParameterSet
from syrupy.assertion import SnapshotAssertion
from typer.core import TyperGroup

from services.ops.main import command_app
from shared.api_keys import key_hash
from shared.calls.event import Event
from shared.database.connection import Connection
from shared.store.quarantine import BadRecord
from tests.support import seed
from tests.support.command_line import callfold
from tests.support.events import NOON, ORGANIZATION, event, value
from tests.support.pipeline import Pipeline, calls
from tests.support.printed import TERMINAL_OF_80_COLUMNS, steady
from tests.support.storing import arrivals, record, store

pytestmark = pytest.mark.long

ACME = str(ORGANIZATION)
OTHER = "6f1c1f0e-93a5-4f4f-9a53-0d2f0a0a8b01"
CALL = "6f1c1f0e-93a5-4f4f-9a53-0d2f0a0a8a02"
KEY = "6f1c1f0e-93a5-4f4f-9a53-0d2f0a0a8c01"
USER = "6f1c1f0e-93a5-4f4f-9a53-0d2f0a0a8d01"
NEW_USER = "6f1c1f0e-93a5-4f4f-9a53-0d2f0a0a8d02"
NUMBER = "+493012345"
SOURCE = "6f1c1f0e-93a5-4f4f-9a53-0d2f0a0a8e01"
WEBHOOK = "6f1c1f0e-93a5-4f4f-9a53-0d2f0a0a9001"
PHONE_NUMBER = "6f1c1f0e-93a5-4f4f-9a53-0d2f0a0a8f01"
BAD_RECORDS = [
    BadRecord(record(b"{", offset=1), "the value is not JSON: it ends too early"),
    BadRecord(
        record(value("call.completed", organization_id=OTHER), offset=2),
        f"organization_id: there is no organization {OTHER}",
    ),
]

OPERATOR_COMMANDS: Sequence[Sequence[str]] = [
    ("org", "create", "Acme Telephony", "--id", OTHER, "--time-zone", "Europe/Berlin"),
    ("org", "list"),
    ("org", "rename", ACME, "Acme Europe"),
    ("org", "set-time-zone", ACME, "America/New_York"),
    ("org", "set-retention", ACME, "90"),
    ("org", "set-retention", ACME, "none"),
    ("org", "set-plan", ACME, "unlimited"),
    ("org", "delete", ACME, "--yes"),
    ("key", "create", "--organization", ACME, "--name", "dashboard", "--scope", "calls:read"),
    ("key", "list", "--organization", ACME),
    ("key", "revoke", KEY),
    ("member", "add", "--organization", ACME, NEW_USER),
    ("member", "list", "--organization", ACME),
    ("member", "remove", "--organization", ACME, USER),
    ("verify",),
    ("verify", "--organization", ACME),
    ("rebuild",),
    ("rebuild", "--dry-run"),
    ("refold",),
    ("reap", "--all-read"),
    ("reap", "--all-read", "--dry-run"),
    ("prune",),
    ("publish",),
    ("publish", "--all"),
    ("publish", "--stop"),
    ("notes",),
    ("notes", "--by-field"),
    ("forget", "--organization", ACME, "--number", NUMBER),
    ("forget", "--organization", ACME, "--number", NUMBER, "--dry-run"),
    ("quarantine", "list"),
    ("quarantine", "list", "--by-reason"),
    ("quarantine", "show", str(BAD_RECORDS[0].id)),
    ("quarantine", "redrive", "--all"),
    ("quarantine", "discard", "--reason", "not JSON"),
    ("migrate",),
    (
        "source",
        "create",
        "lobby",
        "--dialect",
        "kamailio",
        "--topic",
        "lobby",
        "--map",
        f"acme.example={ACME}",
    ),
    ("source", "create", "voice", "--dialect", "wazo", "--topic", "wazo"),
    ("source", "list"),
    ("source", "show", "proxy"),
    ("source", "map", "proxy", f"other.example={OTHER}"),
    ("source", "set", "proxy", "--setting", "time_zone=Europe/Berlin"),
    ("source", "disable", "proxy"),
    ("source", "enable", "proxy"),
    ("source", "delete", "proxy"),
    ("source", "dialects"),
    ("source", "encrypt-again"),
    ("webhook", "list", "--organization", ACME),
    ("webhook", "show", WEBHOOK),
    ("webhook", "deliveries", WEBHOOK),
    ("webhook", "resend", WEBHOOK, "1"),
    ("webhook", "disable", WEBHOOK),
    ("webhook", "enable", WEBHOOK),
    ("webhook", "remove", WEBHOOK),
    ("number", "add", "--organization", ACME, NUMBER, "--apply"),
    ("number", "list", "--organization", ACME),
    ("number", "remove", "--organization", ACME, "+4930999"),
]

TOPIC_COMMANDS: Sequence[Sequence[str]] = [
    ("lag",),
    ("topic",),
    ("topic", "--partitions", "9"),
    ("replay",),
    ("replay", "--dry-run"),
    ("event", "publish", "events.ndjson"),
    ("verify", "--topic"),
]

OTHERWISE: Mapping[object, str] = {
    ("migrate",): "it also prints that the tables are distributed",
    ("verify", "--topic"): "it refuses: no snapshot has the calls of all servers",
}
"""Commands that print something else on Citus."""

FILE_COMMANDS: Sequence[Sequence[str]] = [
    ("event", "check", "events.ndjson"),
    ("event", "check", "events.ndjson", "--json"),
    ("source", "create", "x", "--dialect", "kamalio", "--topic", "t"),
    ("source", "create", "x", "--dialect", "twilio", "--organization", ACME),
    ("source", "create", "x", "--dialect", "twilio", "--organization", ACME, "--topic", "t"),
    ("source", "create", "x", "--dialect", "kamailio", "--topic", "t"),
    ("source", "create", "x", "--dialect", "kamailio", "--topic", "call-events", "--organization", ACME),
    ("source", "create", "x", "--dialect", "kamailio", "--topic", "t", "--map", "acme.example"),
    ("source", "create", "x", "--dialect", "kamailio", "--organization", ACME, "--setting", "zone=x"),
    ("source", "map", "proxy"),
    ("source", "set", "proxy"),
    ("source", "try", "--sample", "no-such-file"),
    ("source", "try", "events.ndjson"),
    ("number", "add", "--organization", ACME),
    ("number", "add", "--organization", ACME, "--csv", "no-such-file"),
]

SHOWN_ELSEWHERE = {
    *("up", "down", "status", "demo", "event schema", "source new-key"),
    *("webhook add", "webhook rotate", "webhook test"),
}
"""tests/ops/test_webhook_command.py runs these with an endpoint. tests/ops/test_stack.py has snapshots of
`up`, `down` and `status`. `demo` shows a live screen, and tests/ops/test_event.py compares the output of
`event schema` with the schema. tests/ops/test_source.py checks a new key."""

WRONG_COMMANDS: Sequence[Sequence[str]] = [
    ("key", "create", "--organization", "acme"),
    ("key", "create", "--organization", OTHER),
    ("key", "create", "--organization", ACME, "--scope", "calls:delete"),
    ("key", "create", "--organization", ACME, "--expires", "soon"),
    ("key", "create", "--organization", ACME, "--network", "203.0.113.0/99"),
    ("key", "revoke", OTHER),
    ("org", "create", " "),
    ("org", "create", "Acme", "--id", ACME),
    ("org", "create", "Acme", "--time-zone", "Berlin"),
    ("org", "set-retention", ACME, "-1"),
    ("org", "set-plan", ACME, "gold"),
    ("member", "add", "--organization", ACME, USER),
    ("member", "remove", "--organization", ACME, OTHER),
    ("quarantine", "show", OTHER),
    ("quarantine", "redrive"),
    ("forget", "--organization", ACME, "--number", "unknown"),
    ("refold", "--after", "x"),
    ("verify", "--calls", "few"),
    ("verify", "--topic", "--calls", "5"),
    ("verify", "--wait", "5"),
    ("replay", "--from", "yesterday"),
    ("replay", "--from-offset", "7"),
    ("replay", "--file", "no-such-file"),
    ("event", "check", "no-such-file"),
    ("source", "create", "x", "--dialect", "bland", "--organization", ACME, "--secret", "webhook_secret=s"),
    ("source", "create", "proxy", "--dialect", "kamailio", "--topic", "t", "--organization", ACME),
    ("source", "show", "no-such-source"),
    ("number", "add", "--organization", OTHER, NUMBER),
    ("webhook", "add", "http://example.com", "--organization", ACME),
    ("webhook", "add", "https://example.com", "--organization", ACME),
    ("webhook", "add", "https://example.com", "--organization", ACME, "--type", "call.ended"),
    ("webhook", "show", OTHER),
    ("publish", "--all", "--stop"),
]


@pytest.fixture(autouse=True)
def terminal_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, setting in TERMINAL_OF_80_COLUMNS.items():
        monkeypatch.setenv(name, setting)


@pytest.fixture
async def exact_acme(database: Connection, database_url: str) -> str:
    """The URL of a database. Its organization has a key, a user, a note and three calls, one without an end.

    Two records are in the quarantine.
    """
    await database.execute("INSERT INTO organizations (id, name) VALUES ($1, 'Acme')", ORGANIZATION)
    await store(database, arrivals(*_events()), BAD_RECORDS, now=NOON)
    await database.execute(
        "INSERT INTO api_keys (id, organization_id, livemode, name, key_hash, hint)"
        " VALUES ($1, $2, true, 'website', $3, 'kros_live_ab…wxyz')",
        KEY,
        ORGANIZATION,
        key_hash("kros_live_" + "a" * 43),
    )
    await database.execute(
        "INSERT INTO members (organization_id, user_id) VALUES ($1, $2)", ORGANIZATION, USER
    )
    await database.execute(
        "INSERT INTO sources (id, name, dialect, organizations, topic)"
        " VALUES ($1, 'proxy', 'kamailio', $2, 'sip')",
        SOURCE,
        f'{{"acme.example": "{ACME}"}}',
    )
    await database.execute(
        "INSERT INTO phone_numbers VALUES ($1, '+4930999', $2)", ORGANIZATION, PHONE_NUMBER
    )
    await seed.webhook(database, ORGANIZATION, UUID(WEBHOOK))
    # A publisher ran once, before the organization existed.
    await database.execute("INSERT INTO publisher DEFAULT VALUES")
    return database_url


@pytest.fixture
async def acme(exact_acme: str, database: Connection) -> str:
    """The same, after a count and a call were edited by hand."""
    await database.execute("UPDATE daily_call_deltas SET calls = calls + 1 WHERE status = 'busy'")
    await database.execute("UPDATE calls SET duration = 61 WHERE duration = 60")
    return exact_acme


@pytest.fixture
def events_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory has `events.ndjson`: an accepted, a noted and a refused event."""
    events = [
        value("call.initiated", id="evt_1", from_number=NUMBER),
        value("call.completed", id="evt_2", duration=-1),
        value("call.completed", id="evt_3", organization_id="acme"),
    ]
    (tmp_path / "events.ndjson").write_bytes(b"\n".join(events))
    monkeypatch.chdir(tmp_path)


def _events() -> list[Event]:
    def of(call: int, type: str, **fields: object) -> Event:
        return event(type, id=f"evt_{call}_{type}", call_id=UUID(int=UUID(CALL).int + call), **fields)

    return [
        of(0, "call.initiated", from_number=NUMBER, direction="inbound"),
        of(0, "call.completed", duration=60, cost=1.25),
        of(1, "call.failed", status="busy", to_number=NUMBER),
        of(2, "call.initiated", duration=-1),
    ]


def _marked(commands: Sequence[Sequence[str]]) -> list[ParameterSet]:
    """The commands as parameters of a test."""
    return [
        pytest.param(
            command,
            id=" ".join(command),
            marks=[
                pytest.mark.one_postgres(reason) for other, reason in OTHERWISE.items() if other == command
            ],
        )
        for command in commands
    ]


@pytest.mark.parametrize("form", ["plain", "json"])
@pytest.mark.parametrize("command", _marked(OPERATOR_COMMANDS))
async def test_a_command_prints(
    acme: str, snapshot: SnapshotAssertion, command: Sequence[str], form: str
) -> None:
    assert await _printed(*command, *(["--json"] if form == "json" else []), database_url=acme) == snapshot


@pytest.mark.parametrize("command", WRONG_COMMANDS, ids=" ".join)
async def test_a_wrong_command_prints(acme: str, snapshot: SnapshotAssertion, command: Sequence[str]) -> None:
    assert await _printed(*command, database_url=acme, kafka_bootstrap="127.0.0.1:1") == snapshot


@pytest.mark.parametrize("form", ["plain", "json"])
async def test_a_proof_of_exact_calls_prints(exact_acme: str, snapshot: SnapshotAssertion, form: str) -> None:
    options = ["--json"] if form == "json" else []
    assert await _printed("verify", *options, database_url=exact_acme) == snapshot


@pytest.mark.usefixtures("events_file")
@pytest.mark.parametrize("form", ["plain", "json"])
@pytest.mark.parametrize("command", _marked(TOPIC_COMMANDS))
async def test_a_command_on_a_topic_prints(
    pipeline: Pipeline, snapshot: SnapshotAssertion, command: Sequence[str], form: str
) -> None:
    await pipeline.publish([*calls(1), b"{", None])
    options = ["--json"] if form == "json" else []
    settings = {"database_url": pipeline.database_url, "kafka_bootstrap": pipeline.bootstrap}
    if command[0] == "topic":  # it creates the two other topics
        settings["deliveries_topic"] = pipeline.topic.replace("events", "deliveries")
        settings["calls_topic"] = pipeline.topic.replace("events", "states")
    assert await _printed(*command, *options, topic=pipeline.topic, **settings) == snapshot


@pytest.mark.usefixtures("events_file")
@pytest.mark.parametrize("command", FILE_COMMANDS, ids=" ".join)
async def test_a_command_without_servers_prints(snapshot: SnapshotAssertion, command: Sequence[str]) -> None:
    assert await _printed(*command) == snapshot


def test_every_command_has_a_snapshot() -> None:
    listed = [*OPERATOR_COMMANDS, *TOPIC_COMMANDS, *FILE_COMMANDS]
    without = {
        name
        for name in _names(typer.main.get_command(command_app()))
        if not any(_is(name, each) for each in listed)
    }
    assert without == SHOWN_ELSEWHERE


def _names(command: Any, prefix: str = "") -> Iterator[str]:
    """The names of the commands of a group, such as `org create`."""
    for name, each in command.commands.items():
        if isinstance(each, TyperGroup):
            yield from _names(each, f"{prefix}{name} ")
        else:
            yield prefix + name


def _is(name: str, command: Sequence[str]) -> bool:
    words = name.split()
    return list(command[: len(words)]) == words


async def _printed(*command: str, **settings: str) -> str:
    """The command's output, its messages and its exit status, without what varies between runs."""
    done = await callfold(*command, **settings)
    text = "\n".join(filter(None, [done.output, done.errors, done.failure and f"Error: {done.failure}"]))
    return f"$ callfold {' '.join(command)}\n{steady(text)}\nexit status {done.status}"
