"""Calls that the version before step 0011 folded and counted: exact while the current laws fold them again.

That version wrote `data/step_0010.sql`. It has calls for each new law, and random calls. It also has a
call that callfold ended and that later got events, a deleted call, and unapplied deltas.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from services.ops.proof.proof import Proof, prove, prove_connection
from services.ops.proof.statements import OF_ONE_OR_ALL
from services.ops.repair.refold import refold_calls
from shared.calls.fold import LAWS
from shared.database.connection import Connection
from shared.migrations.upgrade import HERE, upgrade
from shared.store.delete import delete
from tests.support.applying import apply_deltas
from tests.support.command_line import callfold
from tests.support.databases import Databases
from tests.support.events import NOON, ORGANIZATION, event
from tests.support.repository import ROOT
from tests.support.storing import stored

WRITTEN_BY_THE_OLDER_VERSION = ROOT / "tests" / "data" / "step_0010.sql"
CALLS, DELETED = 51, 1


@pytest.fixture
async def older_url(databases: Databases, tmp_path: Path) -> AsyncIterator[str]:
    """A database of step 0010, with the older version's data, migrated to the newest step."""
    scripts = tmp_path / "migrations"
    shutil.copytree(HERE, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    for newer in sorted((scripts / "versions").glob("00*.py")):
        if newer.name >= "0011":
            newer.unlink()
    async with databases.empty() as url:
        await asyncio.to_thread(upgrade, url, scripts=scripts)
        connection = await asyncpg.connect(url)
        await connection.execute(WRITTEN_BY_THE_OLDER_VERSION.read_text())
        await connection.close()
        await asyncio.to_thread(upgrade, url)
        yield url


@pytest.fixture
async def older(older_url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(older_url)
    yield connection
    await connection.close()


async def assert_counted(connection: Connection) -> None:
    """Asserts that counts and totals, with their deltas, are a recount of the calls."""
    assert [
        tuple(row) for row in await connection.fetch(OF_ONE_OR_ALL.cells, None) if row[1] is not None
    ] == []


async def proved(connection: Connection, older_calls: int) -> Proof:
    """A proof without differences, with this number of calls folded by older laws."""
    proof = await prove_connection(connection)
    assert proof.differences == ()
    assert proof.folded_by_older_laws == older_calls
    assert proof.exact == (older_calls == 0)
    return proof


async def keys(connection: Connection) -> list[tuple[UUID, UUID]]:
    return [
        (row[0], row[1])
        for row in await connection.fetch("SELECT organization_id, id FROM calls ORDER BY id")
    ]


async def call(connection: Connection, n: int, *columns: str) -> tuple[Any, ...]:
    row = await connection.fetchrow(f"SELECT {', '.join(columns)} FROM calls WHERE id = $1", UUID(int=n))  # noqa: S608
    assert row is not None
    return tuple(row)


async def test_verify_distinguishes_older_calls_from_wrong_ones(older: Connection, older_url: str) -> None:
    proof = await proved(older, CALLS)
    assert (proof.calls, proof.tombstones, proof.deltas) == (CALLS, DELETED, 2)
    said = await callfold("verify", database_url=older_url)
    assert said.status == 1
    assert f"REFOLD: an older version of callfold folded {CALLS} calls. No count is wrong" in said.output
    assert "NOT EXACT" not in said.output

    await older.execute("UPDATE calls SET version = version + 1 WHERE id = $1", UUID(int=3))
    await older.execute("UPDATE daily_call_counts SET calls = calls + 1")
    proof = await prove_connection(older)
    assert {difference.kind for difference in proof.differences} == {"call", "cell"}


async def test_every_snapshot_is_exact_while_calls_are_folded_during_traffic(
    older: Connection, older_url: str
) -> None:
    """Between two chunks of the refold, older calls get events, one is deleted, and deltas are applied."""
    left = await keys(older)
    n = 0
    while left:
        chunk, left = left[:5], left[5:]
        n += 1
        await refold_calls(older, chunk)
        await assert_counted(older)
        if left:
            (owner, next_call), *_ = left
            at = NOON + timedelta(seconds=300 + n)
            await stored(older, event("call.completed", id=f"live_{n}", call_id=next_call, timestamp=at))
            await assert_counted(older)
        if len(left) > 3:
            owner, gone = left.pop(2)
            livemode = await older.fetchval("SELECT livemode FROM calls WHERE id = $1", gone)
            assert await delete(older, owner, gone, livemode=livemode, actor="test")
            await assert_counted(older)
        await apply_deltas(older, 3)
        await assert_counted(older)
        proof = await prove_connection(older)
        assert proof.differences == ()
        # The current laws have already folded a call that got an event.
        assert proof.folded_by_older_laws == max(len(left) - 1, 0)
    assert (await prove(older_url)).exact


async def test_after_the_refold_the_new_laws_hold(older: Connection, older_url: str) -> None:
    assert await call(older, 1, "status", "hangup_cause") == ("busy", "USER_BUSY")
    dry = await callfold("refold", "--dry-run", "--json", database_url=older_url)
    assert dry.json["by_older_laws"] == CALLS
    done = await callfold("refold", database_url=older_url)
    assert done.status == 0
    assert f"An older version had folded {CALLS} of these calls." in done.output
    await proved(older, 0)
    assert await older.fetchval("SELECT bool_and(laws = $1) FROM calls", LAWS)

    assert await call(older, 1, "status", "duration", "hangup_cause") == ("in_progress", None, None)
    assert await call(older, 2, "status", "duration") == ("completed", 30)
    assert await call(older, 3, "duration", "cost", "hangup_cause") == (59, 150 / 100, "NORMAL_CLEARING")
    assert await call(older, 4, "answered_at") == (NOON + timedelta(seconds=6),)
    assert await call(older, 5, "status", "answered_at") == ("completed", None)
    assert await call(older, 6, "answered_at", "duration") == (NOON + timedelta(seconds=4), 56)
    assert await call(older, 7, "livemode", "duration", "cost") == (False, 55, None)
    assert await call(older, 8, "from_number", "recording_url", "hangup_cause") == (
        None,
        None,
        "NORMAL_CLEARING",
    )
    assert await call(older, 11, "status", "hangup_cause") == ("in_progress", None)
    assert await call(older, 12, "answered_at") == (NOON + timedelta(seconds=5),)
    made_up = "SELECT count(*) FROM call_events WHERE call_id = $1 AND type = 'callfold.missing_hangup'"
    assert await older.fetchval(made_up, UUID(int=11)) == 0

    again = await callfold("refold", "--json", database_url=older_url)
    assert (again.json["repaired"], again.json["by_older_laws"]) == (0, 0)
    counted_as_answered = "SELECT sum(answered) FROM daily_call_totals WHERE organization_id = $1"
    await apply_deltas(older, 10_000)
    assert await older.fetchval(counted_as_answered, ORGANIZATION) == await older.fetchval(
        "SELECT count(*) FROM calls WHERE answered_at IS NOT NULL OR status = 'completed'"
    )
