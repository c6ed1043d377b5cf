"""Calls that never ended are ended, and calls older than the retention are removed."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from services.aggregator.chores import do_chores
from services.aggregator.prune import Counts, prune
from services.aggregator.reap import EVENT_ID, EVERYTHING, MARGIN, Reaped, reap
from services.ops.proof.proof import prove
from shared.calls.event import Event
from shared.calls.retention import kept_since
from shared.calls.zones import time_zone
from shared.database.connection import Connection
from shared.settings.aggregator import AggregatorSettings
from shared.store.batch import write
from shared.store.changes import CALL_EVENTS_MAX
from shared.store.delete import delete
from shared.store.read_progress import read_until
from tests.support.applying import apply_deltas
from tests.support.command_line import callfold
from tests.support.events import CALL, NOON, ORGANIZATION, event
from tests.support.ingesting import counted_calls
from tests.support.processes import until
from tests.support.storing import prepared, stored

SILENCE = timedelta(hours=4)
OTHER = UUID(int=7)
initiated = event("call.initiated", id="1", from_number="+4930123")
ringing = event("call.ringing", id="2", timestamp=NOON + timedelta(seconds=2))
answered = event("call.answered", id="3", timestamp=NOON + timedelta(seconds=5))
completed = event("call.completed", id="4", timestamp=NOON + timedelta(seconds=65), duration=60)


async def status(database: Connection) -> tuple[object, ...]:
    row = await database.fetchrow("SELECT status, hangup_cause, completed_at FROM calls")
    return tuple(row or ())


async def end(database: Connection, now: datetime, *, dry_run: bool = False) -> Reaped:
    """Ends the silent calls of a database whose topic is read to its end."""
    return await reap(database, now, SILENCE, read_until=EVERYTHING, dry_run=dry_run)


async def test_a_silent_call_is_ended_once_and_the_counts_move(
    database: Connection, database_url: str
) -> None:
    await stored(database, initiated, answered)
    assert (await end(database, NOON + SILENCE)).ended == 0, "it spoke 5 seconds after noon"
    assert (await end(database, NOON + timedelta(hours=5), dry_run=True)).ended == 1
    assert (await end(database, NOON + timedelta(hours=5))).ended == 1
    assert await status(database) == ("failed", "MISSING_HANGUP", answered.timestamp)
    assert await counted_calls(database) == {"failed": 1}
    assert (await end(database, NOON + timedelta(hours=9))).ended == 0
    assert (await prove(database_url)).exact


async def test_a_real_end_that_arrives_later_wins(database: Connection, database_url: str) -> None:
    await stored(database, initiated, answered)
    await end(database, NOON + timedelta(hours=5))
    await stored(database, completed)
    assert await status(database) == ("completed", None, completed.timestamp)
    assert await counted_calls(database) == {"completed": 1}
    assert (await prove(database_url)).exact


async def test_the_end_that_was_made_up_leaves_the_call_when_a_real_one_comes(database: Connection) -> None:
    await stored(database, initiated, answered)
    await end(database, NOON + timedelta(hours=5))
    assert await database.fetchval("SELECT array_agg(id ORDER BY id) FROM call_events") == [
        "1",
        "3",
        EVENT_ID,
    ]
    await stored(database, completed)
    assert await database.fetchval("SELECT array_agg(id ORDER BY id) FROM call_events") == ["1", "3", "4"]
    assert await database.fetchval("SELECT version FROM calls") == 3


async def test_a_call_that_comes_alive_again_can_be_ended_again(
    database: Connection, database_url: str
) -> None:
    await stored(database, initiated)
    await end(database, NOON + timedelta(hours=5))
    late = event("call.answered", id="5", timestamp=NOON + timedelta(hours=3))
    await stored(database, late)
    assert await status(database) == ("in_progress", None, None)
    assert (await end(database, NOON + timedelta(hours=8))).ended == 1
    assert await status(database) == ("failed", "MISSING_HANGUP", late.timestamp)
    assert (await prove(database_url)).exact


async def test_a_call_whose_end_may_be_in_a_backlog_is_not_ended(
    database: Connection, database_url: str
) -> None:
    """An archive is read: its calls are a year old, and ingest has not reached their ends."""
    await stored(database, initiated)
    year_after = NOON + timedelta(days=365)
    before_the_archive = year_after - timedelta(hours=1)
    assert await reap(database, year_after, SILENCE, read_until=None) == (0, 1)
    assert await reap(database, year_after, SILENCE, read_until=before_the_archive) == (0, 1)
    assert await reap(database, year_after, SILENCE, read_until=year_after) == (0, 1), (
        "clocks may differ by a minute"
    )
    # Half of the archive is read: the call has a new event, so the earlier check no longer counts.
    await stored(database, ringing)
    next_look = year_after + timedelta(minutes=5)
    assert await reap(database, next_look, SILENCE, read_until=year_after + MARGIN) == (0, 1)
    # All of it is read, and the call has no end.
    last_look, all_read = next_look + timedelta(minutes=5), next_look + MARGIN
    assert await reap(database, last_look, SILENCE, read_until=all_read, dry_run=True) == (1, 0)
    assert await reap(database, last_look, SILENCE, read_until=all_read) == (1, 0)
    assert await counted_calls(database) == {"failed": 1}
    assert await database.fetchval("SELECT count(*) FROM silent_calls") == 0
    assert (await prove(database_url)).exact


async def test_calls_that_ended_are_no_longer_watched(database: Connection) -> None:
    await stored(database, initiated)
    assert await reap(database, NOON + timedelta(hours=5), SILENCE, read_until=None) == (0, 1)
    assert await database.fetchval("SELECT count(*) FROM silent_calls") == 1
    await stored(database, completed)
    assert await reap(database, NOON + timedelta(hours=5), SILENCE, read_until=None) == (0, 0)
    assert await database.fetchval("SELECT count(*) FROM silent_calls") == 0


async def test_a_topic_is_read_as_far_as_its_slowest_partition(database: Connection) -> None:
    assert await read_until(database, "t") is None
    noted = "INSERT INTO partitions_read (topic, partition, partitions, read_until) VALUES ($1, $2, $3, $4)"
    await database.execute(noted, "t", 0, 2, NOON)
    assert await read_until(database, "t") is None, "no process has read partition 1"
    await database.execute(noted, "t", 1, 2, NOON - timedelta(hours=1))
    await database.execute(noted, "other", 0, 1, NOON - timedelta(hours=9))
    assert await read_until(database, "t") == NOON - timedelta(hours=1)


async def test_reap_by_command_waits_until_ingest_has_read(database: Connection, database_url: str) -> None:
    await stored(database, initiated)
    done = await callfold("reap", database_url=database_url)
    assert done.output.startswith("0 calls ended after 4 hours of silence.\n1 silent call not ended yet")
    done = await callfold("reap", "--all-read", database_url=database_url)
    assert done.output == "1 call ended after 4 hours of silence.\n"


async def test_test_calls_stay_test_calls(database: Connection, database_url: str) -> None:
    await stored(database, event("call.initiated", livemode=False))
    assert (await end(database, NOON + timedelta(hours=5))).ended == 1
    assert await database.fetchval("SELECT livemode FROM calls") is False
    assert (await prove(database_url)).exact


async def test_a_call_that_speaks_while_it_is_ended(
    database: Connection, rival: Connection, database_url: str
) -> None:
    """The end is refused, and the next round finds the call ended."""
    await stored(database, initiated)
    batch = await prepared(rival, completed)
    async with rival.transaction():
        await write(rival, batch, [])
        reaping = asyncio.create_task(end(database, NOON + timedelta(hours=5)))
        await asyncio.sleep(0)
    assert (await reaping).ended in (0, 1)
    assert (await end(database, NOON + timedelta(hours=5))).ended == 0
    assert await counted_calls(database) == {"completed": 1}
    assert (await prove(database_url)).exact


async def test_a_call_that_speaks_keeps_no_other_from_its_end(
    database: Connection, rival: Connection, database_url: str
) -> None:
    await stored(database, *(event("call.initiated", call_id=UUID(int=n)) for n in range(1, 8)))
    batch = await prepared(rival, event("call.completed", id="4", call_id=UUID(int=3)))
    async with rival.transaction():
        await write(rival, batch, [])
        reaping = asyncio.create_task(end(database, NOON + timedelta(hours=5)))
        waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
        await until(lambda: rival.fetchval(waits), "the end to wait for ingest")
    assert (await reaping).ended == 6
    assert await counted_calls(database) == {"failed": 6, "completed": 1}
    assert (await prove(database_url)).exact


async def test_two_who_end_the_same_calls(database: Connection, rival: Connection, database_url: str) -> None:
    await stored(database, *(event("call.initiated", call_id=UUID(int=n + 1)) for n in range(50)))
    later = NOON + timedelta(hours=5)
    await asyncio.gather(end(database, later), end(rival, later))
    assert await counted_calls(database) == {"failed": 50}
    assert (await prove(database_url)).exact


async def test_many_calls_of_many_organizations_and_days_are_ended(
    database: Connection, database_url: str
) -> None:
    for owner in (ORGANIZATION, OTHER):
        for day in range(3):
            await stored(
                database,
                *(
                    event(
                        "call.initiated",
                        organization_id=owner,
                        call_id=UUID(int=day * 1000 + n + 1),
                        timestamp=NOON - timedelta(days=day),
                    )
                    for n in range(300)
                ),
            )
    of_another = ("--organization", OTHER, "--silence-hours", "1", "--all-read", "--json")
    assert (await callfold("reap", *of_another, database_url=database_url)).json["calls"] == 900
    assert (await end(database, NOON + timedelta(days=2))).ended == 900
    assert await counted_calls(database) == {"failed": 1800}
    assert (await prove(database_url)).exact


async def test_an_event_that_can_not_be_read_keeps_no_other_call_from_its_end(
    database: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    await stored(database, *(event("call.initiated", call_id=UUID(int=n)) for n in range(1, 4)))
    await database.execute("UPDATE call_events SET payload = '{}' WHERE call_id = $1", UUID(int=2))
    assert (await end(database, NOON + timedelta(hours=5))).ended == 2
    assert await counted_calls(database) == {"failed": 2, "initiated": 1}
    (said,) = caplog.records
    assert said.getMessage() == "a silent call stays open: one of its stored events can't be read"
    assert said.__dict__["call_id"] == UUID(int=2)


async def test_a_call_that_may_have_no_more_events_stays_open(database: Connection) -> None:
    full = (event("call.updated", id=str(n), timestamp=NOON, cost="1") for n in range(CALL_EVENTS_MAX))
    await stored(database, *full)
    assert (await end(database, NOON + timedelta(hours=5), dry_run=True)).ended == 0
    assert (await end(database, NOON + timedelta(hours=5))).ended == 0


def test_what_is_kept_begins_with_the_organizations_day() -> None:
    berlin = time_zone("Europe/Berlin")
    assert kept_since(NOON, berlin, 1) == datetime(2026, 11, 22, 23, tzinfo=UTC)
    summer = datetime(2026, 3, 30, 12, tzinfo=UTC)
    assert kept_since(summer, berlin, 1) == datetime(2026, 3, 28, 23, tzinfo=UTC)
    assert kept_since(NOON, berlin, 10**9) < datetime(1970, 1, 1, tzinfo=UTC)


async def keep(database: Connection, days: int) -> None:
    await database.execute(
        "INSERT INTO organizations (id, name, retention_days) VALUES ($1, 'Acme', $2) "
        "ON CONFLICT (id) DO UPDATE SET retention_days = $2",
        ORGANIZATION,
        days,
    )


def ended(days_ago: int, n: int = 1) -> list[Event]:
    """A call that was completed this many days before noon."""
    start = NOON - timedelta(days=days_ago)
    return [
        event("call.initiated", id="1", call_id=UUID(int=n), timestamp=start),
        event("call.completed", id="2", call_id=UUID(int=n), timestamp=start, duration=60, cost="1.25"),
    ]


@pytest.mark.parametrize(("counts", "left"), [("keep", 2), ("drop", 1)])
async def test_old_calls_go_and_their_counts_stay_or_go(
    database: Connection, database_url: str, counts: Counts, left: int
) -> None:
    await stored(database, *ended(40), *ended(3, n=2))
    await apply_deltas(database, 100)
    await keep(database, 30)
    assert await prune(database, NOON, counts=counts, dry_run=True) == 1
    assert await prune(database, NOON, counts=counts) == 1
    assert await database.fetchval("SELECT count(*) FROM calls") == 1
    assert await database.fetchval("SELECT count(*) FROM call_events") == 2
    assert await counted_calls(database) == {"completed": left}
    proof = await prove(database_url)
    assert proof.exact, proof.differences
    assert await prune(database, NOON, counts=counts) == 0


async def test_counts_that_were_kept_can_be_dropped_later(database: Connection, database_url: str) -> None:
    await stored(database, *ended(40), *ended(3, n=2))
    await keep(database, 30)
    await prune(database, NOON, counts="keep")
    await prune(database, NOON, counts="drop")
    assert await counted_calls(database) == {"completed": 1}
    assert (await prove(database_url)).exact


async def test_kept_counts_are_part_of_a_rebuild(database: Connection, database_url: str) -> None:
    await stored(database, *ended(40), *ended(3, n=2))
    await keep(database, 30)
    await prune(database, NOON)
    await database.execute("DELETE FROM daily_call_deltas")
    await callfold("rebuild", database_url=database_url)
    assert await counted_calls(database) == {"completed": 2}
    assert (await prove(database_url)).exact


async def test_events_older_than_is_kept_are_quarantined_and_bring_nothing_back(
    database: Connection, database_url: str
) -> None:
    await stored(database, *ended(40))
    await keep(database, 30)
    await prune(database, NOON)
    batch = await stored(database, *ended(40), *ended(29, n=2))
    assert [event.id for event, _ in batch.refused] == ["1", "2"]
    assert await counted_calls(database) == {"completed": 2}
    reasons = await database.fetch("SELECT DISTINCT reason FROM quarantined_records")
    assert [row["reason"] for row in reasons] == [
        "timestamp: is before 2026-10-25T00:00:00+00:00; older events are not kept; "
        "stored without content, because it is older than the retention"
    ]
    assert (await prove(database_url)).exact


async def test_redelivery_of_what_is_there_or_deleted_changes_nothing_however_old(
    database: Connection, database_url: str
) -> None:
    """Its age is no reason to quarantine a duplicate, above all one of a deleted call."""
    await stored(database, *ended(40), *ended(40, n=2))
    assert await delete(database, ORGANIZATION, UUID(int=2), livemode=True, actor="test")
    await keep(database, 30)
    again = await stored(database, *ended(40), *ended(40, n=2))
    assert (again.duplicates, len(again.of_deleted_calls), again.refused) == (2, 2, [])
    assert await database.fetchval("SELECT count(*) FROM quarantined_records") == 0
    assert (await prove(database_url)).exact


async def test_a_call_that_gets_an_event_while_it_is_pruned(
    database: Connection, rival: Connection, database_url: str
) -> None:
    """Ingest has written but not committed: the call is left to the next round."""
    await stored(database, *ended(40))
    await keep(database, 30)
    batch = await prepared(rival, event("call.updated", id="3", call_id=UUID(int=1), cost="9"))
    async with rival.transaction():
        await write(rival, batch, [])
        assert await prune(database, NOON) == 0
    assert await prune(database, NOON) == 1
    assert await database.fetchval("SELECT count(*) FROM call_events") == 0
    assert (await prove(database_url)).exact


async def test_who_says_that_calls_are_kept_for_ever_loses_none_from_then_on(
    database: Connection, rival: Connection, database_url: str
) -> None:
    """Here while the organization's calls are about to be pruned."""
    await stored(database, *ended(40))
    await keep(database, 30)
    async with rival.transaction():
        await rival.execute("UPDATE organizations SET retention_days = NULL")
        pruning = asyncio.create_task(prune(database, NOON, counts="drop"))
        waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
        await until(lambda: rival.fetchval(waits), "the prune to wait for the operator")
    assert await pruning == 0
    assert await counted_calls(database) == {"completed": 1}
    assert (await prove(database_url)).exact


