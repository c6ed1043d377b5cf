"""Counts and calls that were edited by hand are repaired, during live traffic."""

import asyncio
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from services.ops.proof.proof import prove
from services.ops.repair.rebuild import rebuild_organization
from services.ops.repair.refold import refold_calls
from services.ops.repair.retry_overtaken import until_not_overtaken
from services.ops.terminal.failure import Failure
from services.ops.terminal.progress_bar import progress
from shared.counts.packed import unpack
from shared.database.connection import Connection
from shared.store.batch import Overtaken, write
from tests.support import seed
from tests.support.applying import apply_deltas
from tests.support.command_line import callfold
from tests.support.events import CALL, NOON, ORGANIZATION, event
from tests.support.processes import until
from tests.support.storing import prepared, stored, waits_for_a_lock

OTHER = UUID(int=7)
initiated = event("call.initiated", id="1", direction="inbound")
answered = event("call.answered", id="2", timestamp=NOON + timedelta(seconds=5))
completed = event("call.completed", id="3", timestamp=NOON + timedelta(seconds=65), duration=60, cost="1.5")
of_another = event("call.completed", id="1", organization_id=OTHER, duration=9)

COUNTS_DAMAGED = {
    "a delta was lost": "DELETE FROM daily_call_deltas",
    "a count was added": """
        INSERT INTO daily_call_counts SELECT organization_id, livemode, day - 3, direction, phone_number_id,
        status, 5, 0, 0, 0.25, 0, 0 FROM daily_call_deltas LIMIT 1""",
    "a delta was applied twice": """
        INSERT INTO daily_call_counts SELECT organization_id, livemode, day, direction, phone_number_id,
        status, calls, answered, duration_seconds, cost_cents, latency_ms, latency_calls
        FROM daily_call_deltas""",
    "a count was lost": """
        INSERT INTO daily_call_totals SELECT organization_id, livemode, day, direction, status, calls,
        answered, duration_seconds, cost_cents, latency_ms, latency_calls, effective, durations,
        answer_delays, latencies, hangup_causes, hour_calls, hour_answered, hour_duration_seconds, hour_cost
        FROM daily_call_deltas WHERE direction = 'inbound'; DELETE FROM daily_call_deltas WHERE direction =
    'inbound'""",
    "a total was added": """
        INSERT INTO daily_call_totals SELECT organization_id, livemode, day, direction, status, 1, 0, 0, 0,
        0, 0 FROM daily_call_deltas LIMIT 1""",
    "a histogram is off": "UPDATE daily_call_deltas SET durations = durations + 1000000000000",
    "an hour is off": "UPDATE daily_call_deltas SET hour_calls = hour_calls * 1000000000000",
    "a call was changed": "UPDATE calls SET direction = 'outbound', duration = duration + 1",
}


@pytest.mark.parametrize("damage", COUNTS_DAMAGED.values(), ids=COUNTS_DAMAGED)
async def test_rebuild_makes_the_counts_a_recount_of_the_calls(
    database: Connection, database_url: str, damage: str
) -> None:
    await stored(database, initiated, answered, completed, of_another)
    await database.execute(damage)
    off = [one for one in (await prove(database_url)).differences if one.kind == "cell"]
    assert off
    would = await callfold("rebuild", "--dry-run", "--json", database_url=database_url)
    assert (would.json["cells"], would.json["repaired"]) == (len(off), False)
    done = await callfold("rebuild", "--json", database_url=database_url)
    assert (done.json["cells"], done.json["repaired"]) == (len(off), True)
    assert not [one for one in (await prove(database_url)).differences if one.kind == "cell"]
    again = await callfold("rebuild", database_url=database_url)
    assert again.output == "Every count equals a recount of the calls: nothing to repair.\n"


