"""The API on a replica: exact for the replica's state, and consistent after a delete."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from services.ops.embedded.servers import Servers
from services.ops.proof.proof import prove
from shared.database.connection import Connection
from tests.support import seed
from tests.support.api import bearing, get, serving
from tests.support.command_line import callfold
from tests.support.containers import ContainerServer
from tests.support.ingesting import call
from tests.support.pipeline import Pipeline
from tests.support.processes import until
from tests.support.replica import Replica, replica_of

pytestmark = pytest.mark.embedded_postgres


@pytest.fixture(scope="module")
async def replica(running: Servers) -> AsyncIterator[Replica]:
    if isinstance(running.postgres, ContainerServer):
        pytest.skip("the replica is a copy of the embedded PostgreSQL")
    with tempfile.TemporaryDirectory(prefix="callfold-replica-") as scratch:
        directory = Path(scratch)
        directory.chmod(0o755)
        async with replica_of(running, directory) as replica:
            yield replica


@pytest.fixture
async def api(database_url: str, database: Connection, replica: Replica) -> AsyncIterator[httpx.AsyncClient]:
    await replica.catch_up(database)
    async with serving(database_url, api_replica_url=replica.url(database_url)) as api:
        yield api


async def shown(api: httpx.AsyncClient, tenant: seed.Tenant) -> list[int]:
    """The number of calls in the list, stats and trends."""
    listed = await get(api, tenant, "/calls")
    stats = await get(api, tenant, "/calls", action="stats")
    trends = await get(api, tenant, "/calls", action="trends")
    assert len(listed["data"]) == listed["total"]
    return [listed["total"], stats["total"], sum(day["total"] for day in trends["data"])]


async def delete(api: httpx.AsyncClient, tenant: seed.Tenant, call_id: UUID) -> tuple[int, str]:
    """The answer's status and code."""
    answer = await api.delete(f"/calls/{call_id}", headers=bearing(tenant.key))
    if answer.status_code == 503:
        assert int(answer.headers["Retry-After"]) > 0
    return answer.status_code, answer.json()["code"] if answer.content else ""


async def test_calls_are_read_from_the_replica_and_keys_from_the_primary(
    api: httpx.AsyncClient, database: Connection, replica: Replica
) -> None:
    acme = await seed.tenant(database)
    first = await seed.call(database, acme)
    await replica.catch_up(database)
    assert await shown(api, acme) == [1, 1, 1]
    async with replica.held_back():
        second = await seed.call(database, acme)
        assert await shown(api, acme) == [1, 1, 1]
        assert (await get(api, acme, f"/calls/{first}"))["id"] == str(first)
        assert (await api.get(f"/calls/{second}", headers=bearing(acme.key))).status_code == 404
        key = await seed.key(database, acme.id, True)
        assert (await api.get("/calls", headers=bearing(key))).status_code == 200
        await database.execute("UPDATE api_keys SET revoked_at = now() WHERE organization_id = $1", acme.id)
        assert (await api.get("/calls", headers=bearing(key))).status_code == 401, "revoked at once"
    assert (await api.get("/health/ready")).status_code == 200


async def test_when_204_is_answered_every_answer_agrees(
    api: httpx.AsyncClient, database: Connection, replica: Replica
) -> None:
    acme = await seed.tenant(database)
    calls = [await seed.call(database, acme) for _ in range(20)]
    await replica.catch_up(database)
    for left, call_id in zip(reversed(range(20)), calls, strict=True):
        assert await delete(api, acme, call_id) == (204, "")
        assert await shown(api, acme) == [left] * 3
        assert (await api.get(f"/calls/{call_id}", headers=bearing(acme.key))).status_code == 404


async def test_a_delete_that_the_replica_does_not_show_is_told(
    api: httpx.AsyncClient, database: Connection, database_url: str, replica: Replica
) -> None:
    acme = await seed.tenant(database)
    gone, kept = await seed.call(database, acme), await seed.call(database, acme)
    await replica.catch_up(database)
    async with replica.held_back():
        assert await delete(api, acme, gone) == (503, "REPLICA_BEHIND")
        assert await delete(api, acme, gone) == (503, "REPLICA_BEHIND"), "until the replica shows it"
        assert await delete(api, acme, uuid4()) == (404, "NOT_FOUND"), "never was"
        assert await shown(api, acme) == [2, 2, 2]
        assert await database.fetchval("SELECT array_agg(id) FROM calls") == [kept], "it is deleted"
    assert await delete(api, acme, gone) == (404, "NOT_FOUND")
    assert await shown(api, acme) == [1, 1, 1]
    assert (await prove(database_url)).exact
    assert (await prove(replica.url(database_url))).exact


