"""The proof finds and reports each kind of damage, and finds none in exact data."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest

from services.ops.demo.simulator import backlog, organizations
from services.ops.proof import chunks, difference
from services.ops.proof.proof import Proof, prove, prove_connection
from shared.calls.event import read
from shared.database.connection import Connection, connect
from shared.store.quarantine import BadRecord
from tests.support import seed
from tests.support.command_line import callfold
from tests.support.events import CALL, NOON, ORGANIZATION, event, table, value
from tests.support.storing import store, stored

NO_BAD_RECORDS: Sequence[BadRecord] = ()
ANSWERED_CALL = """
0   evt_1 call.initiated direction=inbound from_number=+4930123
2   evt_2 call.ringing
9   evt_3 call.answered latency_ms=120
69  evt_4 call.completed duration=60 cost=1.5 hangup_cause=NORMAL_CLEARING
"""
OTHER_CALL = UUID(int=99)


@pytest.fixture
async def proved(database: Connection) -> Connection:
    """A database with one answered call, proved exact."""
    await _store(database, [event.payload.encode() for event in table(ANSWERED_CALL)])
    assert (await prove_connection(database)).exact
    return database


async def _store(database: Connection, values: Sequence[bytes | None]) -> None:
    events = [read(one, NOON + timedelta(days=1)) for one in values]
    await store(database, [(None, event) for event in events], NO_BAD_RECORDS, now=NOON)


def _kinds(proof: Proof) -> list[str]:
    return [difference.kind for difference in proof.differences]


async def test_a_simulated_month_is_proved(database_url: str, database: Connection) -> None:
    customers = organizations(random.Random(3))
    await database.executemany(
        "INSERT INTO organizations (id, name, time_zone) VALUES ($1, $2, $3)",
        [(customer.id, customer.name, customer.time_zone) for customer in customers],
    )
    end = datetime(2026, 11, 2, 6, tzinfo=UTC)  # daylight saving time ends in this month
    records = [record for record in backlog(3, customers, 800, end, 30) if record.fault is None]
    for first in range(0, len(records), 500):
        await _store(database, [record.value for record in records[first : first + 500]])
    told: list[int] = []
    proof = await prove(database_url, progress=lambda calls, _expected: told.append(calls))
    assert proof.exact, proof.differences[:3]
    assert proof.calls == 800 == told[-1]
    assert proof.events == sum(not record.is_duplicate for record in records)
    assert proof.cells > 100
    assert proof.deltas > 0
    one = await prove(database_url, customers[0].id)
    assert 0 < one.calls < proof.calls
    assert one.exact


DAMAGE = {
    "a count is one too high": (
        "INSERT INTO daily_call_counts SELECT organization_id, livemode, day, direction, phone_number_id, "
        "status, 1, 0, 0, 0, 0, 0 FROM daily_call_deltas",
        "cell",
        {"calls": 2},
        {"calls": 1},
    ),
    "a delta was applied twice": (
        "INSERT INTO daily_call_counts SELECT organization_id, livemode, day, direction, phone_number_id, "
        "status, calls, answered, duration_seconds, cost_cents, latency_ms, latency_calls "
        "FROM daily_call_deltas",
        "cell",
        {"calls": 2, "duration_seconds": 120},
        {"calls": 1, "duration_seconds": 60},
    ),
    "a total is one too high": (
        "INSERT INTO daily_call_totals SELECT organization_id, livemode, day, direction, status, "
        "1, 0, 0, 0, 0, 0 FROM daily_call_deltas",
        "cell",
        {"calls": 2},
        {"calls": 1},
    ),
    "a cell without calls exists": (
        "INSERT INTO daily_call_counts SELECT organization_id, livemode, day - 1, direction, "
        "phone_number_id, status, 0, 0, 0, 0, 0, 7 FROM daily_call_deltas",
        "cell",
        {"latency_calls": 7},
        {"latency_calls": 0},
    ),
    "a call's text was changed": (
        "UPDATE calls SET from_number = 'anonymous'",
        "call",
        {"from_number": "anonymous"},
        {"from_number": "+4930123"},
    ),
    "a call's end is gone": ("UPDATE calls SET completed_at = NULL", "call", {"completed_at": None}, {}),
    "a call's version is behind": ("UPDATE calls SET version = 3", "call", {"version": 3}, {"version": 4}),
    "an event is gone": (
        "DELETE FROM call_events WHERE id = 'evt_2'",
        "call",
        {"version": 4},
        {"version": 3},
    ),
    "all events are gone": ("DELETE FROM call_events", "call without events", {"events": 0}, {"events": 4}),
    "an event's call does not exist": (
        f"INSERT INTO call_events SELECT organization_id, '{OTHER_CALL}', id, type, occurred_at, "  # noqa: S608
        f"replace(payload, '{CALL}', '{OTHER_CALL}') FROM call_events",
        "events without call",
        {"events": 4},
        {"events": 0},
    ),
    "an event is stored under another id": (
        "UPDATE call_events SET id = 'evt_9' WHERE id = 'evt_2'",
        "event",
        {"id": "evt_9"},
        {"id": "evt_2"},
    ),
    "an event's text is cut": (
        "UPDATE call_events SET payload = left(payload, 20) WHERE id = 'evt_2'",
        "event",
        {"payload": "the value is not JSON: it ends too early"},
        {"payload": "an event"},
    ),
    "a deleted call is still there": (
        "INSERT INTO deleted_calls (organization_id, call_id) SELECT organization_id, id FROM calls",
        "tombstone",
        {"calls": 1, "events": 4},
        {"calls": 0, "events": 0},
    ),
    "an organization is gone": (
        "DELETE FROM organizations",
        "organization",
        {"row": "missing"},
        {"row": "present, because it has calls"},
    ),
    "a time zone does not exist": (
        "UPDATE organizations SET time_zone = 'Mars/Olympus'",
        "organization",
        {"time_zone": "Mars/Olympus"},
        {"time_zone": "an IANA name"},
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
async def test_damage_is_found_and_reported(proved: Connection, damage: str) -> None:
    statement, kind, stored, expected = DAMAGE[damage]
    await proved.execute(statement)
    proof = await prove_connection(proved)
    assert _kinds(proof) == [kind]
    assert proof.differences_found == 1
    assert not proof.exact
    (difference,) = proof.differences
    assert difference.organization_id == ORGANIZATION
    assert stored.items() <= difference.stored.items()  # type: ignore[attr-defined]
    assert expected.items() <= difference.expected.items()  # type: ignore[attr-defined]
    assert str(ORGANIZATION) in str(difference)
    if kind == "cell":
        assert difference.cell is not None
        assert str(difference.cell["day"]) in str(difference)
    elif kind != "organization":
        assert str(difference.call_id) in str(difference)


@pytest.mark.one_postgres("its own tables stand for those of Citus")
@pytest.mark.parametrize("damage", DAMAGE)
async def test_the_proof_by_shard_finds_the_same(proved: Connection, damage: str) -> None:
    """On a distributed database, each shard's organizations are proved in a snapshot of their own."""
    await stored(proved, event("call.initiated", organization_id=UUID(int=2), call_id=UUID(int=5)))
    await proved.execute(DAMAGE[damage][0])
    whole = await prove_connection(proved)
    await seed.distributed(proved)
    await proved.execute(SHARDS)
    by_shard = await prove_connection(proved)
    assert (whole.snapshots, by_shard.snapshots) == (1, 2)
    assert set(map(str, by_shard.differences)) == set(map(str, whole.differences))
    assert replace(by_shard, snapshot=whole.snapshot, snapshots=1, differences=()) == replace(
        whole, differences=()
    )
    assert not (await prove_connection(proved, ORGANIZATION)).exact
    assert (await prove_connection(proved, sample_calls=1)).sampled


