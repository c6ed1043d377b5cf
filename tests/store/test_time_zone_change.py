"""An organization's time zone changes: its calls move to their days in it, exact in every snapshot."""

import asyncio
from datetime import date
from uuid import UUID

import asyncpg
import pytest

from services.ops.proof.proof import prove
from shared.calls.event import Event
from shared.database.connection import Connection
from shared.store.batch import Overtaken, write
from shared.store.delete import delete
from shared.store.time_zone_change import move_days
from tests.support.command_line import callfold
from tests.support.events import CALL, ORGANIZATION, event
from tests.support.processes import until
from tests.support.storing import prepared, stored, waits_for_a_lock

OTHER = UUID(int=7)
LATE = "2026-11-24T23:30:00Z"


def at(instant: str, n: int = 1, **fields: object) -> Event:
    return event("call.initiated", call_id=UUID(int=n), timestamp=instant, **fields)


async def days(database: Connection) -> dict[date, int]:
    """Calls by day, as a reader adds them up."""
    rows = await database.fetch(
        "SELECT day, sum(calls)::int AS calls FROM (SELECT day, calls FROM daily_call_counts "
        "UNION ALL SELECT day, calls FROM daily_call_deltas) c GROUP BY day HAVING sum(calls) <> 0"
    )
    return {row["day"]: row["calls"] for row in rows}


async def test_calls_and_counts_move_together(database: Connection, database_url: str) -> None:
    await stored(database, at(LATE), at("2026-11-24T12:00:00Z", 2), at(LATE, organization_id=OTHER))
    assert await days(database) == {date(2026, 11, 24): 3}
    done = await callfold(
        "org", "set-time-zone", ORGANIZATION, "Europe/Berlin", "--json", database_url=database_url
    )
    assert done.json["moved_calls"] == 2, "one to another day, one to another hour of its day"
    assert await days(database) == {date(2026, 11, 24): 2, date(2026, 11, 25): 1}
    assert (await prove(database_url)).exact
    back = await callfold("org", "set-time-zone", ORGANIZATION, "UTC", database_url=database_url)
    moved = "2 calls moved to another day or hour"
    assert back.output == f"Set the time zone of organization {ORGANIZATION} to UTC; {moved}.\n"
    assert await days(database) == {date(2026, 11, 24): 3}
    assert (await prove(database_url)).exact
    assert await database.fetchval("SELECT count(*) FROM audit_log WHERE action = 'time zone changed'") == 2


async def test_every_snapshot_has_the_old_days_or_the_new(
    database: Connection, rival: Connection, database_url: str
) -> None:
    await stored(database, *(at(LATE, n) for n in range(1, 200)))
    async with database.transaction():
        assert await move_days(database, ORGANIZATION, "Asia/Tokyo") == 199
        assert await days(rival) == {date(2026, 11, 24): 199}
        assert (await prove(database_url)).exact
    assert await days(rival) == {date(2026, 11, 25): 199}
    assert (await prove(database_url)).exact


async def test_a_batch_that_read_the_old_zone_begins_again(
    database: Connection, rival: Connection, database_url: str
) -> None:
    await stored(database, at(LATE))
    new = await prepared(database, at(LATE, 2))
    known = await prepared(database, at(LATE, 1, id="2"))
    async with rival.transaction():
        await move_days(rival, ORGANIZATION, "Europe/Berlin")
    with pytest.raises(Overtaken, match="a time zone was changed meanwhile"):
        await write(database, new, [])
    with pytest.raises(Overtaken, match="a call was changed"):
        await write(database, known, [])
    await stored(database, at(LATE, 2), at(LATE, 1, id="2"))
    assert await days(database) == {date(2026, 11, 25): 2}
    assert (await prove(database_url)).exact


async def test_a_batch_during_the_change_begins_again_and_does_not_wait(
    database: Connection, rival: Connection, database_url: str
) -> None:
    await stored(database, at(LATE))
    async with rival.transaction():
        await move_days(rival, ORGANIZATION, "Europe/Berlin")
        with pytest.raises(Overtaken, match="a time zone is being changed"):
            await stored(database, at(LATE, 2))
    await stored(database, at(LATE, 2))
    assert await days(database) == {date(2026, 11, 25): 2}
    assert (await prove(database_url)).exact