async def test_a_delete_waits_for_a_replica_that_comes_up_in_time(
    api: httpx.AsyncClient, database: Connection, replica: Replica
) -> None:
    """Also for a call that the replica has never shown."""
    acme = await seed.tenant(database)
    async with replica.held_back():
        call_id = await seed.call(database, acme)
        deleting = asyncio.create_task(delete(api, acme, call_id))
        deleted = "SELECT EXISTS (SELECT 1 FROM deleted_calls)"
        await until(lambda: database.fetchval(deleted), "the call to be deleted")
        assert not deleting.done()
    assert await deleting == (204, "")
    assert await shown(api, acme) == [0, 0, 0]


async def test_without_the_replica_it_is_not_ready_and_says_so(
    api: httpx.AsyncClient, database: Connection, replica: Replica
) -> None:
    acme = await seed.tenant(database)
    call_id = await seed.call(database, acme)
    await replica.catch_up(database)
    assert await shown(api, acme) == [1, 1, 1]
    replica.kill()
    try:
        for path in ("/health/ready", "/calls"):
            answer = await api.get(path, headers=bearing(acme.key))
            assert answer.status_code == 503
            assert answer.json()["error"] == "The replica is unavailable; retry in a moment."
        assert await delete(api, acme, call_id) == (503, "REPLICA_BEHIND")
    finally:
        await replica.start()
    await replica.catch_up(database)
    assert (await api.get("/health/ready")).status_code == 200
    assert await delete(api, acme, call_id) == (404, "NOT_FOUND")
    assert await shown(api, acme) == [0, 0, 0]


async def test_with_both_hosts_in_the_url_the_primary_stands_in(
    database_url: str, database: Connection, running: Servers, replica: Replica
) -> None:
    hosts = f"127.0.0.1:{running.postgres_port},127.0.0.1:{replica.port}"
    name = database_url.rpartition("/")[2]
    url = f"postgresql://postgres@{hosts}/{name}?target_session_attrs=prefer-standby"
    acme = await seed.tenant(database)
    await seed.call(database, acme)
    await replica.catch_up(database)
    async with serving(database_url, api_replica_url=url) as api:
        async with replica.held_back():
            await seed.call(database, acme)
            assert await shown(api, acme) == [1, 1, 1], "of the replica, though it is named last"
        replica.kill()
        try:
            assert (await api.get("/health/ready")).status_code == 200
            assert await shown(api, acme) == [2, 2, 2]
        finally:
            await replica.start()


async def test_a_query_that_holds_up_the_replay_is_answered_503(
    api: httpx.AsyncClient,
    database: Connection,
    database_url: str,
    replica: Replica,
    caplog: pytest.LogCaptureFixture,
) -> None:
    acme = await seed.tenant(database)
    await database.execute(
        "ALTER TABLE daily_call_counts RENAME TO kept; CREATE VIEW daily_call_counts AS "
        "SELECT * FROM kept WHERE (SELECT true FROM pg_sleep(60)); "
        "GRANT SELECT ON daily_call_counts TO callfold_api"
    )
    await replica.catch_up(database)
    at_replica = await asyncpg.connect(replica.url(database_url))
    asking: asyncio.Task[Any] = asyncio.create_task(api.get("/calls?action=stats", headers=bearing(acme.key)))
    sleeps = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep')"
    await until(lambda: at_replica.fetchval(sleeps), "the query to run")
    async with database.transaction():
        await database.execute("LOCK TABLE kept IN ACCESS EXCLUSIVE MODE")
    answer = await asking
    assert (answer.status_code, answer.json()["code"]) == (503, "DATABASE_UNAVAILABLE")
    assert "conflict with recovery" in caplog.text
    await at_replica.close()


async def test_a_server_that_has_become_a_standby_is_waited_for(
    pipeline: Pipeline, database: Connection, database_url: str, replica: Replica
) -> None:
    """As after a failover, with the old address. A command fails with an error message."""
    await replica.catch_up(database)
    await pipeline.publish(call(0))
    ingest = pipeline.start(database_url=replica.url(database_url))
    await until(lambda: ingest.said("in a read-only transaction"), "ingest to log it")
    told = await callfold("org", "create", "Acme", database_url=replica.url(database_url))
    assert told.failure.endswith("cannot execute INSERT in a read-only transaction.")
    assert ingest.stop() == 0
    assert ingest.said("waits for the database")


async def test_a_replica_proves_nothing_about_the_topic_of_calls(
    database_url: str, database: Connection, replica: Replica, bootstrap: str
) -> None:
    """It may be older than the topic."""
    await replica.catch_up(database)
    done = await callfold(
        "verify", "--topic", database_url=replica.url(database_url), kafka_bootstrap=bootstrap
    )
    assert done.status == 1
    assert "Set CALLFOLD_DATABASE_URL to the primary." in done.failure