@pytest.mark.one_postgres("its own tables stand for those of Citus")
@pytest.mark.parametrize("damage", COUNTS_DAMAGED.values(), ids=COUNTS_DAMAGED)
async def test_rebuild_repairs_the_same_on_a_distributed_database(
    database: Connection, database_url: str, damage: str
) -> None:
    """There it reads the differences and writes them as constants."""
    await stored(database, initiated, answered, completed, of_another)
    await database.execute(damage)
    off = [one for one in (await prove(database_url)).differences if one.kind == "cell"]
    await seed.distributed(database)
    repaired = [await rebuild_organization(database, one, actor="one") for one in (ORGANIZATION, OTHER)]
    assert sum(repaired) == len(off)
    assert [await rebuild_organization(database, one, actor="one") for one in (ORGANIZATION, OTHER)] == [0, 0]
    await database.execute("DROP TABLE pg_dist_partition")
    assert not [one for one in (await prove(database_url)).differences if one.kind == "cell"]


async def test_rebuild_of_some_days_or_one_organization_leaves_the_rest(
    database: Connection, database_url: str
) -> None:
    earlier = event("call.initiated", call_id=UUID(int=1), timestamp="2026-11-20T10:00:00Z")
    await stored(database, initiated, earlier, of_another)
    await database.execute("DELETE FROM daily_call_deltas")

    async def off() -> set[tuple[object, object]]:
        cells = [one.cell for one in (await prove(database_url)).differences if one.cell is not None]
        return {(cell["organization_id"], str(cell["day"])) for cell in cells}

    assert len(await off()) == 3
    days = ("--from", "2026-11-21", "--to", "2026-11-24")
    await callfold("rebuild", "--organization", ORGANIZATION, *days, database_url=database_url)
    assert await off() == {(ORGANIZATION, "2026-11-20"), (OTHER, "2026-11-24")}
    await callfold("rebuild", "--organization", ORGANIZATION, database_url=database_url)
    assert await off() == {(OTHER, "2026-11-24")}
    log = await database.fetch("SELECT organization_id, action, details FROM audit_log ORDER BY at")
    assert [tuple(row) for row in log] == [(ORGANIZATION, "counts rebuilt", "2 cells")] * 2


async def test_two_concurrent_rebuilds_repair_a_difference_once(
    database: Connection, rival: Connection, database_url: str
) -> None:
    await stored(database, initiated, completed)
    await database.execute("DELETE FROM daily_call_deltas")
    repaired = await asyncio.gather(
        rebuild_organization(database, ORGANIZATION, actor="one"),
        rebuild_organization(rival, ORGANIZATION, actor="other"),
    )
    assert sorted(repaired) == [0, 2], "a count and a total"
    assert (await prove(database_url)).exact


async def test_a_rebuild_keeps_the_counts_of_calls_stored_meanwhile(
    database: Connection, rival: Connection, database_url: str
) -> None:
    await stored(database, initiated)
    await database.execute("DELETE FROM daily_call_deltas")
    async with database.transaction():
        assert await rebuild_organization(database, ORGANIZATION, actor="one") == 2
        await stored(rival, answered, completed)
    assert (await prove(database_url)).exact


CALLS_DAMAGED = {
    "a field": "UPDATE calls SET duration = 1, hangup_cause = 'NONE'",
    "the status": "UPDATE calls SET status = 'ringing', completed_at = NULL",
    "the day": "UPDATE calls SET day = day + 1",
    "the version": "UPDATE calls SET version = 1",
    "the whole row": "DELETE FROM calls",
}


@pytest.mark.parametrize("damage", CALLS_DAMAGED.values(), ids=CALLS_DAMAGED)
async def test_refold_makes_calls_the_fold_of_their_events_and_moves_the_counts(
    database: Connection, database_url: str, damage: str
) -> None:
    """The counts equal a recount of the damaged calls before, and of the repaired calls afterwards."""
    await stored(database, initiated, answered, completed, of_another)
    await database.execute(damage)
    await callfold("rebuild", database_url=database_url)
    would = await callfold("refold", "--dry-run", "--json", database_url=database_url)
    assert not (await prove(database_url)).exact
    done = await callfold("refold", "--json", database_url=database_url)
    assert would.json["repaired"] == done.json["repaired"] > 0
    assert (await prove(database_url)).exact
    assert (await callfold("refold", "--json", database_url=database_url)).json["repaired"] == 0


