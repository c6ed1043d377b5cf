"""No table, including the quarantine, keeps content of a deleted call or content older than the retention."""

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from services.aggregator import quarantine_erasure as chores_of_quarantine
from services.aggregator.chores import do_chores
from services.aggregator.prune import prune
from services.aggregator.quarantine_erasure import place_quarantined, prune_quarantined
from services.ops.proof.proof import prove
from services.ops.repair.redrive import Redriven, redrive
from shared.calls.named_call import SEVERAL_CALLS
from shared.database.connection import Connection
from shared.database.tables import metadata
from shared.settings.aggregator import AggregatorSettings
from shared.store.batch import Overtaken, write
from shared.store.delete import delete
from shared.store.quarantine import BadRecord, hold_calls
from tests.support.command_line import callfold
from tests.support.events import CALL, NOON, ORGANIZATION, event, value
from tests.support.processes import until
from tests.support.storing import arrivals, prepared, record, store, stored, waits_for_a_lock

SECRET = "Fiona Fictional"
OTHER_ORGANIZATION, OTHER_CALL = UUID(int=7), UUID(int=8)
RULE = "type: is not one of call.initiated"


def bad(of: bytes, *, offset: int = 0, produced: datetime | None = NOON) -> BadRecord:
    """A record with this value, whose reason quotes it."""
    one = record(of, offset=offset)
    one.timestamp = -1 if produced is None else int(produced.timestamp() * 1000)
    return BadRecord(one, f"type: {SECRET} is not one of call.initiated", RULE)


def transcript(call_id: UUID = CALL, *, timestamp: datetime = NOON, **fields: Any) -> bytes:
    """A value of an unknown type, with a transcript."""
    return value("call.noted", call_id=call_id, timestamp=timestamp, transcript=SECRET, **fields)


async def quarantined(database: Connection, *records: BadRecord, now: datetime = NOON) -> None:
    await store(database, [], records, now=now)


async def deleted(database: Connection, call_id: UUID = CALL) -> bool:
    return await delete(database, ORGANIZATION, call_id, livemode=True, actor="API key 1")


async def keep(database: Connection, organization_id: UUID, days: int | None) -> None:
    await database.execute(
        "INSERT INTO organizations (id, name, retention_days) VALUES ($1, 'Acme', $2) "
        "ON CONFLICT (id) DO UPDATE SET retention_days = $2",
        organization_id,
        days,
    )


async def where_it_is(database: Connection, secret: str = SECRET) -> Sequence[str]:
    """The tables with a row that contains this text, as text or as bytes."""
    found = []
    for table in metadata.tables:
        rows = await database.fetch(f"SELECT row_to_json(each)::text AS row FROM {table} AS each")  # noqa: S608
        if any(secret in row["row"] or secret.encode().hex() in row["row"] for row in rows):
            found.append(table)
    return found


async def facts(database: Connection) -> list[tuple[Any, ...]]:
    """The remaining fields of each record."""
    rows = await database.fetch(
        'SELECT "offset", key, value, header_names, header_values, reason '
        'FROM quarantined_records ORDER BY "offset"'
    )
    return [tuple(row) for row in rows]


async def as_an_older_version_wrote_them(database: Connection) -> None:
    await database.execute(
        "UPDATE quarantined_records SET organization_id = NULL, call_id = NULL, retained_from = NULL"
    )


async def test_a_delete_takes_the_calls_bad_records_and_no_other(
    database: Connection, database_url: str
) -> None:
    await stored(database, event("call.initiated"), event("call.initiated", call_id=OTHER_CALL))
    await quarantined(database, bad(transcript()), bad(transcript(OTHER_CALL), offset=1))
    assert await where_it_is(database) == ["quarantined_records"]
    assert await deleted(database)
    assert [offset for offset, *_ in await facts(database)] == [1]
    assert await deleted(database, OTHER_CALL)
    assert await where_it_is(database) == []
    assert (await prove(database_url)).exact


