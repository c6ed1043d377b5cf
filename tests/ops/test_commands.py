"""The operator's commands: organizations, keys, verify, lag, migrate."""

import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from services.ops.commands.key import read_expiry
from services.ops.pipeline_lag import PartitionLag, consumer_lag
from services.ops.terminal.operator import operator
from shared.api_keys import key_hash, key_livemode
from shared.calls.zones import RULES_VERSION, time_zone, zone_rules
from shared.database.connection import Connection
from tests.support.command_line import callfold
from tests.support.events import NOON, ORGANIZATION, event
from tests.support.processes import publish
from tests.support.storing import store

NOBODY = UUID("0b6cf1f4-6d2e-4a3b-9b3e-2f7c5a1d8e90")


@pytest.fixture
async def organization(database: Connection) -> UUID:
    """An organization."""
    await database.execute("INSERT INTO organizations (id, name) VALUES ($1, 'Ärzte am Platz')", ORGANIZATION)
    return ORGANIZATION


async def test_an_organization_is_created_and_listed(database_url: str) -> None:
    id = uuid4()
    made = (
        await callfold(
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
        "plan": "unlimited",
        "created_at": made["created_at"],
        "zone_rules": zone_rules("America/St_Johns"),
    }
    plain = await callfold("org", "create", "Second", database_url=database_url)
    assert "time zone UTC" in plain.output
    first, second = (await callfold("org", "list", "--json", database_url=database_url)).json
    assert first == made
    assert second["name"] == "Second"
    listed = await callfold("org", "list", database_url=database_url)
    assert str(id) in listed.output
    assert second["id"] in listed.output
    assert second["id"] in plain.output


@pytest.mark.parametrize("livemode", [True, False])
async def test_a_key_is_shown_once_and_only_its_hash_is_stored(
    database_url: str, database: Connection, organization: UUID, livemode: bool
) -> None:
    more = () if livemode else ("--test",)
    made = (
        await callfold(
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
    assert list(made) == [
        "key",
        "id",
        "organization_id",
        "livemode",
        "name",
        "hint",
        "created_at",
        "scopes",
        "expires_at",
        "allowed_networks",
    ]
    assert key_livemode(made["key"]) is livemode is made["livemode"]
    row = await database.fetchrow("SELECT * FROM api_keys")
    assert row is not None
    assert row["key_hash"] == key_hash(made["key"])
    assert made["key"] not in str(dict(row))
    listed = await callfold("key", "list", "--organization", organization, database_url=database_url)
    assert made["key"] not in listed.output
    assert made["hint"] in listed.output
    (key,) = (
        await callfold("key", "list", "--organization", organization, "--json", database_url=database_url)
    ).json
    assert key == {name: value for name, value in made.items() if name != "key"} | {
        "revoked_at": None,
        "last_used_at": None,
    }


async def test_standard_output_has_the_key_alone(database_url: str, organization: UUID) -> None:
    created = await callfold("key", "create", "--organization", organization, database_url=database_url)
    assert key_livemode(created.output.removesuffix("\n")) is True
    assert "Store the key now" in created.errors


async def test_a_key_is_created_with_scopes_expiry_and_networks(
    database_url: str, database: Connection, organization: UUID
) -> None:
    await database.execute("UPDATE organizations SET time_zone = 'America/St_Johns'")
    options = {
        "--scope": ["analytics:read", "calls:read"],
        "--expires": ["2199-12-31"],
        "--network": ["203.0.113.0/24", "2001:db8::1"],
    }
    given = [word for option, values in options.items() for value in values for word in (option, value)]
    create = ("key", "create", "--organization", organization)

    made = (await callfold(*create, *given, "--json", database_url=database_url)).json

    assert made["scopes"] == ["calls:read", "analytics:read"]
    assert made["expires_at"] == "2200-01-01T03:30:00Z"
    assert made["allowed_networks"] == ["203.0.113.0/24", "2001:db8::1/128"]
    listed = (await callfold("key", "list", "--organization", organization, database_url=database_url)).output
    for shown in ("calls:read, analytics:read", "2200-01-01 03:30", "203.0.113.0/24, 2001:db8::1/128"):
        assert shown in listed


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        (
            "--scope",
            "calls",
            "--scope must be one of calls:read, calls:write, analytics:read, webhooks:write, not 'calls'.",
        ),
        ("--expires", "tomorrow", "--expires must be a day such as 2027-01-31"),
        ("--expires", "2199-12-31T10:00", "--expires must be a day such as 2027-01-31"),
        ("--expires", "99999999d", "--expires must be a day such as 2027-01-31"),
        ("--expires", "2020-01-01", "--expires must be in the future, not 2020-01-01."),
        ("--expires", "0d", "--expires must be in the future, not 0d."),
        ("--network", "office", "--network must be a network such as 203.0.113.0/24: 'office'"),
        ("--network", "203.0.113.1/24", "203.0.113.1/24 has host bits set."),
    ],
)
async def test_an_invalid_option_of_a_key_is_reported(
    database_url: str, organization: UUID, option: str, value: str, sentence: str
) -> None:
    create = ("key", "create", "--organization", organization)

    done = await callfold(*create, option, value, database_url=database_url)

    assert done.status == 1
    assert sentence in done.failure


def test_the_expiry_of_a_key_is_parsed() -> None:
    now, berlin = datetime(2026, 11, 24, 12, tzinfo=UTC), time_zone("Europe/Berlin")
    expected = {
        "90d": datetime(2027, 2, 22, 12, tzinfo=UTC),
        "2026-11-24": datetime(2026, 11, 24, 23, tzinfo=UTC),
        "2027-03-28": datetime(2027, 3, 28, 22, tzinfo=UTC),
        "2026-11-24T13:00:01+01:00": datetime(2026, 11, 24, 12, 0, 1, tzinfo=UTC),
    }

    assert {text: read_expiry(text, now, berlin) for text in expected} == expected


@pytest.mark.parametrize("by", ["id", "key"])
async def test_a_key_is_revoked_by_its_id_or_by_the_key(
    database_url: str, database: Connection, organization: UUID, by: str
) -> None:
    made, other = [
        (
            await callfold(
                "key", "create", "--organization", organization, "--json", database_url=database_url
            )
        ).json
        for _ in range(2)
    ]
    done = await callfold("key", "revoke", made[by], "--json", database_url=database_url)
    assert done.json["id"] == made["id"]
    assert done.json["revoked_at"] is not None
    revoked = await database.fetch("SELECT id FROM api_keys WHERE revoked_at IS NOT NULL")
    assert [str(row["id"]) for row in revoked] == [made["id"]]
    again = await callfold("key", "revoke", made[by], database_url=database_url)
    assert again.status == 1
    assert "was already revoked at" in again.failure
    foreign = await callfold("key", "revoke", other[by], "--organization", NOBODY, database_url=database_url)
    assert foreign.failure.startswith("There is no such key")


async def test_organizations_and_keys_leave_audit_lines_without_the_key(
    database_url: str, database: Connection
) -> None:
    async def done(*arguments: str | UUID) -> Any:
        return (await callfold(*arguments, "--json", database_url=database_url)).json

    acme = (await done("org", "create", "Acme"))["id"]
    key = await done("key", "create", "--organization", acme, "--test", "--scope", "calls:read")
    await done("key", "revoke", key["id"])

    lines = await database.fetch("SELECT * FROM audit_log ORDER BY at")
    assert {(str(line["organization_id"]), line["actor"]) for line in lines} == {(acme, operator())}
    assert [(line["action"], line["subject"], line["details"]) for line in lines] == [
        ("organization created", acme, "Acme"),
        ("key created", key["id"], "test calls, scopes: calls:read"),
        ("key revoked", key["id"], ""),
    ]
    assert key["key"] not in str(lines)
    assert key["hint"] not in str(lines)


async def test_a_refused_command_leaves_no_audit_line(
    database_url: str, database: Connection, organization: UUID
) -> None:
    for refused in (
        ("org", "create", "Acme", "--id", organization),
        ("key", "create", "--organization", NOBODY),
        ("key", "revoke", NOBODY),
    ):
        assert (await callfold(*refused, database_url=database_url)).status == 1

    assert await database.fetchval("SELECT count(*) FROM audit_log") == 0


@pytest.mark.parametrize(
    "command", [(), ("up",), ("demo",), ("verify",), ("org",), ("org", "create"), ("key", "revoke")]
)
async def test_help_shows_flags_and_arguments_plainly(command: tuple[str, ...]) -> None:
    short, long = await callfold(*command, "-h"), await callfold(*command, "--help")
    assert (short.status, short.output) == (0, long.output)
    assert "Usage:" in short.output
    assert "<bool>" not in short.output
    assert "{" not in short.output


async def test_it_prints_its_version() -> None:
    assert (await callfold("--version")).output == f"callfold {version('callfold')}\n"


async def test_migrate_makes_a_database_usable_and_can_run_again(
    database_url: str, database: Connection
) -> None:
    name = f"empty_{uuid4().hex}"
    await database.execute(f"CREATE DATABASE {name}")
    empty = f"{database_url.rpartition('/')[0]}/{name}"
    try:
        for _ in range(2):
            assert "up to date" in (await callfold("migrate", database_url=empty)).output
        assert (await callfold("verify", "--json", database_url=empty)).json["exact"] is True
    finally:
        await database.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def test_verify_reports_exact_tables_and_each_difference(
    database_url: str, database: Connection
) -> None:
    events = [event("call.initiated", id="evt_1"), event("call.completed", id="evt_2", duration=7)]
    await store(database, [(None, one) for one in events], [], now=NOON)
    exact = await callfold("verify", "--json", database_url=database_url)
    assert exact.status == 0
    assert exact.json == {
        "exact": True,
        "sampled": False,
        "snapshots": 1,
        "snapshot": exact.json["snapshot"],
        "cells": 1,
        "calls": 1,
        "events": 2,
        "deltas": 1,
        "tombstones": 0,
        "folded_by_older_laws": 0,
        "differences_found": 0,
        "differences": [],
        "time_zone_rules": RULES_VERSION,
        "placed_by_other_rules": 0,
        "organizations_placed_by_other_rules": [],
    }
    assert "EXACT" in (await callfold("verify", database_url=database_url)).output
    await database.execute("UPDATE calls SET duration = 8, cost = 0.5")
    off = await callfold("verify", "--json", "--organization", ORGANIZATION, database_url=database_url)
    assert off.status == 1
    call, cell, total = off.json["differences"]
    assert (cell["cell"]["phone_number_id"], total["cell"]["phone_number_id"]) == (str(UUID(int=0)), None)
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
    told = await callfold("verify", database_url=database_url)
    assert told.status == 1
    assert "NOT EXACT: 3 differences" in told.output
    assert "duration is 8, must be 7, cost is 0.5000, must be None" in told.output


async def test_verify_prints_some_of_many_differences_and_the_number_of_others(
    database_url: str, database: Connection
) -> None:
    many = [event("call.initiated", call_id=UUID(int=n + 1)) for n in range(40)]
    await store(database, [(None, one) for one in many], [], now=NOON)
    await database.execute("UPDATE calls SET hangup_cause = 'NONE'")
    told = await callfold("verify", database_url=database_url)
    assert "NOT EXACT: 40 differences." in told.output
    assert "… and 15 more: --json lists all 40." in told.output
    assert "             1 cell: counts + 1 waiting delta = recount of the calls" in told.output


async def test_verify_prints_some_calls_and_then_some_cells(database_url: str, database: Connection) -> None:
    many = [
        event("call.initiated", call_id=UUID(int=n + 1), timestamp=f"2026-11-24T10:{n:02}:00Z")
        for n in range(40)
    ]
    await store(database, [(None, one) for one in many], [], now=NOON)
    await database.execute(
        "UPDATE calls SET day = day + extract(minute FROM created_at AT TIME ZONE 'UTC')::integer, "
        "version = 2"
    )
    told = await callfold("verify", database_url=database_url)
    lines = told.output.splitlines()
    assert [line.split()[0] for line in lines if line.startswith(("  call ", "  cell "))] == (
        ["call"] * 13 + ["cell"] * 12
    )
    assert "no phone number" in told.output
    await database.execute("UPDATE calls SET day = '2026-11-24', version = 1")
    await database.execute("UPDATE calls SET version = 2 WHERE id = (SELECT id FROM calls LIMIT 1)")
    assert "NOT EXACT: 1 difference.\n" in (await callfold("verify", database_url=database_url)).output


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
    await _commit(bootstrap, group, {TopicPartition(topic, 2): before[2].end + 1})
    assert (await consumer_lag(bootstrap, topic, group))[2] == before[2], "a commit past the end is invalid"
    await store(database, [(None, event("call.initiated"))], [], now=NOON)
    settings = {
        "database_url": database_url,
        "kafka_bootstrap": bootstrap,
        "topic": topic,
        "consumer_group": group,
    }
    found = (await callfold("lag", "--json", **settings)).json
    assert found["consumer_lag"] == sum(one.lag for one in after)
    assert found["partitions"][1] == {
        "partition": 1,
        "committed": 5,
        "end": after[1].end,
        "lag": after[1].lag,
    }
    assert found["deltas"] == 1
    assert 0 <= found["oldest_delta_seconds"] < 60
    plain = await callfold("lag", **settings)
    assert f"{found['consumer_lag']:,} records wait to be consumed." in plain.output
    assert "1 delta waits to be applied, the oldest for " in plain.output
    await database.execute("DELETE FROM daily_call_deltas")
    assert (await callfold("lag", "--json", **settings)).json["oldest_delta_seconds"] is None


@pytest.mark.processes
def test_a_command_imports_no_other_command() -> None:
    code = "import sys; from services.ops.main import app_of; app_of(['lag', '--json']); print(*sys.modules)"
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    commands = "services.ops.commands."
    others = {name for name in imported.split() if name.startswith(commands)} - {f"{commands}lag"}
    assert others <= {f"{commands}command_connection"}
    assert "httpx" not in imported.split()


async def _commit(bootstrap: str, group: str, offsets: dict[TopicPartition, int]) -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign(list(offsets))
        await consumer.commit(offsets)
    finally:
        await consumer.stop()
