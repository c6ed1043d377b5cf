"""Aggregator, locks, proof, repairs and deletions on a database that Citus distributes.

They need a real one: CALLFOLD_TEST_CITUS_URL names a database with the extension and its nodes. The tests
create databases beside it, on all of its servers."""

import asyncio
import os
import re
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import fields
from datetime import timedelta
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import pytest

from services.aggregator.app import run as run_aggregator
from services.aggregator.apply_on_node import apply_on_node
from services.aggregator.metrics import Metrics
from services.aggregator.prune import prune
from services.aggregator.quarantine_erasure import place_quarantined, prune_quarantined, remove_deleted
from services.aggregator.reap import EVERYTHING, reap
from services.ops.proof.proof import prove, prove_connection
from services.ops.proof.statements import OF_SHARD
from services.ops.repair import rebuild
from shared.calls.event import Event
from shared.database.connection import Connection
from shared.database.distributed import servers, url_of
from shared.database.held_locks import NotEverywhere, hold_on_each_server
from shared.database.locks import DAYS_LOCK
from shared.migrations.distribute import distribute
from shared.migrations.upgrade import upgrade
from shared.settings.aggregator import AggregatorSettings
from shared.store.batch import write
from shared.store.delete import delete
from shared.store.quarantine import BadRecord, hold_call_alone, hold_calls
from shared.store.sources import forget_source_calls
from shared.store.time_zone_change import move_days
from tests.support import seed
from tests.support.command_line import callfold
from tests.support.events import NOON, event
from tests.support.processes import until
from tests.support.storing import prepared, record, store, stored, waits_for_a_lock

CITUS_URL = os.environ.get("CALLFOLD_TEST_CITUS_URL", "")
NOW = NOON
ORGANIZATIONS = [UUID(int=n) for n in range(1, 13)]
LATE = "2026-11-24T23:30:00Z"

pytestmark = pytest.mark.skipif(not CITUS_URL, reason="CALLFOLD_TEST_CITUS_URL names no database of Citus")


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def _nodes() -> list[tuple[str, int]]:
    """The addresses of the workers."""
    connection = await asyncpg.connect(CITUS_URL)
    try:
        if not await connection.fetchval("SELECT to_regclass('pg_dist_node') IS NOT NULL"):
            return []
        rows = await connection.fetch("SELECT nodename, nodeport FROM pg_dist_node WHERE groupid <> 0")
        return [(host, port) for host, port in rows]
    finally:
        await connection.close()


@pytest.fixture(scope="module")
async def url() -> AsyncIterator[str]:
    """The URL of the coordinator, with a migrated and distributed database. A server without workers is one
    itself."""
    name = f"test_{uuid.uuid4().hex}"
    nodes = await _nodes()
    servers_there = [CITUS_URL, *(url_of(CITUS_URL, *node) for node in nodes)]
    for server in servers_there:
        await _execute(
            server, "SET citus.enable_create_database_propagation = off", f"CREATE DATABASE {name}"
        )
        await _execute(_named(server, name), "CREATE EXTENSION citus")
    coordinator = _named(CITUS_URL, name)
    place = urlsplit(coordinator)
    await _execute(
        coordinator,
        f"SELECT citus_set_coordinator_host('{place.hostname}', {place.port})",
        *(f"SELECT citus_add_node('{host}', {port})" for host, port in nodes),
        *(
            f"SELECT citus_set_node_property('{place.hostname}', {place.port}, 'shouldhaveshards', true)"
            for _ in [0]
            if not nodes
        ),
    )
    await asyncio.to_thread(upgrade, coordinator)
    await distribute(coordinator)
    yield coordinator
    for server in servers_there:
        await _execute(
            server,
            "SET citus.enable_create_database_propagation = off",
            f"DROP DATABASE {name} WITH (FORCE)",
        )


def _named(url: str, database: str) -> str:
    return urlsplit(url)._replace(path=f"/{database}").geturl()