async def test_of_a_bad_record_that_comes_after_the_delete_only_the_fact_is_stored(
    database: Connection, database_url: str
) -> None:
    """Including redelivery of a record from before the delete."""
    await stored(database, event("call.initiated"))
    await quarantined(database, bad(transcript()))
    await deleted(database)
    await quarantined(database, bad(transcript()), bad(transcript(), offset=1), bad(b"{", offset=2))
    without = f"{RULE}; stored without content, because its call is deleted"
    assert await facts(database) == [
        (0, None, None, [], [], without),
        (1, None, None, [], [], without),
        (2, b"key", b"{", ["name"], [b"said"], f"type: {SECRET} is not one of call.initiated"),
    ]
    assert (await prove(database_url)).exact


async def test_events_that_are_refused_go_with_their_call(database: Connection) -> None:
    """The organization did not exist when the record arrived. It and its call were created later."""
    refused = event("transcript.ready", id="2", transcript=SECRET)
    await store(database, arrivals(refused), [], now=NOON, create_organizations=False)
    await stored(database, event("call.initiated"))
    assert await where_it_is(database) == ["quarantined_records"]
    await deleted(database)
    assert await where_it_is(database) == []


async def test_one_record_of_several_calls_goes_with_the_first_that_is_deleted(
    database: Connection, database_url: str
) -> None:
    both = b"[%s,%s]" % (transcript(), transcript(OTHER_CALL))
    await stored(database, event("call.initiated"), event("call.initiated", call_id=OTHER_CALL))
    await quarantined(database, bad(both))
    assert await database.fetchval("SELECT call_id FROM quarantined_records") == SEVERAL_CALLS
    await deleted(database, OTHER_CALL)
    await quarantined(database, bad(both))
    assert [row[1:5] for row in await facts(database)] == [(None, None, [], [])]
    assert (await prove(database_url)).exact


async def test_a_record_of_several_organizations_is_stored_without_content(database: Connection) -> None:
    """Neither organization may see or keep content of the other."""
    both = b"[%s,%s]" % (transcript(), transcript(organization_id=OTHER_ORGANIZATION))
    await quarantined(database, bad(both))
    (fact,) = await facts(database)
    assert fact == (
        0,
        None,
        None,
        [],
        [],
        f"{RULE}; stored without content, because it names several organizations",
    )


async def test_a_delete_that_is_under_way_is_waited_for(
    database: Connection, rival: Connection, database_url: str
) -> None:
    await stored(database, event("call.initiated"))
    async with rival.transaction():
        assert await deleted(rival)
        writing = asyncio.create_task(quarantined(database, bad(transcript())))
        await until(lambda: waits_for_a_lock(rival), "the record to wait for the delete")
    await writing
    assert await where_it_is(database) == []
    assert (await prove(database_url)).exact


async def test_a_delete_waits_for_a_bad_record_that_is_being_stored(
    database: Connection, rival: Connection, database_url: str
) -> None:
    await stored(database, event("call.initiated"))
    batch = await prepared(rival)
    async with rival.transaction():
        await write(rival, batch, [bad(transcript())], now=NOON)
        deleting = asyncio.create_task(deleted(database))
        await until(lambda: waits_for_a_lock(rival), "the delete to wait for the record")
    assert await deleting
    assert await where_it_is(database) == []
    assert (await prove(database_url)).exact


async def test_deletes_of_many_calls_race_with_their_bad_records(
    database: Connection, rival: Connection, database_url: str
) -> None:
    """Concurrent batches of bad records of all calls, and one delete after the other. Only the locks separate
    the two: most batches have no event of the calls."""
    calls = [UUID(int=n) for n in range(1, 61)]
    await stored(database, *(event("call.initiated", call_id=call_id) for call_id in calls))

    async def ingest() -> None:
        for n in range(20):
            records = [bad(transcript(call_id), offset=100 * n + i) for i, call_id in enumerate(calls)]
            updated = calls if n % 10 == 9 else []
            events = [event("call.updated", id=f"u{n}", call_id=call_id) for call_id in updated]
            while True:
                try:
                    await store(database, arrivals(*events), records[:: 1 if n % 2 else -1], now=NOON)
                except (Overtaken, asyncpg.DeadlockDetectedError):
                    continue
                break

    async def delete_all() -> None:
        for call_id in calls:
            while True:
                try:
                    assert await deleted(rival, call_id)
                except asyncpg.DeadlockDetectedError:
                    continue
                break

    await asyncio.gather(ingest(), delete_all())
    assert await where_it_is(database) == []
    assert (await prove(database_url)).exact


