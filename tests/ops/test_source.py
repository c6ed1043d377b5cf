"""`callfold source` and `callfold number`: systems are connected, changed and tried; secrets stay secret."""

import json
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import pytest

from services.ops.proof.proof import prove
from shared.database.connection import Connection
from shared.sources.secret_box import SecretBox, new_key
from shared.store.sources import read_sources
from tests.support.command_line import callfold, callfold_reading
from tests.support.events import NOON, ORGANIZATION, event
from tests.support.sources import SAMPLES, SCENARIOS
from tests.support.storing import arrivals, store

SECRET: Final = "whsec-very-secret"
OTHER: Final = UUID("6f1c1f0e-93a5-4f4f-9a53-0d2f0a0a8b01")


@pytest.fixture
async def settings(database: Connection, database_url: str) -> dict[str, str]:
    """The settings of commands. The organization exists."""
    await database.execute("INSERT INTO organizations (id, name) VALUES ($1, 'Acme')", ORGANIZATION)
    return {"database_url": database_url, "secrets_key": new_key()}


async def _create(settings: dict[str, str], *options: str) -> dict[str, Any]:
    done = await callfold(
        "source",
        "create",
        "voice",
        "--dialect",
        "bland",
        "--organization",
        ORGANIZATION,
        "--secret",
        f"webhook_secret={SECRET}",
        *options,
        "--json",
        **settings,
    )
    assert done.status == 0, done.failure
    created: dict[str, Any] = done.json
    return created


async def test_a_source_is_created_with_its_address(settings: dict[str, str]) -> None:
    created = await _create(settings)
    assert created == {
        "id": created["id"],
        "name": "voice",
        "dialect": "bland",
        "hook_path": f"/hooks/{created['id']}",
        "topic": None,
    }


async def test_secrets_are_encrypted_and_never_shown(
    settings: dict[str, str], database: Connection, tmp_path: Path
) -> None:
    (tmp_path / "secret.txt").write_text(f"{SECRET}\n")
    await _create(settings, "--secret", f"webhook_secret=@{tmp_path / 'secret.txt'}")
    rows = await database.fetch("SELECT sources::text, secrets FROM sources")
    assert SECRET not in rows[0][0]
    assert SECRET.encode() not in rows[0][1]
    audit = await database.fetch("SELECT audit_log::text FROM audit_log")
    shown = [
        (await callfold("source", *words, **settings)).output for words in (("list",), ("show", "voice"))
    ]
    assert SECRET not in "".join([*shown, *(row[0] for row in audit)])
    (stored,) = await read_sources(database, SecretBox([settings["secrets_key"]]))
    assert stored.source.secrets == {"webhook_secret": SECRET}
    assert SECRET not in repr(stored)


async def test_a_key_is_replaced(settings: dict[str, str], database: Connection) -> None:
    await _create(settings)
    done = await callfold("source", "new-key")
    new = done.output.strip()
    both = settings | {"secrets_key": f"{new},{settings['secrets_key']}"}
    assert (await callfold("source", "encrypt-again", "--json", **both)).json == {"sources": 1}
    (stored,) = await read_sources(database, SecretBox([new]))
    assert stored.source.secrets == {"webhook_secret": SECRET}
    (locked,) = await read_sources(database, SecretBox([settings["secrets_key"]]))
    assert locked.locked == "No key of CALLFOLD_SECRETS_KEY decrypts the source's secrets."
    refused = await callfold("source", "set", "voice", "--name", "x", **settings)
    assert "cannot be changed: No key of CALLFOLD_SECRETS_KEY" in refused.failure


async def test_a_source_is_changed(settings: dict[str, str], database: Connection) -> None:
    await _create(settings)
    for words in (
        ("set", "voice", "--name", "bots", "--url", "https://hooks.example.com/bland"),
        ("map", "bots", f"a=b={OTHER}"),
        ("map", "bots", "--remove", "a=b"),
        ("disable", "bots"),
    ):
        done = await callfold("source", *words, **settings)
        assert done.status == 0, done.failure
    (stored,) = await read_sources(database, SecretBox([settings["secrets_key"]]))
    assert (stored.source.name, stored.source.url, stored.enabled, dict(stored.source.organizations)) == (
        "bots",
        "https://hooks.example.com/bland",
        False,
        {},
    )
    assert (await callfold("source", "delete", "bots", **settings)).status == 0
    actions = await database.fetch("SELECT action FROM audit_log ORDER BY at, id")
    assert [row[0] for row in actions] == [
        *("source created", "source changed", "source changed", "source changed", "source disabled"),
        "source deleted",
    ]


