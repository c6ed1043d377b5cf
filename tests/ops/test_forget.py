"""Erasure of a person: every call from or to a number is deleted. Other places with the number are
reported."""

import asyncio
from uuid import UUID

import pytest

from services.ops.commands import forget as command
from services.ops.commands.forget import NOT_SEARCHED
from services.ops.proof.proof import prove
from shared.database import roles
from shared.database.connection import Connection
from shared.store.quarantine import BadRecord, write_quarantine
from tests.support import seed
from tests.support.command_line import Done, callfold
from tests.support.events import NOON, value
from tests.support.processes import until
from tests.support.roles import as_role
from tests.support.storing import record, waits_for_a_lock

NUMBER, OTHER = "+441632960011", "+441632960022"


@pytest.fixture
async def acme(database: Connection) -> seed.Tenant:
    return await seed.tenant(database, "Europe/London")


async def forget(database_url: str, tenant: seed.Tenant, *options: str) -> Done:
    where = {"database_url": as_role(database_url, roles.OPERATOR)}
    return await callfold("forget", "--organization", tenant.id, *options, **where)


async def numbers(database: Connection) -> list[tuple[str | None, str | None]]:
    rows = await database.fetch("SELECT from_number, to_number FROM calls ORDER BY created_at, id")
    return [(row["from_number"], row["to_number"]) for row in rows]


async def test_calls_from_and_to_the_number_are_deleted_in_one_organization_only(
    database: Connection, database_url: str, acme: seed.Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "CHUNK_CALLS", 2)
    stranger = await seed.tenant(database)
    for n in range(3):
        await seed.call(database, acme, from_number=NUMBER, to_number=OTHER, applied=n == 1)
    await seed.call(database, acme, from_number=OTHER, to_number=NUMBER, livemode=False)
    await seed.call(database, acme, from_number=NUMBER, to_number=NUMBER)
    await seed.call(database, acme, from_number=OTHER, to_number=OTHER)
    await seed.call(database, acme)
    await seed.call(database, stranger, from_number=NUMBER)
    would = await forget(database_url, acme, "--number", NUMBER, "--dry-run", "--json")
    assert (would.status, would.json["calls_found"], would.json["calls_deleted"]) == (0, 5, 0)
    assert len({call["id"] for call in would.json["calls"]}) == 5
    assert len(await numbers(database)) == 8
    told = await forget(database_url, acme, "--number", NUMBER)
    assert (told.status, told.output) == (0, f"5 calls deleted.\n{NOT_SEARCHED}\n")
    assert (await numbers(database)).count((NUMBER, None)) == 1, "the stranger's"
    assert len(await numbers(database)) == 3
    proof = await prove(database_url)
    assert (proof.exact, proof.tombstones) == (True, 5)
    log = await database.fetch("SELECT action, subject, details FROM audit_log ORDER BY at")
    assert [row["action"] for row in log] == [
        "calls of a number deleted: begun",
        *["call deleted"] * 5,
        "calls of a number deleted",
    ]
    assert log[-1]["details"] == "5 calls, 0 quarantined records"
    assert NUMBER not in str(log)
    again = await forget(database_url, acme, "--number", NUMBER, "--json")
    assert (again.status, again.json["calls_deleted"]) == (0, 0)


SAME = [
    "441632960011",
    "00441632960011",
    "+44 (1632) 960-011",
    "+44\u00a01632\u2009960011",
    "tel:+44-1632-960011",
    "sip:+441632960011@pbx.example",
    '"Fiona" <sip:441632960011@192.0.2.1;user=phone>',
]
DIFFERENT = ["+4416329600110", "+1441632960011", "1632960011", "anonymous", "+441632960012"]