async def test_live_and_test_calls_are_pruned_in_parts(database: Connection, database_url: str) -> None:
    start = NOON - timedelta(days=40)
    await stored(
        database,
        *(
            event("call.initiated", call_id=UUID(int=n), timestamp=start, livemode=n % 3 > 0)
            for n in range(1, 2_000)
        ),
    )
    await keep(database, 30)
    assert await prune(database, NOON) == 1_999
    assert (await prove(database_url)).exact


async def test_a_chore_that_can_not_be_done_is_told_once_and_keeps_the_other_from_nothing(
    database: Connection, rival: Connection, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await stored(database, *ended(40))
    await keep(database, 30)
    stop = asyncio.Event()
    settings = AggregatorSettings(database_url=database_url, prune_counts="drop")
    async with rival.transaction():
        await rival.execute("LOCK TABLE daily_call_counts")  # which the chore that ends silent calls reads
        chores = asyncio.create_task(do_chores(settings, stop))
        waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
        await until(lambda: rival.fetchval(waits), "the chores to wait")
        await database.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'callfold-chores' AND wait_event_type = 'Lock'"
        )
        gone = "SELECT NOT EXISTS (SELECT 1 FROM calls)"
        await until(lambda: database.fetchval(gone), "the old call to go")

    def done_again() -> bool:
        return any(message.startswith("can end silent calls again after ") for message in caplog.messages)

    await until(done_again, "the chore to be done")
    stop.set()
    await chores
    warnings = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert len(warnings) == 2
    assert warnings[0].startswith("cannot end silent calls now: ")
    assert warnings[1].startswith("can end silent calls again after ")
    log = await database.fetchrow("SELECT actor, action, details FROM audit_log")
    assert tuple(log or ()) == ("aggregator", "calls and their counts pruned", "1 calls")


async def test_prune_by_command(database: Connection, database_url: str) -> None:
    await stored(database, *ended(40))
    await keep(database, 30)
    done = await callfold("prune", "--counts", "drop", database_url=database_url)
    assert done.output == "1 call removed; their counts are dropped.\n0 quarantined records removed.\n"
    assert await database.fetchval("SELECT count(*) FROM calls WHERE id = $1", CALL) == 0
    log = await database.fetchrow("SELECT action, subject, details FROM audit_log")
    assert tuple(log or ()) == ("calls pruned", "all organizations", "counts: drop")
