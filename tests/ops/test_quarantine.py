"""The quarantine for an operator: records are listed, shown, retried and discarded."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from services.ops.proof.proof import prove
from services.ops.repair.redrive import Redriven, redrive
from services.ops.terminal.readable import lines_of
from shared.database.connection import Connection
from shared.store.delete import delete
from shared.store.quarantine import BadRecord
from tests.support.command_line import callfold
from tests.support.events import NOON, ORGANIZATION, event, value
from tests.support.ingesting import counted_calls
from tests.support.processes import until
from tests.support.storing import record, store, stored

STRANGER = UUID(int=9)


async def quarantined(
    database: Connection, *values: bytes, reason: str = "the value is not JSON"
) -> list[UUID]:
    """Quarantines records with these values and this reason. Returns their ids."""
    bad = [BadRecord(record(one, offset=n), reason) for n, one in enumerate(values)]
    await store(database, [], bad, now=NOON)
    return [one.id for one in bad]


async def test_it_is_listed_by_age_topic_and_reason(database: Connection, database_url: str) -> None:
    await quarantined(database, b"{", b"[")
    await store(database, [], [BadRecord(record(b"x", offset=9), "id: is missing")], now=NOON)

    async def listed(*options: str) -> Any:
        return (await callfold("quarantine", "list", "--json", *options, database_url=database_url)).json

    assert len(await listed()) == 3
    assert [one["offset"] for one in await listed("--reason", "missing")] == [9]
    assert await listed("--topic", "another") == []
    assert await listed("--older-than-hours", "1") == []
    assert len(await listed("--limit", "1")) == 1
    by_reason = await listed("--by-reason")
    assert [(one["records"], one["reason"]) for one in by_reason] == [
        (2, "the value is not JSON"),
        (1, "id: is missing"),
    ]
    table = await callfold("quarantine", "list", database_url=database_url)
    assert "the value is not JSON" in table.output


async def test_a_record_is_shown_in_readable_form(database: Connection, database_url: str) -> None:
    (id_,) = await quarantined(database, b'{"id": "evt_1", "type": "call.x"}', reason="type: call.x is none")
    shown = (await callfold("quarantine", "show", id_, database_url=database_url)).output
    assert shown.splitlines()[:2] == ["type: call.x is none", "topic topic, partition 0, offset 0"]
    assert '    "id": "evt_1",\n' in shown
    assert "header name:\n  said\n" in shown
    as_json = (await callfold("quarantine", "show", id_, "--json", database_url=database_url)).json
    assert bytes.fromhex(as_json["value"]) == b'{"id": "evt_1", "type": "call.x"}'


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        (None, ["  (null)"]),
        (b"", ["  (empty)"]),
        (b"\x1b[31mred", [r"  \x1b[31mred"]),
        (b"\xff\x00A", ["  000000  ff 00 41                                         ..A"]),
        (b"[" * 100_000, None),
    ],
)
def test_any_bytes_are_readable_and_none_control_the_terminal(
    value: bytes | None, lines: list[str] | None
) -> None:
    shown = lines_of(value)
    assert lines is None or shown == lines
    assert sum(map(len, shown)) < 100_000
    assert all(line.isprintable() for line in shown)


async def test_a_record_that_became_valid_is_accepted_and_counted(
    database: Connection, database_url: str
) -> None:
    """Events of an organization that did not exist, and a record that stays invalid."""
    good = value("call.initiated", organization_id=STRANGER)
    ids = await quarantined(database, good, b"{", reason="organization_id: there is no organization")
    still = await callfold("quarantine", "redrive", "--all", "--json", database_url=database_url)
    assert still.json == {"retried": 2, "accepted": 0, "still_quarantined": 2}
    await database.execute("INSERT INTO organizations (id, name) VALUES ($1, 'Acme')", STRANGER)
    command = ("quarantine", "redrive", "--reason", "no organization", "--json")
    done = await callfold(*command, database_url=database_url)
    assert done.json == {"retried": 1, "accepted": 1, "still_quarantined": 0}
    left = await database.fetch("SELECT id, reason FROM quarantined_records")
    assert [row["id"] for row in left] == [ids[1]]
    assert left[0]["reason"].startswith("the value is not JSON")
    assert await counted_calls(database) == {"initiated": 1}
    assert (await prove(database_url)).exact


async def test_retrying_a_record_that_is_already_stored_changes_nothing(
    database: Connection, database_url: str
) -> None:
    await stored(database, event("call.initiated"))
    ids = await quarantined(database, value("call.initiated"), value("call.initiated"))
    done = await callfold("quarantine", "redrive", *ids, database_url=database_url)
    assert done.output == "2 records retried: 2 accepted, 0 still quarantined.\n"
    assert await counted_calls(database) == {"initiated": 1}
    assert (await prove(database_url)).exact


async def test_a_record_that_postgresql_refuses_stays_and_blocks_no_other(
    database: Connection, database_url: str
) -> None:
    await stored(database, event("call.initiated"))
    await database.execute("ALTER TABLE call_events ADD CHECK (id <> 'never')")
    await quarantined(database, *(value("call.updated", id=one) for one in ("1", "never", "2")))
    done = await callfold("quarantine", "redrive", "--all", "--json", database_url=database_url)
    assert done.json == {"retried": 3, "accepted": 2, "still_quarantined": 1}
    reason = await database.fetchval("SELECT reason FROM quarantined_records")
    assert reason.startswith("PostgreSQL refuses it: ")
    assert (await prove(database_url)).exact


async def test_discarded_records_leave_a_line_in_the_audit_log(
    database: Connection, database_url: str
) -> None:
    reason = "type: secret@example.com is no type"
    first, _ = await quarantined(database, b"{", b"[", reason=reason)
    assert (await callfold("quarantine", "discard", first, database_url=database_url)).output == (
        "1 record discarded.\n"
    )
    log = await database.fetch("SELECT actor, action, subject, details FROM audit_log")
    assert [tuple(row)[1:] for row in log] == [
        ("quarantined record discarded", str(first), "topic/0/0: type")
    ]
    assert log[0]["actor"].startswith("operator ")
    assert await database.fetchval("SELECT count(*) FROM quarantined_records") == 1


async def test_many_are_discarded_in_parts(database: Connection, database_url: str) -> None:
    await quarantined(database, *([b"{"] * 1_200))
    done = await callfold("quarantine", "discard", "--all", "--json", database_url=database_url)
    assert done.json == {"discarded": 1_200}
    assert await database.fetchval("SELECT count(*) FROM quarantined_records") == 0
    assert await database.fetchval("SELECT count(DISTINCT subject) FROM audit_log") == 1_200


async def test_large_records_are_retried_a_few_at_a_time(database: Connection, database_url: str) -> None:
    """All of them are retried."""
    await quarantined(database, *([b"[" * 3_000_000] * 12), b"{")
    done = await callfold("quarantine", "redrive", "--all", "--json", database_url=database_url)
    assert done.json == {"retried": 13, "accepted": 0, "still_quarantined": 13}


async def test_a_record_discarded_during_its_retry_stays_discarded(
    database: Connection, rival: Connection, database_url: str
) -> None:
    await stored(database, event("call.initiated"))
    ids = await quarantined(database, value("call.ringing", id="2"), value("call.answered", id="3"))
    async with rival.transaction():
        await rival.execute("DELETE FROM quarantined_records WHERE id = $1", ids[1])
        trying = asyncio.create_task(redrive(database, ids, NOON))
        waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
        await until(lambda: rival.fetchval(waits), "the redrive to wait for the discard")
    assert await trying == Redriven(retried=1, accepted=1, still_quarantined=0)
    assert await counted_calls(database) == {"ringing": 1}
    assert (await prove(database_url)).exact


@pytest.mark.parametrize("command", ["redrive", "discard"])
@pytest.mark.parametrize("options", [(), ("--all", "--reason", "x")])
async def test_a_selection_of_records_is_required(
    database_url: str, command: str, options: tuple[str, ...]
) -> None:
    done = await callfold("quarantine", command, *options, database_url=database_url)
    assert done.failure == (
        "Choose the records by ids, --reason, --topic or --organization, or use --all alone."
    )


async def test_deletions_are_in_the_audit_log_with_the_call(database: Connection) -> None:
    await stored(database, event("call.initiated"))
    call_id = await database.fetchval("SELECT id FROM calls")
    assert await delete(database, ORGANIZATION, call_id, livemode=True, actor="API key 1")
    assert not await delete(database, ORGANIZATION, call_id, livemode=True, actor="API key 1")
    log = await database.fetchrow("SELECT organization_id, actor, action, subject FROM audit_log")
    assert tuple(log or ()) == (ORGANIZATION, "API key 1", "call deleted", str(call_id))