SHARDS = """
CREATE FUNCTION get_shard_id_for_distribution_column(text, uuid) RETURNS bigint
RETURN ascii(right($2::text, 1))
"""
"""A shard for each last digit of an organization."""


DELTA_DAMAGED: dict[str, tuple[str, dict[str, object], dict[str, object]]] = {
    "a cell is gone": (
        "DELETE FROM daily_call_deltas",
        {"calls": 0, "answered": 0, "duration_seconds": 0, "cost_cents": 0, "latency_ms": 0},
        {"calls": 1, "answered": 1, "duration_seconds": 60, "latency_ms": 120, "latency_calls": 1},
    ),
    "a cost is off by its last decimal": (
        "UPDATE daily_call_deltas SET cost_cents = cost_cents + 0.0001",
        {"calls": 1},
        {"calls": 1},
    ),
    "a duration is in another bucket": (
        "UPDATE daily_call_deltas SET durations = durations * 1000000000000",
        {"durations": {26: 1}},
        {"durations": {25: 1}},
    ),
    "an hour has a call more": (
        "UPDATE daily_call_deltas SET hour_calls = hour_calls + 1",
        {"hour_calls": {0: 1, 12: 1}},
        {"hour_calls": {12: 1}},
    ),
    "a cost is in another hour": (
        "UPDATE daily_call_deltas SET hour_cost = 1",
        {"hour_cost": {0: 1}},
        {"hour_cost": {12: 15_000}},
    ),
    "a cause is not counted": (
        "UPDATE daily_call_deltas SET hangup_causes = 0",
        {"hangup_causes": {}},
        {"hangup_causes": {7: 1}},
    ),
}