async def test_refold_leaves_deleted_calls_deleted(database: Connection, database_url: str) -> None:
    await stored(database, initiated, completed, of_another)
    await database.execute("DELETE FROM calls WHERE organization_id = $1", ORGANIZATION)
    await database.execute("DELETE FROM daily_call_deltas WHERE organization_id = $1", ORGANIZATION)
    await database.execute("INSERT INTO deleted_calls VALUES ($1, $2)", ORGANIZATION, CALL)
    await callfold("refold", database_url=database_url)
    assert await database.fetchval("SELECT count(*) FROM calls") == 1


async def test_refold_reports_calls_that_it_cannot_repair(database: Connection, database_url: str) -> None:
    await stored(database, initiated, of_another)
    await database.execute("DELETE FROM call_events WHERE organization_id = $1", ORGANIZATION)
    await database.execute("UPDATE call_events SET payload = '{}' WHERE organization_id = $1", OTHER)
    done = await callfold("refold", database_url=database_url)
    assert done.status == 1
    assert "1 call with an event that cannot be read" in done.output
    assert "1 call without any event: replay their events." in done.output


async def test_an_interrupted_refold_resumes_after_the_last_call(
    database: Connection, database_url: str
) -> None:
    await stored(database, *(event("call.initiated", call_id=UUID(int=n)) for n in range(1, 5)))
    await database.execute("UPDATE calls SET hangup_cause = 'NONE'")
    after = f"{ORGANIZATION}/{UUID(int=2)}"
    done = await callfold("refold", "--after", after, "--json", database_url=database_url)
    assert (done.json["calls"], done.json["repaired"]) == (2, 2)


async def test_ingest_and_refold_of_one_call_exclude_each_other(
    database: Connection, rival: Connection, database_url: str
) -> None:
    """Either can be first. The second one must not overwrite the changes of the first."""
    await stored(database, initiated)
    await database.execute("UPDATE calls SET direction = 'outbound'")
    await rebuild_organization(database, ORGANIZATION, actor="test")
    batch = await prepared(database, completed)
    assert (await refold_calls(rival, [(ORGANIZATION, CALL)])).repaired == 1
    with pytest.raises(Overtaken, match="changed or deleted"):
        await write(database, batch, [])
    await stored(database, completed)
    assert (await prove(database_url)).exact

    await database.execute("UPDATE calls SET duration = 1")
    await rebuild_organization(database, ORGANIZATION, actor="test")
    batch = await prepared(rival, answered)
    async with rival.transaction():
        await write(rival, batch, [])
        refolding = asyncio.create_task(refold_calls(database, [(ORGANIZATION, CALL)]))
        await until(lambda: _waits(rival), "the refold to wait for ingest")
    await refolding
    assert (await prove(database_url)).exact


async def test_a_call_that_changes_during_a_dry_refold_is_not_a_difference(
    database: Connection, rival: Connection
) -> None:
    await stored(database, initiated)
    batch = await prepared(rival, completed)
    async with rival.transaction():
        await rival.execute("LOCK TABLE call_events")  # between the call's row and its events
        reading = asyncio.create_task(refold_calls(database, [(ORGANIZATION, CALL)], dry_run=True))
        await until(lambda: _waits(rival), "the refold to read the events")
        await write(rival, batch, [])
    assert (await reading).repaired == 0


async def _waits(connection: Connection) -> bool:
    return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"))


async def test_a_resumed_refold_includes_earlier_calls_without_rows(
    database: Connection, database_url: str
) -> None:
    await stored(database, *(event("call.initiated", call_id=UUID(int=n)) for n in range(1, 4)))
    await database.execute("DELETE FROM calls WHERE id = $1", UUID(int=1))
    await callfold("rebuild", database_url=database_url)
    after = f"{ORGANIZATION}/{UUID(int=2)}"
    done = await callfold("refold", "--after", after, "--json", database_url=database_url)
    assert (done.json["calls"], done.json["repaired"]) == (2, 1)
    assert (await prove(database_url)).exact