@pytest.fixture
async def citus(url: str) -> AsyncIterator[Connection]:
    """A connection to the coordinator, whose tables are empty but for organizations."""
    connection = await asyncpg.connect(url)
    for (table,) in await connection.fetch("SELECT logicalrelid::text FROM pg_dist_partition"):
        if table != "alembic_version":
            await connection.execute(f"DELETE FROM {table}")  # noqa: S608
    yield connection
    await connection.close()


@pytest.fixture
async def everywhere(url: str, citus: Connection) -> AsyncIterator[list[Connection]]:
    """A connection to each server, the coordinator first."""
    urls = dict.fromkeys([url, *(server.url for server in await servers(citus, url))])
    connections = [await asyncpg.connect(one) for one in urls]
    yield connections
    for connection in connections:
        await connection.close()


def calls_of(organizations: Sequence[UUID], at: str = LATE, calls: int = 3) -> list[Event]:
    return [
        event(
            "call.initiated",
            id=f"evt_{organization}_{n}",
            organization_id=organization,
            call_id=UUID(int=n),
            timestamp=at,
        )
        for organization in organizations
        for n in range(1, calls + 1)
    ]


async def is_exact(url: str) -> bool:
    proof = await prove(url)
    assert [str(one) for one in proof.differences] == []
    return proof.exact


async def test_each_server_applies_its_deltas_in_one_process(url: str, citus: Connection) -> None:
    await stored(citus, *calls_of(ORGANIZATIONS))
    metrics, stop = Metrics(), asyncio.Event()
    settings = AggregatorSettings(database_url=url)
    assert metrics.waiting == "connects to the database"
    aggregator = asyncio.create_task(run_aggregator(settings, metrics, stop))

    async def is_done() -> bool:
        return not await citus.fetchval("SELECT count(*) FROM daily_call_deltas")

    await until(is_done, "all deltas are applied")
    await until(lambda: metrics.waiting is None, "all servers answer")
    assert metrics.registry.get_sample_value("callfold_aggregator_deltas_applied_total") == 12
    assert metrics.registry.get_sample_value("callfold_aggregator_deltas_waiting") is not None
    stop.set()
    await aggregator
    assert await is_exact(url)
    assert await citus.fetchval("SELECT sum(calls) FROM daily_call_counts") == 36


@pytest.mark.parametrize("mode", ["force_logical", "block_writes"])
async def test_a_shard_is_not_moved_while_its_deltas_are_applied(
    url: str, citus: Connection, everywhere: list[Connection], mode: str
) -> None:
    if len(everywhere) < 3:
        pytest.skip("one server has nowhere to move a shard to")
    await stored(citus, *calls_of(ORGANIZATIONS))
    _, worker, other = everywhere
    shard = await worker.fetchval(
        "SELECT min(shardid) FROM pg_dist_shard JOIN pg_dist_placement USING (shardid) "
        "JOIN pg_dist_local_group USING (groupid) WHERE logicalrelid = 'calls'::regclass"
    )
    there = "SELECT nodename, nodeport FROM pg_dist_node JOIN pg_dist_local_group USING (groupid)"
    places = [*(await worker.fetchrow(there) or ()), *(await other.fetchrow(there) or ())]
    move = "SELECT citus_move_shard_placement($1, $2, $3, $4, $5, $6::text::citus.shard_transfer_mode)"
    async with worker.transaction():
        assert await apply_on_node(worker, 1_000) > 0
        moving = asyncio.create_task(citus.execute(move, shard, *places, mode))
        await until(lambda: one_waits(everywhere), "the move to wait")
        assert not moving.done()
    await moving
    assert await apply_on_node(worker, 1_000) + await apply_on_node(other, 1_000) > 0
    assert await is_exact(url)
    await citus.execute(move, shard, *places[2:], *places[:2], mode)


