"""The store's transaction, step by step: two owners of one partition, and deletes in between."""

import asyncio
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import asyncpg
import pytest

from services.ingest.lane import SESSION
from services.ops.proof.proof import prove
from shared.calls.event import Event
from shared.database.connection import Connection
from shared.store import batch as statements
from shared.store.batch import Overtaken, TooLarge, write
from shared.store.changes import CALL_EVENTS_MAX
from shared.store.delete import delete
from shared.store.quarantine import BadRecord
from tests.support.events import CALL, NOON, ORGANIZATION, event
from tests.support.processes import until
from tests.support.storing import arrivals, prepared, record, store, stored

initiated = event("call.initiated", id="1", direction="inbound")
answered = event("call.answered", id="2", timestamp=NOON + timedelta(seconds=5))
completed = event("call.completed", id="3", timestamp=NOON + timedelta(seconds=65), duration=60, cost="1.5")


async def test_a_batch_stores_events_calls_and_deltas(database: Connection) -> None:
    batch = await store(database, arrivals(initiated, completed, answered, completed), [], now=NOON)
    assert (len(batch.events), batch.duplicates) == (3, 1)
    assert await database.fetchval("SELECT count(*) FROM call_events") == 3
    call = await database.fetchrow("SELECT * FROM calls")
    assert call is not None
    assert (call["status"], call["cost"], call["day"], call["version"]) == (
        "completed",
        Decimal("1.5"),
        date(2026, 11, 24),
        3,
    )
    deltas = await database.fetch("SELECT direction, status, calls, answered FROM daily_call_deltas")
    assert [tuple(row) for row in deltas] == [("inbound", "completed", 1, 1)]


async def test_a_later_batch_moves_the_call_to_another_cell(database: Connection) -> None:
    await store(database, arrivals(initiated), [], now=NOON)
    await store(database, arrivals(completed), [], now=NOON)
    deltas = await database.fetch("SELECT status, calls, duration_seconds FROM daily_call_deltas ORDER BY id")
    assert sorted(tuple(row) for row in deltas[1:]) == [("completed", 1, 60), ("initiated", -1, 0)]


async def test_a_known_event_changes_nothing(database: Connection, database_url: str) -> None:
    await store(database, arrivals(initiated, answered), [], now=NOON)
    again = await store(database, arrivals(answered, initiated), [], now=NOON)
    assert (again.events, again.duplicates, again.deltas) == ([], 2, {})
    assert (await prove(database_url)).exact


async def made(connection: Connection) -> None:
    """Creates the organization, so that the rivals do not conflict over it."""
    await connection.execute("INSERT INTO organizations (id, name) VALUES ($1, 'Acme')", ORGANIZATION)


async def test_two_owners_of_a_new_call(database: Connection, rival: Connection, database_url: str) -> None:
    await made(database)
    batch = await prepared(database, initiated, answered)
    await store(rival, arrivals(completed), [], now=NOON)
    with pytest.raises(Overtaken, match="calls_pkey"):
        await write(database, batch, [])
    await store(database, arrivals(initiated, answered), [], now=NOON)
    assert await database.fetchval("SELECT (status, version) = ('completed', 3) FROM calls")
    assert (await prove(database_url)).exact


@pytest.mark.parametrize("in_copy", [False, True])
@pytest.mark.parametrize(
    ("key", "fault"),
    [
        ("calls_pkey", Overtaken),
        ("calls_pkey_102028", Overtaken),
        ("call_events_pkey_102041", Overtaken),
        ("daily_call_deltas_pkey_102030", asyncpg.PostgresError),
    ],
)
async def test_a_key_on_a_shard_of_citus(
    database: Connection, monkeypatch: pytest.MonkeyPatch, key: str, fault: type[Exception], in_copy: bool
) -> None:
    fields = {"M": f'duplicate key value violates unique constraint "{key}"'}
    fields |= {"C": "XX000", "R": "ReportCopyError"} if in_copy else {"C": "23505", "n": key}

    async def refused(*_: object, **__: object) -> str:
        raise asyncpg.PostgresError.new(fields)

    batch = await prepared(database, initiated)
    monkeypatch.setattr(asyncpg.Connection, "copy_records_to_table", refused)
    with pytest.raises(fault, match=key):
        await write(database, batch, [])