async def test_an_interrupted_command_prints_its_last_position(capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C cancels the coroutine."""
    at_work = asyncio.Event()

    async def work() -> None:
        with progress("calls", 3) as bar:
            bar.advance(2, "the second")
            at_work.set()
            await asyncio.Event().wait()

    working = asyncio.create_task(work())
    await at_work.wait()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working

    def fail() -> None:
        with progress("calls", 3) as bar:
            bar.advance(3, "the third")
            raise Failure("The database is unreachable.")

    with pytest.raises(Failure):
        fail()
    assert capsys.readouterr().err == "Interrupted after the second.\nInterrupted after the third.\n"


async def test_a_deadlock_victim_is_retried_a_limited_number_of_times() -> None:
    async def faster_then_done() -> str:
        if tries.pop() > 1:
            raise asyncpg.DeadlockDetectedError("deadlock detected")
        return "done"

    tries = [1, 2, 3]
    assert await until_not_overtaken(faster_then_done) == "done"
    tries = [2] * 20
    with pytest.raises(Failure, match=r"20 times in a row \(deadlock detected\)"):
        await until_not_overtaken(faster_then_done, longest_pause_seconds=0.01)


OF_BEFORE = """
UPDATE calls SET hour = NULL;
UPDATE daily_call_counts SET effective = 0, durations = 0, answer_delays = 0, latencies = 0, hangup_causes =
    0, hour_calls = 0, hour_answered = 0, hour_duration_seconds = 0, hour_cost = 0;
DELETE FROM daily_call_totals;
UPDATE organizations SET has_totals = false;
"""


async def test_calls_and_counts_from_before_hours_and_totals_get_them(
    database: Connection, database_url: str
) -> None:
    """After an upgrade, `refold` adds the hours of calls, and `rebuild` the distributions of counts."""
    await stored(database, initiated, answered, of_another)
    await apply_deltas(database, 100)
    await database.execute(OF_BEFORE)
    await stored(database, completed)
    await apply_deltas(database, 100)
    assert (await callfold("refold", database_url=database_url)).status == 0
    assert (await callfold("rebuild", database_url=database_url)).status == 0
    proof = await prove(database_url)
    assert proof.exact, proof.differences
    assert await database.fetchval("SELECT bool_and(has_totals) FROM organizations")
    (hours,) = await database.fetchrow(
        "SELECT hour_calls::text FROM daily_call_totals WHERE organization_id = $1 AND calls > 0",
        ORGANIZATION,
    ) or ("",)
    assert unpack(hours)[12] == 1


async def test_rebuild_of_some_days_does_not_mark_the_totals_as_complete(
    database: Connection, database_url: str
) -> None:
    await stored(database, initiated)
    await database.execute("UPDATE organizations SET has_totals = false")
    await callfold("rebuild", "--from", "2026-11-24", database_url=database_url)
    assert not await database.fetchval("SELECT has_totals FROM organizations")


async def test_a_repaired_total_and_the_aggregator_add_up(
    database: Connection, rival: Connection, database_url: str
) -> None:
    """The aggregator waits for the row that a rebuild changes, and adds to its new value."""
    await stored(database, initiated, answered)
    await apply_deltas(database, 100)
    await database.execute("UPDATE daily_call_totals SET calls = 9, durations = 5")
    await stored(database, event("call.answered", id="9", call_id=UUID(int=4), direction="inbound"))
    async with database.transaction():
        assert await rebuild_organization(database, ORGANIZATION, actor="one") == 1
        applying = asyncio.create_task(apply_deltas(rival, 100))
        await until(lambda: waits_for_a_lock(database), "the aggregator to wait for the total")
    assert await applying == 1
    proof = await prove(database_url)
    assert proof.exact, proof.differences