async def test_what_ingest_wrote_before_the_lock_is_moved_too(
    database: Connection, rival: Connection, database_url: str
) -> None:
    """The batch holds the lock when the change requests it: the change waits, and then sees the batch."""
    await stored(database, at(LATE, 1), at(LATE, 3))
    batch = await prepared(database, at(LATE, 2), at(LATE, 1, id="2"))
    writing = database.transaction()
    await writing.start()
    await write(database, batch, [])
    moving = asyncio.create_task(_move(rival))
    await until(lambda: waits_for_a_lock(database), "the change to wait for the batch")
    await writing.commit()
    assert await moving == 3
    assert await days(database) == {date(2026, 11, 25): 3}
    assert (await prove(database_url)).exact


async def test_a_delete_meanwhile(database: Connection, rival: Connection, database_url: str) -> None:
    await stored(database, event("call.initiated", timestamp=LATE), at(LATE, 2))
    async with rival.transaction():
        await move_days(rival, ORGANIZATION, "Europe/Berlin")
        deleting = asyncio.create_task(delete(database, ORGANIZATION, CALL, livemode=True, actor="test"))
        await until(lambda: waits_for_a_lock(rival), "the delete to wait for the change")
    assert await deleting
    assert await days(database) == {date(2026, 11, 25): 1}
    assert (await prove(database_url)).exact


async def test_ingest_goes_on_through_many_changes(
    database: Connection, rival: Connection, database_url: str
) -> None:
    """Overtaken batches are read again, as in ingest."""
    await stored(database, at(LATE, 1))
    went_on = asyncio.Event()

    async def change() -> None:
        for zone in ("Europe/Berlin", "America/New_York", "Asia/Tokyo", "UTC") * 3:
            await went_on.wait()
            went_on.clear()
            async with rival.transaction():
                await move_days(rival, ORGANIZATION, zone)

    changing = asyncio.create_task(change())
    n = 1
    while not changing.done():
        try:
            await stored(database, at(f"2026-11-24T{n % 24:02}:30:00Z", n + 1), at(LATE, n, id=str(n)))
        except (Overtaken, asyncpg.DeadlockDetectedError):
            continue
        n += 1
        went_on.set()
    await changing
    proof = await prove(database_url)
    assert proof.exact, proof.differences
    assert proof.calls == n


async def _move(connection: Connection) -> int:
    async with connection.transaction():
        return await move_days(connection, ORGANIZATION, "Europe/Berlin")


WRONG = [
    (("set-time-zone", ORGANIZATION, "Berlin"), "There is no time zone 'Berlin'"),
    (("set-time-zone", UUID(int=0), "UTC"), "There is no organization"),
    (("set-retention", ORGANIZATION, "0"), "DAYS must be from 1 to 36,500, or forever, not '0'."),
    (("rename", ORGANIZATION, " "), "A name must have 1 to 200 printable characters."),
]


@pytest.mark.parametrize(
    ("command", "sentence"), WRONG, ids=[" ".join(map(str, wrong[0])) for wrong in WRONG]
)
async def test_what_can_not_be_changed_is_said(
    database: Connection, database_url: str, command: tuple[str, ...], sentence: str
) -> None:
    await database.execute("INSERT INTO organizations (id, name) VALUES ($1, 'Acme')", ORGANIZATION)
    done = await callfold("org", *command, database_url=database_url)
    assert done.status == 1
    assert sentence in done.failure


async def test_name_and_retention_are_changed(database: Connection, database_url: str) -> None:
    await database.execute("INSERT INTO organizations (id, name) VALUES ($1, 'Acme')", ORGANIZATION)
    await callfold("org", "rename", ORGANIZATION, "Umbrella", database_url=database_url)
    await callfold("org", "set-retention", ORGANIZATION, "90", database_url=database_url)
    assert tuple(await database.fetchrow("SELECT name, retention_days FROM organizations") or ()) == (
        "Umbrella",
        90,
    )
    await callfold("org", "set-retention", ORGANIZATION, "forever", database_url=database_url)
    assert await database.fetchval("SELECT retention_days FROM organizations") is None