async def test_two_owners_of_one_event(database: Connection, rival: Connection, database_url: str) -> None:
    await store(database, arrivals(initiated), [], now=NOON)
    batch = await prepared(database, answered)
    await store(rival, arrivals(answered), [], now=NOON)
    with pytest.raises(Overtaken, match="call_events_pkey"):
        await write(database, batch, [])
    assert (await store(database, arrivals(answered), [], now=NOON)).duplicates == 1
    assert (await prove(database_url)).exact


async def test_two_owners_of_two_events(database: Connection, rival: Connection, database_url: str) -> None:
    """No event is stored twice, but the version has changed."""
    await store(database, arrivals(initiated), [], now=NOON)
    batch = await prepared(database, answered)
    await store(rival, arrivals(completed), [], now=NOON)
    with pytest.raises(Overtaken, match="changed or deleted"):
        await write(database, batch, [])
    await store(database, arrivals(answered), [], now=NOON)
    assert await database.fetchval("SELECT (status, version) = ('completed', 3) FROM calls")
    assert (await prove(database_url)).exact


async def test_a_delete_before_the_write_of_a_known_call(
    database: Connection, rival: Connection, database_url: str
) -> None:
    await store(database, arrivals(initiated), [], now=NOON)
    batch = await prepared(database, answered)
    assert await delete(rival, ORGANIZATION, CALL, livemode=True, actor="API key 1")
    with pytest.raises(Overtaken, match="changed or deleted"):
        await write(database, batch, [])
    assert len((await store(database, arrivals(answered), [], now=NOON)).of_deleted_calls) == 1
    assert await database.fetchval("SELECT count(*) FROM calls") == 0
    assert (await prove(database_url)).exact


async def test_a_delete_before_the_write_of_a_call_that_was_new(
    database: Connection, rival: Connection, database_url: str
) -> None:
    """The other owner stored the call and it was deleted between our read and our write: only the tombstone
    remains."""
    await made(database)
    batch = await prepared(database, initiated)
    await store(rival, arrivals(initiated), [], now=NOON)
    assert await delete(rival, ORGANIZATION, CALL, livemode=True, actor="API key 1")
    with pytest.raises(Overtaken, match="was deleted meanwhile"):
        await write(database, batch, [])
    assert len((await store(database, arrivals(initiated), [], now=NOON)).of_deleted_calls) == 1
    assert await database.fetchval("SELECT count(*) FROM calls") == 0
    assert (await prove(database_url)).exact


async def test_late_events_and_redelivery_bring_no_deleted_call_back(
    database: Connection, database_url: str
) -> None:
    await store(database, arrivals(initiated, answered), [], now=NOON)
    assert await delete(database, ORGANIZATION, CALL, livemode=True, actor="API key 1")
    for events in ([completed], [initiated, answered, completed]):
        batch = await store(database, arrivals(*events), [], now=NOON)
        assert len(batch.of_deleted_calls) == len(events)
    for table in ("calls", "call_events"):
        assert await database.fetchval(f"SELECT count(*) FROM {table}") == 0  # noqa: S608
    assert (await prove(database_url)).exact


async def test_an_organization_that_is_created_meanwhile_has_its_own_time_zone(
    database: Connection, rival: Connection, database_url: str
) -> None:
    late = event("call.initiated", timestamp=datetime(2026, 11, 24, 23, 30, tzinfo=UTC))
    batch = await prepared(database, late)
    await rival.execute(
        "INSERT INTO organizations (id, name, time_zone) VALUES ($1, 'A', 'Europe/Berlin')", ORGANIZATION
    )
    with pytest.raises(Overtaken, match="organization was created"):
        await write(database, batch, [])
    await store(database, arrivals(late), [], now=NOON)
    assert await database.fetchval("SELECT day FROM calls") == date(2026, 11, 25)
    assert (await prove(database_url)).exact


async def test_what_a_call_counted_for_is_taken_from_its_row(database: Connection, database_url: str) -> None:
    """A row that is not the fold of its events, because the fold has changed, counts by its own values."""
    await store(database, arrivals(initiated, completed), [], now=NOON)
    await database.execute("UPDATE calls SET latency_ms = 7, direction = 'inbound'")
    await database.execute(
        "UPDATE daily_call_deltas SET latency_ms = 7, latency_calls = 1, latencies = 1, direction = 'inbound'"
    )
    await store(database, arrivals(answered), [], now=NOON)
    assert (await prove(database_url)).exact