async def test_a_redrive_that_meets_a_delete(
    database: Connection, rival: Connection, database_url: str
) -> None:
    """The delete came first: the record is gone, and the redrive does not restore it."""
    await stored(database, event("call.initiated"))
    await quarantined(database, bad(transcript()))
    id_ = await database.fetchval("SELECT id FROM quarantined_records")
    async with rival.transaction():
        await deleted(rival)
        trying = asyncio.create_task(redrive(database, [id_], NOON))
        await until(lambda: waits_for_a_lock(rival), "the redrive to wait for the delete")
    assert await trying == Redriven(retried=0, accepted=0, still_quarantined=0)
    assert await where_it_is(database) == []
    assert (await prove(database_url)).exact


async def test_a_fact_without_content_stays_as_it_is_when_it_is_tried_again(
    database: Connection, database_url: str
) -> None:
    await stored(database, event("call.initiated"))
    await deleted(database)
    await quarantined(database, bad(transcript()))
    before = await facts(database)
    done = await callfold("quarantine", "redrive", "--all", "--json", database_url=database_url)
    assert done.json == {"retried": 1, "accepted": 0, "still_quarantined": 1}
    assert await facts(database) == before


@pytest.mark.parametrize(
    ("one", "stays"),
    [
        (bad(transcript(timestamp=NOON - timedelta(days=40))), False),
        (bad(transcript(timestamp=NOON - timedelta(days=29))), True),
        (bad(transcript(timestamp=NOON + timedelta(days=99_999)), produced=NOON), True),
        (bad(transcript()[:-1] + b"\xff", produced=NOON - timedelta(days=40)), True),
        (bad(b"Fiona Fictional", produced=NOON - timedelta(days=40)), False),
        (bad(b"Fiona Fictional", produced=NOON - timedelta(days=29)), True),
        (bad(b"Fiona Fictional", produced=None), True),
    ],
    ids=[
        "an old event",
        "a younger event",
        "an event of the future",
        "a new event in an old record",
        "bytes in an old record",
        "bytes in a younger record",
        "bytes without a time",
    ],
)
async def test_what_is_older_than_is_kept_is_stored_without_content(
    database: Connection, one: BadRecord, stays: bool
) -> None:
    """By the event's own timestamp, otherwise the record's. The shortest retention of all organizations
    applies to records that name no organization."""
    await keep(database, ORGANIZATION, 30)
    await keep(database, OTHER_ORGANIZATION, 365)
    await quarantined(database, one)
    assert await where_it_is(database) == (["quarantined_records"] if stays else [])


async def test_an_event_older_than_is_kept_leaves_a_fact(database: Connection) -> None:
    await keep(database, ORGANIZATION, 30)
    old = event("transcript.ready", timestamp=NOON - timedelta(days=40), transcript=SECRET)
    assert len((await stored(database, old)).refused) == 1
    assert await where_it_is(database) == []
    assert [reason for *_, reason in await facts(database)] == [
        "timestamp: is before 2026-10-25T00:00:00+00:00; older events are not kept; "
        "stored without content, because it is older than the retention"
    ]


async def test_retention_removes_what_has_become_too_old(database: Connection, database_url: str) -> None:
    later = NOON + timedelta(days=31)
    await keep(database, ORGANIZATION, 30)
    await keep(database, OTHER_ORGANIZATION, None)
    await quarantined(
        database,
        bad(transcript(), offset=0),
        bad(transcript(timestamp=NOON - timedelta(days=29), id="2"), offset=1),
        bad(transcript(organization_id=OTHER_ORGANIZATION), offset=2),
        bad(b"no organization", offset=3),
    )
    assert await prune_quarantined(database, NOON) == 0
    soon = NOON + timedelta(days=2)
    assert await prune_quarantined(database, soon, dry_run=True) == 1
    assert await prune_quarantined(database, soon) == 1
    assert [offset for offset, *_ in await facts(database)] == [0, 2, 3]
    assert await prune_quarantined(database, later, organization_id=ORGANIZATION) == 1
    assert await prune_quarantined(database, later, dry_run=True) == 1
    assert await prune_quarantined(database, later) == 1
    assert [offset for offset, *_ in await facts(database)] == [2]
    # Redelivery stores the record without content, and retention removes it in turn.
    await quarantined(database, bad(transcript(), offset=0), now=later)
    assert [row[1:5] for row in await facts(database)][:1] == [(None, None, [], [])]
    assert await prune_quarantined(database, later) == 0
    assert await prune_quarantined(database, later + timedelta(days=31)) == 1
    assert (await prove(database_url)).exact