async def one_waits(everywhere: list[Connection]) -> bool:
    """Whether a session waits for a lock on any server."""
    return any([await waits_for_a_lock(connection) for connection in everywhere])


async def test_a_delete_and_a_bad_record_exclude_each_other_at_any_two_servers(
    citus: Connection, everywhere: list[Connection]
) -> None:
    key = ORGANIZATIONS[0], UUID(int=1)
    for first in everywhere:
        for second in [one for one in everywhere if one is not first]:
            deleting = first.transaction()
            await deleting.start()
            await hold_call_alone(first, *key)
            async with second.transaction():
                holding = asyncio.create_task(hold_calls(second, [key]))
                assert not (await asyncio.wait({holding}, timeout=0.1))[0]
                await deleting.rollback()
                await holding


async def test_a_lock_on_each_server_excludes_ingest_wherever_it_is_connected(
    citus: Connection, everywhere: list[Connection]
) -> None:
    share = "SELECT pg_try_advisory_xact_lock_shared($1)"
    assert [await one.fetchval(share, DAYS_LOCK) for one in everywhere] == [True] * len(everywhere)
    async with citus.transaction():
        await hold_on_each_server(citus, DAYS_LOCK, ORGANIZATIONS[0], seconds=5)
        assert [await one.fetchval(share, DAYS_LOCK) for one in everywhere] == [False] * len(everywhere)
    assert [await one.fetchval(share, DAYS_LOCK) for one in everywhere] == [True] * len(everywhere)


async def test_a_lock_waits_for_ingest_at_any_server(citus: Connection, everywhere: list[Connection]) -> None:
    for one in everywhere:
        writing = one.transaction()
        await writing.start()
        await one.execute("SELECT pg_advisory_xact_lock_shared($1)", DAYS_LOCK)
        changing = citus.transaction()
        await changing.start()
        with pytest.raises(TimeoutError):
            await hold_on_each_server(citus, DAYS_LOCK, ORGANIZATIONS[0], seconds=0.3)
        await changing.rollback()
        await writing.rollback()


async def test_a_worker_cannot_lock_all_servers(everywhere: list[Connection]) -> None:
    for worker in everywhere[1:]:
        async with worker.transaction():
            with pytest.raises(NotEverywhere, match="connect to the coordinator"):
                await hold_on_each_server(worker, DAYS_LOCK, ORGANIZATIONS[0], seconds=5)


async def test_a_transaction_that_lost_a_lock_does_not_commit(
    url: str, citus: Connection, everywhere: list[Connection]
) -> None:
    others = everywhere[1:]
    await stored(citus, *calls_of(ORGANIZATIONS[:1]))
    for worker in others:
        transaction = citus.transaction()
        await transaction.start()
        await move_days(citus, ORGANIZATIONS[0], "Asia/Tokyo")
        ended = await worker.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_locks "
            "WHERE locktype = 'advisory' AND objid = $1::bigint & 4294967295 "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            DAYS_LOCK,
        )
        assert ended == 1
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
            await transaction.commit()
        assert await citus.fetchval("SELECT DISTINCT time_zone FROM organizations") == "UTC"
        assert await is_exact(url)


async def test_a_call_that_comes_between_the_passes_is_moved(
    url: str, citus: Connection, everywhere: list[Connection]
) -> None:
    """Also where the numbers of the coordinator's transactions are ahead of those of the call's server."""
    for _ in range(300):
        await citus.execute("SELECT pg_current_xact_id()")
    for organization in ORGANIZATIONS[:4]:
        for ingest in everywhere:
            await stored(citus, *calls_of([organization]))
            await _move(url, organization, "UTC")
            new = event(
                "call.initiated",
                organization_id=organization,
                call_id=UUID(int=100 + everywhere.index(ingest)),
                timestamp=LATE,
            )
            batch = await prepared(ingest, new)
            async with ingest.transaction(isolation="read_committed"):
                await ingest.execute("SELECT pg_advisory_xact_lock_shared($1)", DAYS_LOCK)
                moving = asyncio.create_task(_move(url, organization, "Asia/Tokyo"))

                async def waits(at: Connection = ingest) -> bool:
                    return await waits_for_a_lock(at)

                await until(waits, "the change waits for ingest")
                await write(ingest, batch, [])
            assert await moving == await citus.fetchval(
                "SELECT count(*) FROM calls WHERE organization_id = $1", organization
            )
            assert await is_exact(url)


