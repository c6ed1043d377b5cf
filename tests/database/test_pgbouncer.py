"""All programs through PgBouncer in transaction mode, where each transaction may run in another session."""

import asyncio
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from services.ingest.lane import SESSION
from services.ops.embedded.servers import Servers
from services.ops.proof.proof import prove_connection
from shared.calls.zones import UTC
from shared.database.connection import Connection, connect
from shared.database.faults import is_passing
from tests.support import seed
from tests.support.api import bearing, get, serving
from tests.support.command_line import callfold
from tests.support.ingesting import call, keyed
from tests.support.pgbouncer import PgBouncer, needs_pgbouncer, pgbouncer
from tests.support.pipeline import Pipeline, calls
from tests.support.processes import Service, until

pytestmark = [needs_pgbouncer, pytest.mark.embedded_postgres, pytest.mark.long]


@pytest.fixture(scope="module")
async def pooler(running: Servers) -> AsyncIterator[PgBouncer]:
    """One PgBouncer for all tests here, with two sessions for each database."""
    with tempfile.TemporaryDirectory(prefix="callfold-pgbouncer-") as scratch:
        directory = Path(scratch)
        directory.chmod(0o777)
        async with pgbouncer(running, directory, pool_size=2) as pooler:
            yield pooler


@pytest.fixture
def aggregator(pooler: PgBouncer, database_url: str, tmp_path: Path) -> Iterator[Service]:
    """An aggregator that connects through the pooler."""
    through = {"database_url": pooler.url(database_url), "database_pooler": "transaction"}
    service = Service("aggregator", tmp_path / "aggregator.log", **through)
    yield service
    if service.running:
        service.kill()


async def test_each_statement_runs_under_the_settings_of_its_own_connection(
    pooler: PgBouncer, database_url: str
) -> None:
    """Inside and outside a transaction, after any previous user of the session."""
    url = pooler.url(database_url)
    one = await connect(url, application_name="one", pooler="transaction", settings=SESSION)
    other = await connect(url, application_name="other", pooler="transaction", settings={"jit": "on"})
    shown = "SELECT current_setting('lock_timeout') || ' ' || current_setting('jit')"
    for _ in range(3):
        assert await one.fetchval(shown) == "10s off"
        assert await other.fetchval(shown) == "0 on"
        async with one.transaction(isolation="repeatable_read", readonly=True):
            assert await one.fetchval("SHOW transaction_isolation") == "repeatable read"
            (row,) = await one.fetch(shown)
            async with other.transaction():
                assert await other.fetchval(shown) == "0 on"
        assert row[0] == "10s off"
    await one.close()
    await other.close()


async def test_a_statement_that_fails_leaves_no_transaction_open(
    pooler: PgBouncer, database_url: str
) -> None:
    connection = await connect(pooler.url(database_url), application_name="test", pooler="transaction")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await connection.fetchval("SELECT 1 / $1::int", 0)
    assert not connection.is_in_transaction()
    assert await connection.execute("CREATE TABLE kept (n int)") == "CREATE TABLE"
    await connection.executemany("INSERT INTO kept VALUES ($1)", [(1,), (2,)])
    assert await connection.execute("DELETE FROM kept WHERE n = $1", 1) == "DELETE 1"
    assert [tuple(row) for row in await connection.fetch("SELECT n FROM kept")] == [(2,)]
    await connection.close()


async def test_the_operators_commands(
    pooler: PgBouncer, running: Servers, bootstrap: str, topic: str, database_url: str
) -> None:
    """From an empty database to the proof, each twice: session state left by one run would affect the
    next."""
    name = f"pooled_{topic.rpartition('-')[2]}"
    server = await asyncpg.connect(database_url)
    await server.execute(f"CREATE DATABASE {name}")
    there = {
        "database_url": pooler.url(f"/{name}"),
        "database_pooler": "transaction",
        "kafka_bootstrap": bootstrap,
        "topic": topic,
    }
    for _ in range(2):
        assert (await callfold("migrate", **there)).output == "The database is up to date.\n"
    made = [(await callfold("org", "create", "Acme", "--json", **there)).json for _ in range(2)]
    assert {one["id"] for one in (await callfold("org", "list", "--json", **there)).json} == {
        one["id"] for one in made
    }
    owner = ("--organization", made[0]["id"])
    keys = [(await callfold("key", "create", *owner, "--json", **there)).json for _ in range(2)]
    assert (await callfold("key", "revoke", keys[0]["key"], **there)).status == 0
    assert len((await callfold("key", "list", *owner, "--json", **there)).json) == 2
    database = await asyncpg.connect(running.database_url(name))
    acme = seed.Tenant(UUID(made[0]["id"]), UTC, keys[1]["key"], "")
    await seed.call(database, acme)
    for _ in range(2):
        proved = await callfold("verify", "--json", **there)
        assert (proved.json["exact"], proved.json["calls"]) == (True, 1)
    assert (await callfold("lag", "--json", **there)).json["deltas"] == 1
    await database.close()
    await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await server.close()