async def test_who_says_that_records_are_kept_for_ever_loses_none_from_then_on(
    database: Connection, rival: Connection
) -> None:
    await keep(database, ORGANIZATION, 30)
    await quarantined(database, bad(transcript()))
    async with rival.transaction():
        await rival.execute("UPDATE organizations SET retention_days = NULL")
        pruning = asyncio.create_task(prune_quarantined(database, NOON + timedelta(days=99)))
        await until(lambda: waits_for_a_lock(rival), "the prune to wait for the operator")
    assert await pruning == 0
    assert len(await facts(database)) == 1


async def test_calls_that_are_pruned_leave_nothing_in_the_quarantine_either(
    database: Connection, database_url: str
) -> None:
    await stored(database, event("call.initiated", from_number=SECRET))
    await quarantined(database, bad(transcript()))
    await keep(database, ORGANIZATION, 30)
    later = NOON + timedelta(days=31)
    assert (await prune(database, later), await prune_quarantined(database, later)) == (1, 1)
    assert await where_it_is(database) == []
    assert (await prove(database_url)).exact


@pytest.mark.parametrize(
    "left", [transcript(), b"[%s,%s]" % (transcript(), transcript(OTHER_CALL))], ids=["one", "several"]
)
@pytest.mark.parametrize("by_an_older_version", [False, True])
async def test_verify_names_what_is_left_of_a_deleted_call(
    database: Connection, database_url: str, left: bytes, by_an_older_version: bool
) -> None:
    await stored(database, event("call.initiated"))
    await deleted(database)
    await quarantined(database, bad(left))
    assert (await prove(database_url)).exact
    await database.execute("UPDATE quarantined_records SET value = $1", left)
    if by_an_older_version:
        await as_an_older_version_wrote_them(database)
    (difference,) = (await prove(database_url)).differences
    assert (difference.kind, difference.call_id) == ("tombstone", CALL)
    assert difference.stored["quarantined records"] == 1
    assert (await prove(database_url, ORGANIZATION)).differences_found == 1
    assert (await prove(database_url, OTHER_ORGANIZATION)).exact
    told = await callfold("verify", database_url=database_url)
    assert "quarantined records is 1, must be 0" in told.output


async def test_records_of_an_older_version_are_placed_or_removed(
    database: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chores_of_quarantine, "CHUNK_RECORDS", 2)
    await quarantined(
        database,
        bad(transcript(), offset=0),
        bad(transcript(OTHER_CALL), offset=1),
        bad(b"no call", offset=2),
        bad(b'{"organization_id": "%s"}' % str(ORGANIZATION).encode(), offset=3),
    )
    two = b"[%s,%s]" % (transcript(), transcript(organization_id=OTHER_ORGANIZATION))
    await database.execute(
        """INSERT INTO quarantined_records
           (id, topic, partition, "offset", value, header_names, header_values, reason)
           VALUES (gen_random_uuid(), 'topic', 0, 4, $1, '{a}', '{b}', 'the value is an array')""",
        two,
    )
    expected = await database.fetch(
        'SELECT organization_id, call_id, retained_from FROM quarantined_records WHERE "offset" IN (1, 2, 3) '
        'ORDER BY "offset"'
    )
    await as_an_older_version_wrote_them(database)
    await stored(database, event("call.initiated"))
    await deleted(database)
    assert not (await prove(database_url)).exact
    assert await place_quarantined(database, NOON) == 5
    assert await place_quarantined(database, NOON) == 0
    rows = await database.fetch(
        'SELECT organization_id, call_id, retained_from FROM quarantined_records WHERE "offset" <> 4 '
        'ORDER BY "offset"'
    )
    assert rows == expected
    *_, last = await facts(database)
    assert last[1:] == (None, None, [], [], "stored without content, because it names several organizations")
    assert (await prove(database_url)).exact