@pytest.mark.parametrize("damage", DELTA_DAMAGED)
async def test_a_wrong_delta_is_reported_in_its_count_and_its_total(proved: Connection, damage: str) -> None:
    statement, stored, expected = DELTA_DAMAGED[damage]
    await proved.execute(statement)
    proof = await prove_connection(proved)
    assert _kinds(proof) == ["cell", "cell"]
    assert [str(one).split(" of ")[0] for one in proof.differences] == [
        "cell 2026-11-24 live inbound no phone number completed",
        "cell 2026-11-24 live inbound all phone numbers completed",
    ]
    for found in proof.differences:
        assert {name: found.stored[name] for name in stored} == stored
        assert {name: found.expected[name] for name in expected} == expected


async def test_a_cost_in_the_first_hour_is_reported_for_any_stored_scale(
    database: Connection, database_url: str
) -> None:
    """Rows from before packed costs became whole numbers hold 15000.0000."""
    acme = await seed.tenant(database)
    for hour in (0, 1):
        created_at = f"2026-11-24T0{hour}:10:00Z"
        await seed.call(database, acme, created_at, duration=60, cost="1.5", applied=True)
    for counts in ("daily_call_counts", "daily_call_totals"):
        await database.execute(f"UPDATE {counts} SET hour_cost = hour_cost + 0.0000")  # noqa: S608
    assert (await prove(database_url)).exact
    await database.execute("UPDATE daily_call_counts SET calls = calls + 3")
    (cell,) = (await prove(database_url)).differences
    assert (cell.stored["calls"], cell.expected["calls"]) == (5, 2)
    assert cell.stored["hour_cost"] == cell.expected["hour_cost"] == {0: 15_000, 1: 15_000}
    told = await callfold("verify", "--json", database_url=database_url)
    assert (told.status, told.json["differences"][0]["stored"]["hour_cost"]["0"]) == (1, 15_000)