async def test_a_delete_that_is_under_way_is_waited_for(
    database: Connection, rival: Connection, database_url: str
) -> None:
    """The insert of a call that is being deleted waits for the delete, and then finds its tombstone."""
    await made(database)
    batch = await prepared(database, initiated)
    await store(rival, arrivals(initiated), [], now=NOON)
    async with rival.transaction():
        assert await delete(rival, ORGANIZATION, CALL, livemode=True, actor="API key 1")
        writing = asyncio.create_task(write(database, batch, []))
        await until(
            lambda: rival.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"), "a wait"
        )
    with pytest.raises(Overtaken, match="was deleted meanwhile"):
        await writing
    assert await database.fetchval("SELECT count(*) FROM calls") == 0
    assert (await prove(database_url)).exact


async def test_a_call_has_no_more_events_than_can_be_read_again(
    database: Connection, database_url: str
) -> None:
    events = [event("call.updated", id=str(n)) for n in range(CALL_EVENTS_MAX + 3)]
    await store(database, arrivals(*events[: CALL_EVENTS_MAX - 1]), [], now=NOON)
    batch = await store(database, arrivals(*events[CALL_EVENTS_MAX - 1 :], events[0]), [], now=NOON)
    assert (len(batch.events), len(batch.refused), batch.duplicates) == (1, 3, 1)
    assert await database.fetchval("SELECT version FROM calls") == CALL_EVENTS_MAX
    reasons = await database.fetch("SELECT DISTINCT reason FROM quarantined_records")
    assert [row["reason"] for row in reasons] == ["the call has 10,000 events already, which is the limit"]
    assert (await prove(database_url)).exact


async def test_no_more_is_read_at_once_than_memory_should_hold(
    database: Connection, database_url: str
) -> None:
    calls = [
        [event("call.updated", id=id, call_id=UUID(int=n), transcript="x" * 700) for id in ("1", "2")]
        for n in (1, 2)
    ]
    for call in calls:
        await store(database, arrivals(call[0]), [], now=NOON)
    with pytest.raises(TooLarge):
        await store(database, arrivals(calls[0][1], calls[1][1]), [], now=NOON, stored_bytes_max=1_000)
    for call in calls:
        await store(database, arrivals(call[1]), [], now=NOON, stored_bytes_max=1_000)
    assert await database.fetchval("SELECT array_agg(version) FROM calls") == [2, 2]
    assert (await prove(database_url)).exact


async def test_a_zone_that_the_machine_does_not_have_holds_nobody_up(database: Connection) -> None:
    await database.execute(
        "INSERT INTO organizations (id, name, time_zone) VALUES ($1, 'Acme', 'Moon/Tranquility')",
        ORGANIZATION,
    )
    await store(database, arrivals(initiated), [], now=NOON)
    assert await database.fetchval("SELECT day FROM calls") == date(2026, 11, 24)


async def test_a_bad_record_is_kept_once_with_its_bytes(database: Connection) -> None:
    bad = BadRecord(record(b"\xff\0", offset=7), "it is bad")
    await store(database, [], [bad], now=NOON)
    await store(database, arrivals(initiated), [bad], now=NOON)
    kept = await database.fetch("SELECT * FROM quarantined_records")
    assert len(kept) == 1
    assert (kept[0]["offset"], kept[0]["key"], kept[0]["value"]) == (7, b"key", b"\xff\0")
    assert (kept[0]["header_names"], kept[0]["header_values"]) == (["name"], [b"said"])


async def test_a_topic_that_is_made_anew_collides_with_no_older_record(database: Connection) -> None:
    old, new = record(b"old"), record(b"new")
    new.timestamp = 1
    await store(database, [], [BadRecord(old, "bad"), BadRecord(new, "bad")], now=NOON)
    assert await database.fetchval("SELECT array_agg(value ORDER BY value) FROM quarantined_records") == [
        b"new",
        b"old",
    ]


async def test_the_longest_event_is_stored(database: Connection, database_url: str) -> None:
    long = event(
        "call.completed",
        id="\U0001f4de" * 128,
        call_id="\U0001f4de" * 256,
        duration=2**31 - 1,
        latency_ms=2**31 - 1,
        cost="9999999999.9999",
        from_number="9" * 256,
        to_number="9" * 256,
        hangup_cause="x" * 256,
        recording_url="x" * 2048,
        transcript="x" * 900_000,
        timestamp="1970-01-01T00:00:00Z",
    )
    await store(database, arrivals(long), [], now=NOON)
    assert await database.fetchval("SELECT external_id FROM calls") == "\U0001f4de" * 256
    assert (await prove(database_url)).exact