async def test_a_delete_waits_for_a_record_that_is_being_placed(
    database: Connection, rival: Connection, database_url: str
) -> None:
    await stored(database, event("call.initiated"))
    await quarantined(database, bad(transcript()))
    await as_an_older_version_wrote_them(database)
    async with rival.transaction():
        assert await place_quarantined(rival, NOON) == 1
        deleting = asyncio.create_task(deleted(database))
        await until(lambda: waits_for_a_lock(rival), "the delete to wait")
    assert await deleting
    assert await where_it_is(database) == []
    assert (await prove(database_url)).exact


async def test_the_aggregator_places_and_removes_by_itself(database: Connection, database_url: str) -> None:
    await keep(database, ORGANIZATION, 30)
    await quarantined(database, bad(transcript(OTHER_CALL)))
    await as_an_older_version_wrote_them(database)
    await database.execute("UPDATE quarantined_records SET quarantined_at = '2020-01-01Z'")
    stop = asyncio.Event()
    chores = asyncio.create_task(do_chores(AggregatorSettings(database_url=database_url), stop))
    empty = "SELECT NOT EXISTS (SELECT FROM quarantined_records)"
    await until(lambda: database.fetchval(empty), "the record to go")
    stop.set()
    await chores


@pytest.mark.parametrize("left", [transcript(), b"[%s,%s]" % (transcript(), transcript(OTHER_CALL))])
async def test_what_an_older_api_left_is_removed_by_prune(
    database: Connection, database_url: str, left: bytes
) -> None:
    """It deletes calls, and does not know that the quarantine has records of them."""
    await stored(database, event("call.initiated"))
    await quarantined(database, bad(left), bad(transcript(UUID(int=9)), offset=1))
    await database.execute(
        "INSERT INTO deleted_calls (organization_id, call_id) SELECT organization_id, id FROM calls;"
        "DELETE FROM calls; DELETE FROM call_events; DELETE FROM daily_call_deltas"
    )
    assert not (await prove(database_url)).exact
    done = await callfold("prune", database_url=database_url)
    assert done.output == "0 calls removed; their counts are kept.\n1 quarantined record removed.\n"
    assert [offset for offset, *_ in await facts(database)] == [1]
    assert (await prove(database_url)).exact


async def test_a_batch_takes_few_locks(database: Connection) -> None:
    """With any number of bad records of its calls: PostgreSQL's lock table is bounded."""
    async with database.transaction():
        await hold_calls(database, [(ORGANIZATION, UUID(int=n)) for n in range(10_000)])
        locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
        assert await database.fetchval(locks) == 64


async def test_records_are_listed_shown_and_discarded_by_organization_and_call(
    database: Connection, database_url: str
) -> None:
    await quarantined(
        database,
        bad(transcript(), offset=0),
        bad(value("call.noted", call_id="call 1"), offset=1),
        bad(transcript(organization_id=OTHER_ORGANIZATION), offset=2),
        bad(b"{", offset=3),
    )

    async def run(*command: str | UUID) -> Any:
        return (await callfold("quarantine", *command, "--json", database_url=database_url)).json

    mine = ("--organization", ORGANIZATION)
    assert {one["offset"] for one in await run("list", *mine)} == {0, 1}
    (one,) = await run("list", *mine, "--call", "call 1")
    assert (one["offset"], one["organization_id"]) == (1, str(ORGANIZATION))
    shown = (await callfold("quarantine", "show", one["id"], database_url=database_url)).output
    assert f"organization {ORGANIZATION}, call {one['call_id']}\n" in shown
    assert await run("discard", *mine, "--call", CALL) == {"discarded": 1}
    log = await database.fetchrow("SELECT organization_id, action FROM audit_log")
    assert tuple(log or ()) == (ORGANIZATION, "quarantined record discarded")
    assert await run("redrive", *mine) == {"retried": 1, "accepted": 0, "still_quarantined": 1}
    assert await run("discard", *mine) == {"discarded": 1}
    assert {one["offset"] for one in await run("list")} == {2, 3}
    refused = await callfold("quarantine", "list", "--call", "x", database_url=database_url)
    assert refused.failure == "--call needs --organization: a call id is unique only within its organization."


def test_the_values_are_what_they_seem() -> None:
    """The tests above rely on this: the secret is in the value, and the value is not an event."""
    assert json.loads(transcript())["data"]["transcript"] == SECRET
