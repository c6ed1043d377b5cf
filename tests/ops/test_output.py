"""The output of each command, at 80 columns and as JSON. A change of wording or layout shows as a difference.

`./check -k test_output --snapshot-update` rewrites tests/ops/__snapshots__/test_output.ambr; review its diff.
"""

import re
from collections.abc import Sequence
from uuid import UUID

import pytest
from syrupy.assertion import SnapshotAssertion

from shared.api_keys import key_hash
from shared.calls.event import Event
from shared.database.connection import Connection
from shared.store.quarantine import BadRecord
from tests.support.command_line import callfold
from tests.support.events import NOON, ORGANIZATION, event, value
from tests.support.pipeline import Pipeline, calls
from tests.support.storing import arrivals, record, store

pytestmark = pytest.mark.long

ACME = str(ORGANIZATION)
OTHER = "6f1c1f0e-93a5-4f4f-9a53-0d2f0a0a8b01"
CALL = "6f1c1f0e-93a5-4f4f-9a53-0d2f0a0a8a02"
KEY = "6f1c1f0e-93a5-4f4f-9a53-0d2f0a0a8c01"
USER = "6f1c1f0e-93a5-4f4f-9a53-0d2f0a0a8d01"
NUMBER = "+493012345"
BAD_RECORDS = [
    BadRecord(record(b"{", offset=1), "the value is not JSON: it ends too early"),
    BadRecord(
        record(value("call.completed", organization_id=OTHER), offset=2),
        f"organization_id: there is no organization {OTHER}",
    ),
]

# Each varies between runs. Its placeholder is as long, so that columns stay where they are.
_VARYING = [
    (re.compile(r"(kros_(?:live|test)_)[\w-]{43}"), lambda m: m[1] + "x" * 43),
    (re.compile(r"(kros_live_)\w\w…\w{4}"), lambda m: m[1] + "xx…xxxx"),
    (
        re.compile(r"\b(?!6f1c1f0e-93a5)[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b"),
        lambda m: re.sub(r"\w", "0", m[0]),
    ),
    (re.compile(r"\btest_[0-9a-f]{32}\b"), lambda m: "test_" + "0" * 32),
    (re.compile(r"\bcall-events-[0-9a-f]{12}\b"), lambda m: "call-events-" + "0" * 12),
    (re.compile(r"127\.0\.0\.1:\d{5}"), lambda m: "127.0.0.1:00000"),
    (
        re.compile(r"\b20\d\d-\d\d-\d\d([T ])\d\d:\d\d(?::\d\d)?(?:\.\d+)?"),
        lambda m: re.sub(r"\d", "0", m[0][:19]),
    ),
    (re.compile(r"\b20\d\d[a-z]\b"), lambda m: "0000a"),
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
    ("member", "add", "--organization", ACME, USER),
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
]

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
    ("member", "remove", "--organization", ACME, OTHER),
    ("quarantine", "show", OTHER),
    (
        "quarantine",
        "redrive",
    ),
    ("forget", "--organization", ACME, "--number", "unknown"),
    ("refold", "--after", "x"),
    ("verify", "--calls", "few"),
    ("replay", "--from", "yesterday"),
    ("replay", "--from-offset", "7"),
    ("replay", "--file", "no-such-file"),
    ("event", "check", "no-such-file"),
]


@pytest.fixture(autouse=True)
def terminal_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, setting in {"TERM": "dumb", "TTY_COMPATIBLE": "1", "COLUMNS": "80"}.items():
        monkeypatch.setenv(name, setting)


@pytest.fixture
async def acme(database: Connection, database_url: str) -> str:
    """The URL of a database. Its organization has a key, a user, a note and three calls, one without an end.

    Two records are in the quarantine. A count and a call were edited by hand.
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
    await database.execute("UPDATE daily_call_deltas SET calls = calls + 1 WHERE status = 'busy'")
    await database.execute("UPDATE calls SET duration = 61 WHERE duration = 60")
    return database_url


def _events() -> list[Event]:
    def of(call: int, type: str, **fields: object) -> Event:
        return event(type, id=f"evt_{call}_{type}", call_id=UUID(int=UUID(CALL).int + call), **fields)

    return [
        of(0, "call.initiated", from_number=NUMBER, direction="inbound"),
        of(0, "call.completed", duration=60, cost=1.25),
        of(1, "call.failed", status="busy", to_number=NUMBER),
        of(2, "call.initiated", duration=-1),
    ]


@pytest.mark.parametrize("form", ["plain", "json"])
@pytest.mark.parametrize("command", OPERATOR_COMMANDS, ids=" ".join)
async def test_a_command_prints(
    acme: str, snapshot: SnapshotAssertion, command: Sequence[str], form: str
) -> None:
    assert await _printed(*command, *(["--json"] if form == "json" else []), database_url=acme) == snapshot


@pytest.mark.parametrize("command", WRONG_COMMANDS, ids=" ".join)
async def test_a_wrong_command_prints(acme: str, snapshot: SnapshotAssertion, command: Sequence[str]) -> None:
    assert await _printed(*command, database_url=acme, kafka_bootstrap="127.0.0.1:1") == snapshot


@pytest.mark.parametrize("form", ["plain", "json"])
@pytest.mark.parametrize("command", ["lag", "topic", "topic --partitions 9", "replay", "replay --dry-run"])
async def test_a_command_on_a_topic_prints(
    pipeline: Pipeline, snapshot: SnapshotAssertion, command: str, form: str
) -> None:
    await pipeline.publish([*calls(1), b"{", None])
    options = ["--json"] if form == "json" else []
    settings = {"database_url": pipeline.database_url, "kafka_bootstrap": pipeline.bootstrap}
    assert await _printed(*command.split(), *options, topic=pipeline.topic, **settings) == snapshot


async def _printed(*command: str, **settings: str) -> str:
    """The command's output, its messages and its exit status, without what varies between runs."""
    done = await callfold(*command, **settings)
    text = "\n".join(filter(None, [done.output, done.errors, done.failure and f"Error: {done.failure}"]))
    for pattern, placeholder in _VARYING:
        text = pattern.sub(placeholder, text)
    lines = "\n".join(line.rstrip() for line in text.splitlines())
    return f"$ callfold {' '.join(command)}\n{lines}\nexit status {done.status}"