async def test_an_organization_that_does_not_exist_is_pointed_out(settings: dict[str, str]) -> None:
    done = await callfold(
        *("source", "create", "x", "--dialect", "wazo", "--topic", "t", "--organization", OTHER), **settings
    )
    assert done.status == 0
    assert done.errors == f"Note: there is no organization {OTHER} yet.\n"


async def test_try_shows_the_events_of_samples() -> None:
    files = [str(SAMPLES / "twilio" / f"{name}.json") for name in ("outbound_busy", "dial_action")]
    done = await callfold("source", "try", "--sample", *files)
    busy, ignored = map(json.loads, done.output.splitlines())
    assert (busy["file"], busy["outcome"], busy["reason"], busy["response"]) == (
        files[0],
        "events",
        None,
        None,
    )
    assert [(one["type"], one["data"]["status"]) for one in busy["events"]] == [("call.failed", "busy")]
    assert (ignored["outcome"], ignored["events"], ignored["reason"]) == (
        "ignored",
        [],
        "it is not a status callback",
    )


async def test_try_folds_scenarios_in_any_order() -> None:
    file = str(SCENARIOS / "kamailio_forward_on_busy.json")
    expected = json.loads(Path(file).read_text())["calls"]
    for options in ((), ("--shuffle", "7"), ("--shuffle", "8", "--twice")):
        done = await callfold("source", "try", "--scenario", *options, file)
        calls = json.loads(done.output)["calls"]
        assert [(one["call_id"], one["organization"], one["status"]) for one in calls] == [
            (one["call_id"], one["organization"], one["status"]) for one in expected
        ]


async def test_try_reads_a_bare_body() -> None:
    body = b'{"call_id": "c1", "completed": true, "to": "15550101", "created_at": "2026-11-10T09:00:00Z",'
    body += b'"started_at": "2026-11-10T09:00:05Z", "end_at": "2026-11-10T09:01:05Z", '
    body += b'"corrected_duration": "60"}'
    for options, organization_id in (((), None), (("--organization", ORGANIZATION), str(ORGANIZATION))):
        done = await callfold_reading(body, "source", "try", "--dialect", "bland", *options, "-")
        made = json.loads(done.output)
        assert made["outcome"] == "events", made
        assert {one["organization_id"] for one in made["events"]} == {organization_id}
    assert made["events"][-1]["type"] == "call.completed"
    assert made["events"][-1]["data"]["duration"] == 60


async def test_numbers_are_applied_to_stored_calls(
    settings: dict[str, str], database: Connection, tmp_path: Path
) -> None:
    number_id = uuid4()
    calls = [
        event("call.initiated", id="1", call_id=UUID(int=n + 1), from_number="+4930", to_number=to)
        for n, to in enumerate(("+15550100", "+15550101", "+15550999"))
    ]
    await store(database, arrivals(*calls), [], now=NOON)
    (tmp_path / "numbers.csv").write_text(f"number,id\n+15550100,{number_id}\n+15550101\n")
    done = await callfold(
        *("number", "add", "--organization", ORGANIZATION, "--csv", str(tmp_path / "numbers.csv"), "--apply"),
        "--json",
        **settings,
    )
    assert done.json == {"added": 2, "changed_calls": 2}, done.failure
    rows = await database.fetch("SELECT to_number, phone_number_id, direction FROM calls ORDER BY to_number")
    assert tuple(rows[0]) == ("+15550100", number_id, "inbound")
    assert [row["direction"] for row in rows] == ["inbound", "inbound", None]
    assert rows[1]["phone_number_id"] is not None
    assert rows[2]["phone_number_id"] is None
    proof = await prove(settings["database_url"])
    assert proof.exact, proof.differences
    again = await callfold(
        "number", "add", "--organization", ORGANIZATION, "+15550101", "--apply", "--json", **settings
    )
    assert again.json == {"added": 1, "changed_calls": 0}
