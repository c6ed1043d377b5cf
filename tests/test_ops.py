"""The operator's commands: organizations, keys, verify, lag, migrate; and what they say to what can't be."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from typer.testing import CliRunner

from services.ingest.store import Arrival, store
from services.ops.failure import Failure
from services.ops.lag import PartitionLag, consumer_lag
from services.ops.main import app
from shared.credentials import key_hash, key_livemode
from shared.database import Connection
from tests.events import ORGANIZATION, event
from tests.processes import publish

NOBODY = UUID("0b6cf1f4-6d2e-4a3b-9b3e-2f7c5a1d8e90")
NOTHING_LISTENS = "127.0.0.1:1"


@dataclass(frozen=True)
class Done:
    """What a command printed, and its exit status. An expected fault is `failure`, and status 1."""

    status: int
    output: str
    failure: str

    @property
    def json(self) -> Any:
        """The output, which must be JSON and nothing else."""
        return json.loads(self.output)


async def _callfold(*arguments: str | UUID, **settings: str) -> Done:
    environment = {f"CALLFOLD_{name.upper()}": value for name, value in settings.items()}
    result = await asyncio.to_thread(
        CliRunner().invoke, app, [str(argument) for argument in arguments], env=environment
    )
    if result.exception is not None and not isinstance(result.exception, Failure | SystemExit):
        raise result.exception
    failure = str(result.exception) if isinstance(result.exception, Failure) else ""
    return Done(result.exit_code, result.stdout, failure)


@pytest.fixture(autouse=True)
def _no_stack_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CALLFOLD_DATABASE_URL", raising=False)
    monkeypatch.delenv("CALLFOLD_KAFKA_BOOTSTRAP", raising=False)


@pytest.fixture
async def organization(database: Connection) -> UUID:
    """An organization that is there."""
    await database.execute("INSERT INTO organizations (id, name) VALUES ($1, 'Ärzte am Platz')", ORGANIZATION)
    return ORGANIZATION


async def test_an_organization_is_created_and_listed(database_url: str) -> None:
    id = uuid4()
    made = (
        await _callfold(
            "org",
            "create",
            " Ärzte am Platz ",
            "--id",
            id,
            "--time-zone",
            "America/St_Johns",
            "--json",
            database_url=database_url,
        )
    ).json
    assert made == {
        "id": str(id),
        "name": "Ärzte am Platz",
        "time_zone": "America/St_Johns",
        "retention_days": None,
        "created_at": made["created_at"],
    }
    plain = await _callfold("org", "create", "Second", database_url=database_url)
    assert "with days in UTC" in plain.output
    first, second = (await _callfold("org", "list", "--json", database_url=database_url)).json
    assert first == made
    assert second["name"] == "Second"
    listed = await _callfold("org", "list", database_url=database_url)
    assert str(id) in listed.output
    assert second["id"] in listed.output
    assert second["id"] in plain.output


@pytest.mark.parametrize("livemode", [True, False])
async def test_a_key_is_shown_once_and_only_its_hash_is_kept(
    database_url: str, database: Connection, organization: UUID, livemode: bool
) -> None:
    more = () if livemode else ("--test",)
    made = (
        await _callfold(
            "key",
            "create",
            "--organization",
            organization,
            "--name",
            "CRM",
            *more,
            "--json",
            database_url=database_url,
        )
    ).json
    assert list(made) == ["key", "id", "organization_id", "livemode", "name", "hint", "created_at"]
    assert key_livemode(made["key"]) is livemode is made["livemode"]
    row = await database.fetchrow("SELECT * FROM api_keys")
    assert row is not None
    assert row["key_hash"] == key_hash(made["key"])
    assert made["key"] not in str(dict(row))
    listed = await _callfold("key", "list", "--organization", organization, database_url=database_url)
    assert made["key"] not in listed.output
    assert made["hint"] in listed.output
    (key,) = (
        await _callfold("key", "list", "--organization", organization, "--json", database_url=database_url)
    ).json
    assert key == {name: value for name, value in made.items() if name != "key"} | {"revoked_at": None}


@pytest.mark.parametrize("by", ["id", "key"])
async def test_a_key_is_revoked_by_its_id_or_by_itself(
    database_url: str, database: Connection, organization: UUID, by: str
) -> None:
    made, other = [
        (
            await _callfold(
                "key", "create", "--organization", organization, "--json", database_url=database_url
            )
        ).json
        for _ in range(2)
    ]
    done = await _callfold("key", "revoke", made[by], "--json", database_url=database_url)
    assert done.json["id"] == made["id"]
    assert done.json["revoked_at"] is not None
    revoked = await database.fetch("SELECT id FROM api_keys WHERE revoked_at IS NOT NULL")
    assert [str(row["id"]) for row in revoked] == [made["id"]]
    again = await _callfold("key", "revoke", made[by], database_url=database_url)
    assert again.status == 1
    assert "was revoked before" in again.failure
    foreign = await _callfold("key", "revoke", other[by], "--organization", NOBODY, database_url=database_url)
    assert foreign.failure.startswith("There is no such key")


WRONG: dict[str, tuple[tuple[str | UUID, ...], str]] = {
    "lower-case zone": (
        ("org", "create", "A", "--time-zone", "europe/berlin"),
        "did you mean Europe/Berlin?",
    ),
    "not a zone": (("org", "create", "A", "--time-zone", "posixrules"), "There is no time zone 'posixrules'"),
    "a file beside the zones": (("org", "create", "A", "--time-zone", "localtime"), "There is no time zone"),
    "an offset": (("org", "create", "A", "--time-zone", "+02:00"), "There is no time zone"),
    "a path": (("org", "create", "A", "--time-zone", "../../etc/passwd"), "There is no time zone"),
    "no name": (("org", "create", "  "), "A name must have 1 to 200 printable letters."),
    "a long name": (("org", "create", "A" * 201), "A name must have 1 to 200 printable letters."),
    "a line break in a name": (("org", "create", "A\nB"), "A name must have 1 to 200 printable letters."),
    "half of a letter in a name": (
        ("org", "create", "A\udc80"),
        "A name must have 1 to 200 printable letters.",
    ),
    "id of no form": (("org", "create", "A", "--id", "7"), "--id must be a UUID"),
    "id taken": (("org", "create", "A", "--id", ORGANIZATION), f"an organization {ORGANIZATION} already"),
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
async def test_what_is_wrong_is_one_sentence(database_url: str, organization: UUID, case: str) -> None:
    arguments, sentence = WRONG[case]
    done = await _callfold(*arguments, database_url=database_url)
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
        (lambda url: url.rpartition("/")[0] + "/postgres", "`callfold migrate` brings it up to date"),
        (lambda url: url.replace("postgres@", "nobody:secret@"), "PostgreSQL refuses the connection"),
        (lambda _: "postgresql://[/callfold", "CALLFOLD_DATABASE_URL can't be used"),
        (lambda _: "mysql://nobody:secret@127.0.0.1/callfold", "CALLFOLD_DATABASE_URL can't be used"),
    ],
    ids=["away", "no database", "not migrated", "refused", "malformed", "of another kind"],
)
async def test_a_database_that_is_not_there(
    database_url: str, command: tuple[str | UUID, ...], address: Callable[[str], str], sentence: str
) -> None:
    done = await _callfold(*command, database_url=address(database_url), kafka_bootstrap=NOTHING_LISTENS)
    assert done.status == 1
    assert sentence in done.failure
    assert "secret" not in done.failure
    assert done.output == ""


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(map(str, command[:2])))
async def test_without_any_address_it_says_how_to_name_one(command: tuple[str | UUID, ...]) -> None:
    done = await _callfold(*command)
    assert "--state" in done.failure
    assert "CALLFOLD_DATABASE_URL and CALLFOLD_KAFKA_BOOTSTRAP" in done.failure


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
    assert line.startswith("Error: PostgreSQL can't be reached at callfold on 127.0.0.1:1")


async def test_a_use_that_is_wrong_is_exit_status_2(database_url: str) -> None:
    for arguments in [("key", "create"), ("org", "create"), ("verify", "--jsn"), ("org", "crate")]:
        assert (await _callfold(*arguments, database_url=database_url)).status == 2


async def test_migrate_makes_a_database_usable_and_can_run_again(
    database_url: str, database: Connection
) -> None:
    name = f"empty_{uuid4().hex}"
    await database.execute(f"CREATE DATABASE {name}")
    empty = f"{database_url.rpartition('/')[0]}/{name}"
    try:
        for _ in range(2):
            assert "up to date" in (await _callfold("migrate", database_url=empty)).output
        assert (await _callfold("verify", "--json", database_url=empty)).json["exact"] is True
    finally:
        await database.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def test_verify_says_what_is_exact_and_what_is_not(database_url: str, database: Connection) -> None:
    events = [event("call.initiated", id="evt_1"), event("call.completed", id="evt_2", duration=7)]
    await store(database, [Arrival(None, one) for one in events], [])
    exact = await _callfold("verify", "--json", database_url=database_url)
    assert exact.status == 0
    assert exact.json == {
        "exact": True,
        "snapshot": exact.json["snapshot"],
        "cells": 1,
        "calls": 1,
        "events": 2,
        "deltas": 1,
        "tombstones": 0,
        "differences_found": 0,
        "differences": [],
    }
    assert "EXACT" in (await _callfold("verify", database_url=database_url)).output
    await database.execute("UPDATE calls SET duration = 8, cost = 0.5")
    off = await _callfold("verify", "--json", "--organization", ORGANIZATION, database_url=database_url)
    assert off.status == 1
    cell, call = off.json["differences"]
    assert (cell["kind"], cell["stored"]["duration_seconds"], cell["expected"]["duration_seconds"]) == (
        "cell",
        7,
        8,
    )
    assert (call["kind"], call["stored"], call["expected"]) == (
        "call",
        {"duration": 8, "cost": 0.5},
        {"duration": 7, "cost": None},
    )
    told = await _callfold("verify", database_url=database_url)
    assert told.status == 1
    assert "NOT EXACT: 2 differences" in told.output
    assert "duration is 8, must be 7, cost is 0.5000, must be None" in told.output


async def test_verify_prints_some_of_many_differences_and_how_many_more(
    database_url: str, database: Connection
) -> None:
    many = [event("call.initiated", call_id=UUID(int=n + 1)) for n in range(40)]
    await store(database, [Arrival(None, one) for one in many], [])
    await database.execute("UPDATE calls SET hangup_cause = 'NONE'")
    told = await _callfold("verify", database_url=database_url)
    assert "NOT EXACT: 40 differences" in told.output
    assert "and 15 more" in told.output


async def test_lag_counts_from_the_commit_or_from_the_beginning(
    bootstrap: str, topic: str, database_url: str, database: Connection
) -> None:
    group = f"group-{uuid4().hex}"
    await publish(bootstrap, topic, [(bytes([n]), b"{}", ()) for n in range(100)])
    before = await consumer_lag(bootstrap, topic, group)
    assert [one.partition for one in before] == [0, 1, 2, 3]
    assert sum(one.lag for one in before) == 100
    assert all(one.committed == 0 and one.lag == one.end > 5 for one in before)
    await _commit(bootstrap, group, {TopicPartition(topic, 1): 5, TopicPartition(topic, 3): before[3].end})
    after = await consumer_lag(bootstrap, topic, group)
    assert after[0] == before[0]
    assert after[1] == PartitionLag(1, 5, before[1].end, before[1].end - 5)
    assert after[3].lag == 0
    await store(database, [Arrival(None, event("call.initiated"))], [])
    settings = {
        "database_url": database_url,
        "kafka_bootstrap": bootstrap,
        "topic": topic,
        "consumer_group": group,
    }
    found = (await _callfold("lag", "--json", **settings)).json
    assert found["consumer_lag"] == sum(one.lag for one in after)
    assert found["partitions"][1] == {
        "partition": 1,
        "committed": 5,
        "end": after[1].end,
        "lag": after[1].lag,
    }
    assert found["deltas"] == 1
    assert 0 <= found["oldest_delta_seconds"] < 60
    plain = await _callfold("lag", **settings)
    assert f"{found['consumer_lag']:,} records wait to be consumed." in plain.output
    await database.execute("DELETE FROM daily_call_deltas")
    assert (await _callfold("lag", "--json", **settings)).json["oldest_delta_seconds"] is None


async def test_lag_says_when_kafka_or_its_topic_is_not_there(bootstrap: str, database_url: str) -> None:
    away = await _callfold("lag", database_url=database_url, kafka_bootstrap=NOTHING_LISTENS)
    assert away.failure.startswith(f"Kafka can't be used at {NOTHING_LISTENS}")
    without = await _callfold("lag", database_url=database_url, kafka_bootstrap=bootstrap, topic="nowhere")
    assert without.failure.startswith("Kafka has no topic nowhere")
    half = await _callfold("lag", database_url=database_url)
    assert half.failure == (
        "CALLFOLD_DATABASE_URL is set and CALLFOLD_KAFKA_BOOTSTRAP is not: set both, or neither."
    )


async def _commit(bootstrap: str, group: str, offsets: dict[TopicPartition, int]) -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign(list(offsets))
        await consumer.commit(offsets)
    finally:
        await consumer.stop()