@pytest.mark.parametrize(
    ("column", "number"),
    [("cost_cents", "NaN"), ("durations", "NaN"), ("hour_cost", "Infinity"), ("hour_calls", "-Infinity")],
)
async def test_a_count_that_is_not_a_number_is_reported(
    proved: Connection, database_url: str, column: str, number: str
) -> None:
    await proved.execute(f"UPDATE daily_call_deltas SET {column} = '{number}'")  # noqa: S608
    told = await callfold("verify", "--json", database_url=database_url)
    assert told.status == 1
    assert {difference["stored"][column] for difference in told.json["differences"]} == {number}


async def test_a_day_of_another_time_zone_is_a_difference(proved: Connection) -> None:
    await proved.execute("UPDATE organizations SET time_zone = 'Pacific/Auckland'")
    (difference,) = (await prove_connection(proved)).differences
    assert difference.kind == "call"
    assert difference.stored == {"day": date(2026, 11, 24), "hour": 12}
    assert difference.expected == {"day": date(2026, 11, 25), "hour": 1}
    assert str(difference) == (
        f"call {CALL} of organization {ORGANIZATION}: "
        "day is 2026-11-24, must be 2026-11-25, hour is 12, must be 1"
    )


async def test_one_organizations_proof_ignores_damage_in_another(proved: Connection) -> None:
    other = UUID(int=7)
    await _store(proved, [value("call.initiated", organization_id=other)])
    await proved.execute("UPDATE calls SET status = 'busy' WHERE organization_id = $1", other)
    assert (await prove_connection(proved, ORGANIZATION)).exact
    assert set(_kinds(await prove_connection(proved, other))) == {"cell", "call"}
    assert _kinds(await prove_connection(proved)) == _kinds(await prove_connection(proved, other))


async def test_a_deleted_call_leaves_nothing_to_prove(proved: Connection) -> None:
    await proved.execute(
        """
        INSERT INTO deleted_calls (organization_id, call_id) SELECT organization_id, id FROM calls;
        UPDATE daily_call_deltas
        SET calls = 0, answered = 0, duration_seconds = 0, cost_cents = 0, latency_ms = 0, latency_calls = 0,
            effective = 0, durations = 0, answer_delays = 0, latencies = 0, hangup_causes = 0, hour_calls = 0,
            hour_answered = 0, hour_duration_seconds = 0, hour_cost = 0;
        DELETE FROM calls;
        DELETE FROM call_events;
        """
    )
    proof = await prove_connection(proved)
    assert proof.exact
    assert (proof.cells, proof.calls, proof.events, proof.tombstones) == (1, 0, 0, 1)


async def test_it_sees_one_snapshot(proved: Connection, database_url: str) -> None:
    """Another connection's uncommitted change is not visible: until its commit, the data is exact."""
    other = await connect(database_url, application_name="other")
    async with other.transaction():
        await other.execute("DELETE FROM call_events")
        assert (await prove_connection(proved)).exact
    assert not (await prove_connection(proved)).exact
    await other.close()


async def test_of_many_differences_the_first_are_kept_and_all_are_counted(
    database: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(difference, "DIFFERENCES_KEPT", 10)
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 4_000)  # so that calls and events need many chunks
    await _store(database, [value("call.initiated", call_id=UUID(int=n + 1)) for n in range(300)])
    assert (await prove_connection(database)).exact
    await database.execute("UPDATE calls SET hangup_cause = 'NONE'")
    proof = await prove_connection(database)
    assert len(proof.differences) == 10
    assert (proof.differences_found, proof.calls, proof.events) == (300, 300, 300)


async def test_a_sample_is_reported_as_a_sample(database: Connection, database_url: str) -> None:
    await stored(database, event("call.initiated"))
    for calls, sentence in (("all", "every call is"), ("1", "each call of the sample is")):
        told = await callfold("verify", "--calls", calls, database_url=database_url)
        assert f"EXACT: every count and {sentence} proved." in told.output
        as_json = await callfold("verify", "--calls", calls, "--json", database_url=database_url)
        assert as_json.json["sampled"] == (calls != "all")
