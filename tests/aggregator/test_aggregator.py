"""The aggregator: deltas become counts, and no answer changes."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from shared.counts.cell import Cell, Measures
from shared.database.connection import Connection
from shared.store.deltas_channel import DELTAS_CHANNEL
from tests.support.applying import apply_deltas
from tests.support.processes import Service, until

COLUMNS = (*Cell._fields, *Measures._fields)
ANSWER = f"""
SELECT {", ".join(Cell._fields)}, {", ".join(f"sum({m})" for m in Measures._fields)}
FROM (SELECT {", ".join(COLUMNS)} FROM daily_call_counts
      UNION ALL SELECT {", ".join(COLUMNS)} FROM daily_call_deltas) AS counted
GROUP BY {", ".join(Cell._fields)} ORDER BY {", ".join(Cell._fields)}
"""  # noqa: S608


@pytest.fixture
async def others(database_url: str) -> AsyncIterator[list[Connection]]:
    connections = [await asyncpg.connect(database_url) for _ in range(4)]
    yield connections
    for connection in connections:
        await connection.close()


async def write_deltas(database: Connection, count: int, seed: int = 1) -> None:
    """Random signed deltas over few cells."""
    chance = random.Random(seed)
    await database.executemany(
        "INSERT INTO daily_call_deltas (organization_id, livemode, day, direction, phone_number_id, status, "
        "calls, answered, duration_seconds, cost_cents, latency_ms, latency_calls) "
        "VALUES ($1::text::uuid, $2, date '2026-11-24' + $3::int, 'inbound', $1::text::uuid, $4, "
        "$5, $6, $7, $8, $9, $10)",
        [
            (
                f"00000000-0000-0000-0000-00000000000{chance.randrange(3)}",
                chance.random() < 0.5,
                chance.randrange(4),
                chance.choice(["ringing", "completed"]),
                *(chance.randrange(-5, 9) for _ in range(6)),
            )
            for _ in range(count)
        ],
    )


async def test_deltas_are_added_to_the_counts_and_gone(database: Connection) -> None:
    await write_deltas(database, 500)
    before = await database.fetch(ANSWER)
    assert await apply_deltas(database, 200) == 200
    assert await database.fetch(ANSWER) == before, "in the middle of it"
    assert await apply_deltas(database, 1000) == 300
    assert await apply_deltas(database, 1000) == 0
    assert await database.fetch(ANSWER) == before
    assert await database.fetchval("SELECT count(*) FROM daily_call_deltas") == 0


async def test_several_work_side_by_side_while_more_come_and_every_answer_is_exact(
    database: Connection, others: list[Connection]
) -> None:
    """Each delta takes effect once, with any aggregator that takes it. A reader between any two steps sees
    the same sum."""
    await write_deltas(database, 2000)
    before = await database.fetch(ANSWER)
    answers = []

    async def apply(connection: Connection) -> int:
        applied = 0
        while step := await apply_deltas(connection, 37):
            applied += step
            answers.append(await connection.fetch(ANSWER))
        return applied

    assert sum(await asyncio.gather(*map(apply, others))) == 2000
    assert all(answer == before for answer in answers)


async def test_a_rolled_back_application_leaves_the_deltas(database: Connection) -> None:
    await write_deltas(database, 100)
    before = await database.fetch(ANSWER)
    transaction = database.transaction()
    await transaction.start()
    await apply_deltas(database, 60)
    await transaction.rollback()
    assert await database.fetchval("SELECT count(*) FROM daily_call_deltas") == 100
    assert await database.fetch(ANSWER) == before


async def test_the_process_applies_what_comes_and_survives_a_lost_connection(
    database: Connection, database_url: str, tmp_path: Path
) -> None:
    aggregator = Service("aggregator", tmp_path / "aggregator.log", database_url=database_url)

    async def none_left() -> bool:
        return not await database.fetchval("SELECT EXISTS (SELECT 1 FROM daily_call_deltas)")

    try:
        for seed in range(3):
            await write_deltas(database, 50, seed=seed)
            before = await database.fetch(ANSWER)
            await database.execute(f"NOTIFY {DELTAS_CHANNEL}")
            await until(none_left, "the deltas to be applied")
            assert await database.fetch(ANSWER) == before
            await database.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'callfold-aggregator' AND datname = current_database()"
            )
        assert aggregator.stop() == 0
    finally:
        if aggregator.running:
            aggregator.kill()


async def test_it_takes_deltas_without_being_told_within_its_interval(
    database: Connection, database_url: str, tmp_path: Path
) -> None:
    """A lost notification costs a second, never a count."""
    await write_deltas(database, 10)
    aggregator = Service("aggregator", tmp_path / "aggregator.log", database_url=database_url)

    async def follows_and_none_left() -> bool:
        return not await database.fetchval("SELECT EXISTS (SELECT 1 FROM daily_call_deltas)")

    try:
        await until(follows_and_none_left, "the first deltas to be applied")
        await write_deltas(database, 10, seed=2)
        await until(follows_and_none_left, "deltas to be found without word of them")
    finally:
        aggregator.kill()