async def test_other_spellings_are_reported_and_deleted_on_request(
    database: Connection, database_url: str, acme: seed.Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "SCANNED_CALLS", 3)
    for spelling in [*SAME, *DIFFERENT, SAME[0]]:
        await seed.call(database, acme, from_number=spelling, to_number=OTHER)
    told = await forget(database_url, acme, "--number", NUMBER, "--json")
    assert (told.status, told.json["calls_deleted"]) == (0, 0)
    assert told.json["other_spellings"] == dict.fromkeys(SAME, 1) | {SAME[0]: 2}
    said = await forget(database_url, acme, "--number", NUMBER)
    assert "1 call with the spelling tel:+44-1632-960011 kept: --other-spellings deletes them." in said.output
    done = await forget(database_url, acme, "--number", NUMBER, "--other-spellings", "--json")
    assert (done.status, done.json["calls_deleted"]) == (0, len(SAME) + 1)
    assert sorted(number for number, _ in await numbers(database) if number) == sorted(DIFFERENT)
    assert (await prove(database_url)).exact


async def test_a_short_number_has_no_other_spellings(
    database: Connection, database_url: str, acme: seed.Tenant
) -> None:
    await seed.call(database, acme, from_number="sip:100@pbx.example")
    told = await forget(database_url, acme, "--number", "100", "--number", "anonymous", "--json")
    assert (told.json["calls_deleted"], told.json["other_spellings"]) == (0, {})


async def test_quarantined_records_are_reported_and_removed_on_request(
    database: Connection, database_url: str, acme: seed.Tenant
) -> None:
    stranger = await seed.tenant(database)
    bad = [
        value("call.updated", organization_id=acme.id, timestamp="soon", from_number=NUMBER),
        value("call.updated", organization_id=str(acme.id).upper(), timestamp="soon", note=f"of {NUMBER}"),
        value("call.updated", organization_id=acme.id, timestamp="soon", from_number=OTHER),
        value("call.updated", organization_id=stranger.id, timestamp="soon", from_number=NUMBER),
        None,
    ]
    records = [BadRecord(record(body, offset=n), "not an event") for n, body in enumerate(bad)]
    await write_quarantine(database, records, NOON)
    told = await forget(database_url, acme, "--number", NUMBER)
    assert "2 quarantined records have the number: --quarantine removes them." in told.output
    assert await database.fetchval("SELECT count(*) FROM quarantined_records") == 5
    would = await forget(database_url, acme, "--number", NUMBER, "--quarantine", "--dry-run")
    assert "2 quarantined records would be removed." in would.output
    done = await forget(database_url, acme, "--number", NUMBER, "--quarantine", "--json")
    assert (done.json["quarantined_found"], done.json["quarantined_removed"]) == (2, 2)
    left = await database.fetch('SELECT "offset" FROM quarantined_records ORDER BY "offset"')
    assert [row["offset"] for row in left] == [2, 3, 4]


async def test_the_deletion_waits_for_a_call_that_ingest_is_writing(
    database: Connection, rival: Connection, database_url: str, acme: seed.Tenant
) -> None:
    call_id = await seed.call(database, acme, from_number=NUMBER)
    writing = rival.transaction()
    await writing.start()
    await rival.execute("UPDATE calls SET revision = revision + 1 WHERE id = $1", call_id)
    forgetting = asyncio.create_task(forget(database_url, acme, "--number", NUMBER, "--json"))
    await until(lambda: waits_for_a_lock(rival), "the deletion to wait")
    await writing.commit()
    done = await forgetting
    assert (done.status, done.json["calls_deleted"]) == (0, 1)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--number", " "), "--number must have 1 to 256 characters."),
        (("--number", "x" * 257), "--number must have 1 to 256 characters."),
    ],
)
async def test_an_invalid_number_is_reported(
    database_url: str, database: Connection, acme: seed.Tenant, options: tuple[str, ...], sentence: str
) -> None:
    told = await forget(database_url, acme, *options)
    assert (told.status, told.failure) == (1, sentence)


async def test_an_unknown_organization_is_reported(database_url: str, database: Connection) -> None:
    nobody = UUID(int=7)
    told = await callfold("forget", "--organization", nobody, "--number", NUMBER, database_url=database_url)
    assert told.failure.startswith(f"There is no organization {nobody}. ")


async def test_each_of_the_two_numbers_is_found_by_an_index(database: Connection, acme: seed.Tenant) -> None:
    plan = await database.fetch(f"EXPLAIN {command._CALLS}", acme.id, [NUMBER], None, 500)
    text = "\n".join(line for (line,) in plan)
    assert "calls_newest_of_from_number_idx" in text
    assert "calls_newest_of_to_number_idx" in text