async def test_the_api(pooler: PgBouncer, database_url: str, database: Connection) -> None:
    acme = await seed.tenant(database)
    ids = [await seed.call(database, acme) for _ in range(3)]
    async with serving(pooler.url(database_url), database_pooler="transaction") as api:
        assert (await api.get("/health/ready")).status_code == 200
        for _ in range(2):
            answers = await asyncio.gather(*(get(api, acme, "/calls") for _ in range(20)))
            assert [answer["total"] for answer in answers] == [3] * 20
        assert (await get(api, acme, "/calls", action="stats"))["total"] == 3
        assert (await get(api, acme, f"/calls/{ids[0]}"))["id"] == str(ids[0])
        for status in (204, 404):
            gone = await api.delete(f"/calls/{ids[0]}", headers=bearing(acme.key))
            assert gone.status_code == status
        trends = await get(api, acme, "/calls", action="trends")
        assert sum(day["total"] for day in trends["data"]) == 2


async def test_kills_of_everything_end_exact(
    pipeline: Pipeline, aggregator: Service, pooler: PgBouncer, running: Servers, database_url: str
) -> None:
    """Two ingest processes and an aggregator, while PgBouncer, sessions, the server and one of them are
    killed."""
    through = {"database_url": pooler.url(database_url), "database_pooler": "transaction"}
    records = keyed(calls(400))
    fifth = len(records) // 5
    first, second = (pipeline.start(**through, batch_records="20") for _ in range(2))
    await pipeline.publish(records[:fifth])
    await until(lambda: second.said("reads partitions"), "both to get partitions")
    pooler.kill()
    await pipeline.publish(records[fifth : 2 * fifth])
    await until(lambda: first.said("waits for the database"), "ingest to say that it waits")
    await pooler.start()
    await until(lambda: first.said("the database answers again after"), "ingest to continue")
    await pipeline.publish(records[2 * fifth : 3 * fifth])
    running.postgres.kill(signal.SIGQUIT)
    await pipeline.publish(records[3 * fifth : 4 * fifth])
    first.kill()
    await running.postgres.start()
    third = pipeline.start(**through, batch_records="20")
    publishing = asyncio.create_task(pipeline.publish(records[4 * fifth :]))
    database = await asyncpg.connect(database_url)
    cut: int = 0

    async def cut_a_few() -> bool:
        nonlocal cut
        cut += await database.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return bool(cut >= 6)

    await until(cut_a_few, "six sessions to be cut")
    await publishing
    await pipeline.consumed()
    await pipeline.assert_exact(400)
    applied = "SELECT NOT EXISTS (SELECT 1 FROM daily_call_deltas)"
    await until(lambda: database.fetchval(applied), "the aggregator to have applied all deltas")
    await pipeline.assert_exact(400)
    await database.close()
    assert [service.stop() for service in (second, third, aggregator)] == [0, 0, 0], "none of them ended"


async def test_without_being_told_of_the_pooler_a_process_ends_with_the_reason(
    pipeline: Pipeline, pooler: PgBouncer, database_url: str
) -> None:
    await pipeline.publish(call(0))
    ingest = pipeline.start(database_url=pooler.url(database_url))
    await until(lambda: not ingest.running, "ingest to end")
    assert ingest.said("unsupported startup parameter: ")
    assert ingest.said("CALLFOLD_DATABASE_POOLER=transaction")


async def test_which_of_its_faults_pass(pooler: PgBouncer, running: Servers, database_url: str) -> None:
    """PgBouncer reports all of them with the SQLSTATE of a protocol violation."""
    url = pooler.url(database_url)

    async def ask(url: str) -> None:
        connection = await connect(url, application_name="test", pooler="transaction")
        try:
            await connection.fetchval("SELECT 1")
        finally:
            connection.terminate()

    async def passes(url: str) -> bool:
        with pytest.raises(asyncpg.PostgresError) as caught:
            await ask(url)
        return is_passing(caught.value)

    assert not await passes(url.rpartition("/")[0] + "/nowhere")
    assert not await passes(url.replace("postgres@", "nobody@"))
    holding = [await connect(url, application_name="test", pooler="transaction") for _ in range(2)]
    async with holding[0].transaction(), holding[1].transaction():
        assert await passes(url), "all sessions are in use"
        with pytest.raises(asyncpg.ProtocolViolationError) as of_the_server:
            await holding[0].execute("DO $$ BEGIN RAISE protocol_violation; END $$")
        assert not is_passing(of_the_server.value), "the server itself reports it, not the pooler"
    for connection in holding:
        connection.terminate()
    running.postgres.kill(signal.SIGQUIT)
    try:
        assert await passes(url), "the server is unreachable"
    finally:
        await running.postgres.start()


async def test_a_proof_is_one_snapshot(pooler: PgBouncer, database_url: str) -> None:
    connection = await connect(pooler.url(database_url), application_name="test", pooler="transaction")
    assert (await prove_connection(connection)).exact
    assert not await connection.fetch("SELECT name FROM pg_prepared_statements")
    await connection.close()