@pytest.mark.one_postgres("its organizations stand for those of a shard, and are of several")
@pytest.mark.parametrize(
    ("in_shard", "analyzed"),
    [(False, True), (True, True), (True, False)],
    ids=["whole", "shard", "new shard"],
)
async def test_ingest_looks_calls_up_by_their_keys(
    database: Connection, in_shard: bool, analyzed: bool
) -> None:
    """For tables of any size, and in a shard even for tables that were never analyzed: the plans use the
    primary keys and scan nothing."""
    for table in ("calls", "call_events", "deleted_calls"):
        await database.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
    await database.execute(
        "INSERT INTO calls (organization_id, id, livemode, status, created_at, day, version) "
        "SELECT $1, gen_random_uuid(), true, 'ringing', now(), now(), 1 FROM generate_series(1, 20000)",
        ORGANIZATION,
    )
    await database.execute(
        "INSERT INTO call_events SELECT organization_id, id, 'e', 'call.ringing', created_at, '{}' FROM calls"
    )
    await database.execute("INSERT INTO deleted_calls SELECT organization_id, gen_random_uuid() FROM calls")
    if analyzed:
        await database.execute("ANALYZE")
    for name, setting in SESSION.items():
        await database.execute(f"SET {name} = '{setting}'")
    if in_shard:  # as a lane of a distributed database does
        await database.execute("SET plan_cache_mode = force_custom_plan")
    expected = {
        statements._READ_DELETED: "deleted_calls_pkey",
        statements._READ_EVENTS: "call_events_pkey",
        statements._READ_COUNTED: "calls_pkey",
    }
    ids = await database.fetch("SELECT organization_id, id FROM calls LIMIT 5000")
    owners = "ARRAY{}::uuid[]".format([str(row["organization_id"]) for row in ids])
    calls = "ARRAY{}::uuid[]".format([str(row["id"]) for row in ids])
    of_shard = [str(ORGANIZATION), *(str(UUID(int=n)) for n in range(500))]
    for statement, index in expected.items():
        most = ["1000"] if statement is statements._READ_EVENTS else []
        organizations = [f"ARRAY{of_shard}::uuid[]", f"'{ORGANIZATION}'"] if in_shard else []
        given = ", ".join([owners, calls, *most, *organizations])
        await database.execute(f"PREPARE asked AS {statement[in_shard]}")
        plan = await database.fetch(f"EXPLAIN EXECUTE asked ({given})")
        await database.execute("DEALLOCATE asked")
        text = "\n".join(row[0] for row in plan)
        assert index in text, text
        assert "Seq Scan" not in text, text
        assert not re.search(r"Index Cond: .*ANY", text), text


async def test_a_delete_racing_ingest_of_the_same_call_ends_in_one_of_two_ways(
    database: Connection, rival: Connection, database_url: str
) -> None:
    """In a hundred runs, the delete either found the call and nothing of it remains, or it came too early and
    the whole call exists."""
    await database.execute("INSERT INTO organizations (id, name) VALUES ($1, 'Acme')", ORGANIZATION)
    ways = {True: 0, False: 0}
    for n in range(1, 101):
        id_ = UUID(int=n)
        first = event("call.initiated", id="1", call_id=id_)
        later = [event("call.ringing", id="2", call_id=id_), event("call.completed", id="3", call_id=id_)]
        if n % 2:
            await stored(database, first)
        _, deleted = await asyncio.gather(
            _stored_in_the_end(database, first, *later), _deleted_in_the_end(rival, id_)
        )
        left = await database.fetchrow(
            "SELECT (SELECT count(*) FROM calls WHERE id = $1), "
            "(SELECT count(*) FROM call_events WHERE call_id = $1), "
            "(SELECT count(*) FROM deleted_calls WHERE call_id = $1), "
            "(SELECT count(*) FROM audit_log WHERE subject = $2)",
            id_,
            str(id_),
        )
        assert tuple(left or ()) == ((0, 0, 1, 1) if deleted else (1, 3, 0, 0))
        ways[deleted] += 1
    assert min(ways.values()) > 0, f"both ways are taken: {ways}"
    assert (await prove(database_url)).exact


async def _stored_in_the_end(connection: Connection, *events: Event) -> None:
    while True:
        try:
            await stored(connection, *events)
        except (Overtaken, asyncpg.DeadlockDetectedError):
            continue
        return


async def _deleted_in_the_end(connection: Connection, call_id: UUID) -> bool:
    while True:
        try:
            return await delete(connection, ORGANIZATION, call_id, livemode=True, actor="API key 1")
        except asyncpg.DeadlockDetectedError:
            continue