async def _move(url: str, organization_id: UUID, time_zone: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            return await move_days(connection, organization_id, time_zone)
    finally:
        await connection.close()


async def test_the_chores_do_on_citus_what_they_do_on_one_postgresql(
    url: str, citus: Connection, database: Connection, database_url: str
) -> None:
    organizations = ORGANIZATIONS[:6]
    old = (NOW - timedelta(days=30)).isoformat()
    recent = (NOW - timedelta(days=2)).isoformat()
    done = []
    for connection, its_url in ((citus, url), (database, database_url)):
        events, bad = calls_of(organizations, old), list[BadRecord]()
        for n, one in enumerate(organizations):
            events += calls_of([one], recent, calls=4)[3:]
            value = f'{{"organization_id":"{one}","call_id":"c"}}'.encode()
            bad.append(BadRecord(record(value, offset=n), "type: is missing"))
        arrived = [(record(one.payload.encode(), offset=100 + n), one) for n, one in enumerate(events)]
        await store(connection, arrived, bad, now=NOW)
        assert await delete(connection, organizations[0], UUID(int=1), livemode=True, actor="test")
        await connection.execute(
            "UPDATE organizations SET retention_days = 10 WHERE id = ANY($1)", organizations[:3]
        )
        await connection.execute(
            "INSERT INTO source_calls (organization_id, source_id, call_id, seen_at) "
            "SELECT $1, $1, n::text, $2 FROM generate_series(1, 5) AS n",
            organizations[0],
            NOW - timedelta(days=90),
        )
        silence = timedelta(hours=4)
        results = [
            await reap(connection, NOW, silence, read_until=None),
            await reap(connection, NOW, silence, read_until=EVERYTHING),
            await place_quarantined(connection, NOW),
            await remove_deleted(connection),
            await prune_quarantined(connection, NOW + timedelta(days=11)),
            await prune(connection, NOW, counts="keep"),
            await prune(connection, NOW, counts="drop"),
            await forget_source_calls(connection, NOW - timedelta(days=30)),
        ]
        cells = await connection.fetch(
            "SELECT organization_id, day, status, sum(calls) FROM "
            "(SELECT organization_id, day, status, calls FROM daily_call_counts "
            "UNION ALL SELECT organization_id, day, status, calls FROM daily_call_deltas) AS part "
            "GROUP BY 1, 2, 3 HAVING sum(calls) <> 0 ORDER BY 1, 2, 3"
        )
        left = [
            await connection.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608
            for table in ("calls", "call_events", "quarantined_records", "silent_calls", "source_calls")
        ]
        done.append((results, [tuple(cell) for cell in cells], left))
        assert await is_exact(its_url)
    assert done[0] == done[1]


async def test_the_proof_finds_what_the_repairs_mend(url: str, citus: Connection) -> None:
    await stored(citus, *calls_of(ORGANIZATIONS))
    assert await is_exact(url)
    await citus.execute(
        "UPDATE daily_call_deltas SET calls = calls + 3 WHERE organization_id = $1", ORGANIZATIONS[3]
    )
    await citus.execute("UPDATE calls SET status = 'ringing' WHERE organization_id = $1", ORGANIZATIONS[4])
    proof = await prove(url)
    assert {one.organization_id for one in proof.differences} == {ORGANIZATIONS[3], ORGANIZATIONS[4]}
    assert proof.snapshots > 1
    assert not (await prove(url, ORGANIZATIONS[3])).exact
    assert (await prove(url, ORGANIZATIONS[0])).exact
    assert not (await prove_connection(citus, sample_calls=5)).exact
    assert (await callfold("refold", "--json", database_url=url)).json["repaired"] == 3
    assert (await callfold("rebuild", "--json", database_url=url)).json["cells"] > 0
    told = await callfold("verify", "--record", database_url=url)
    assert told.output.endswith(
        "EXACT: every count and every call is proved, of each organization in one snapshot.\n"
    )


async def test_calls_of_no_organization_are_found(url: str, citus: Connection) -> None:
    await stored(citus, *calls_of(ORGANIZATIONS[:2]))
    await citus.execute("DELETE FROM organizations WHERE id = $1", ORGANIZATIONS[1])
    assert [one.kind for one in (await prove(url)).differences] == ["organization"]


async def test_an_organization_is_deleted_whole(url: str, citus: Connection) -> None:
    own = ORGANIZATIONS[0]
    await stored(citus, *calls_of(ORGANIZATIONS[:3]))
    await citus.execute("UPDATE organizations SET retention_days = 10 WHERE id = $1", own)
    assert await prune(citus, NOW + timedelta(days=20), counts="keep") == 3
    await stored(citus, *calls_of([own]), now=NOW)
    assert await reap(citus, NOW + timedelta(days=1), timedelta(hours=4), read_until=None) == (0, 9)
    bad = BadRecord(record(f'{{"organization_id":"{own}"}}'.encode()), "type: is missing")
    await store(citus, [], [bad], now=NOW)
    await seed.webhook(citus, own)
    await citus.execute("INSERT INTO source_calls VALUES ($1, $1, 'call')", own)
    await citus.execute(
        "INSERT INTO phone_numbers (organization_id, number, phone_number_id) VALUES ($1, '+49', $1)", own
    )
    await seed.key(citus, own)
    told = await callfold("org", "delete", own, "--yes", "--json", database_url=url)
    assert (told.status, told.json["left"]) == (0, {})
    assert {table: rows for table, rows in told.json["removed"].items() if table in REMOVED} == REMOVED
    assert await is_exact(url)
    await stored(citus, *calls_of([own], calls=4))
    assert await citus.fetchval("SELECT count(*) FROM calls") == 6


REMOVED = {
    "calls": 3,
    "pruned_call_counts": 1,
    "silent_calls": 3,
    "quarantined_records": 1,
    "webhooks": 1,
    "webhook_messages": 1,
    "webhook_deliveries": 1,
    "source_calls": 1,
    "phone_numbers": 1,
    "api_keys": 1,
    "organizations": 1,
}


async def test_statements_that_compare_rows_are_passed_on_whole(citus: Connection) -> None:
    """Only then do they see one snapshot."""
    some, numbered = f"'{{{ORGANIZATIONS[0]}}}'", re.compile("{(percent|seed)}")
    of_shard = {field.name: getattr(OF_SHARD, field.name) for field in fields(OF_SHARD)}
    for name, statement in of_shard.items():
        assert await _tasks(citus, numbered.sub("1", statement).replace("$1", some)) == 1, name
    for statement in (rebuild._DIFFERENCES, rebuild._COUNT):
        days = statement.replace("$2", "NULL").replace("$3", "NULL")
        assert await _tasks(citus, days.replace("$1", f"'{ORGANIZATIONS[0]}'")) == 1


async def _tasks(citus: Connection, statement: str) -> int:
    """The number of tasks of a statement that Citus passes on whole; 0 of one that it takes apart."""
    plan = "\n".join(line for (line,) in await citus.fetch(f"EXPLAIN {statement}"))
    found = re.findall("Task Count: (\\d+)", plan)
    return int(found[0]) if len(found) == 1 and "Subplan" not in plan else 0
