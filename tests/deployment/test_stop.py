"""Stops a service as container runtimes do: SIGTERM, and SIGKILL after 10 s. Whichever server is unreachable,
the service must exit before that, with status 0 and no data lost."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from services.ops.embedded.servers import Servers
from shared.database.connection import Connection
from tests.support import seed
from tests.support.api import bearing, until_somebody_waits_for_a_lock
from tests.support.ingesting import call
from tests.support.pipeline import Pipeline
from tests.support.processes import Service, until

pytestmark = pytest.mark.long

LONGEST_SECONDS = 9


@pytest.fixture
async def silent() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """The address of a server that accepts connections and never answers, and whether a client has
    connected."""
    has_come, over = asyncio.Event(), asyncio.Event()

    async def be_silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        has_come.set()
        await over.wait()
        writer.close()

    server = await asyncio.start_server(be_silent, "127.0.0.1", 0)
    yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", has_come
    over.set()
    server.close()


@pytest.fixture
def silent_url(silent: tuple[str, asyncio.Event]) -> tuple[str, asyncio.Event]:
    """The same server, as the URL of a database."""
    address, has_come = silent
    return f"postgresql://postgres@{address}/callfold", has_come


async def assert_stops(service: Service, *clean: int) -> None:
    began = time.monotonic()
    assert await asyncio.to_thread(service.stop) in (0, *clean), service.log.read_text()
    assert time.monotonic() - began < LONGEST_SECONDS


async def test_ingest_while_the_database_does_not_answer(
    pipeline: Pipeline, silent_url: tuple[str, asyncio.Event]
) -> None:
    url, has_come = silent_url
    await pipeline.publish(call(0))
    ingest = pipeline.start(database_url=url)
    await has_come.wait()
    await assert_stops(ingest)
    assert await pipeline.lag() == 4, "no offset was committed whose record is not stored"


async def test_ingest_in_a_transaction_that_hangs(pipeline: Pipeline, database: Connection) -> None:
    await pipeline.publish(call(0))
    async with database.transaction():
        await database.execute("LOCK TABLE daily_call_deltas IN ACCESS EXCLUSIVE MODE")
        ingest = pipeline.start()
        await until(
            lambda: database.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"),
            "ingest to be in the middle of its transaction",
        )
        await assert_stops(ingest)
    assert await pipeline.lag() == 4
    assert await database.fetchval("SELECT count(*) FROM call_events") == 0


async def test_ingest_while_the_broker_is_away(pipeline: Pipeline, running: Servers) -> None:
    await pipeline.publish(call(0))
    ingest = pipeline.start()
    await pipeline.consumed()
    running.kafka.kill()
    try:
        await assert_stops(ingest)
    finally:
        await running.kafka.start()


async def test_ingest_before_it_has_found_a_broker(pipeline: Pipeline) -> None:
    ingest = pipeline.start(kafka_bootstrap="127.0.0.1:1")
    await until(lambda: ingest.said("waits: no broker"), "ingest to wait for a broker")
    await assert_stops(ingest)


async def test_ingest_while_the_first_broker_does_not_answer(
    pipeline: Pipeline, silent: tuple[str, asyncio.Event]
) -> None:
    address, has_come = silent
    ingest = pipeline.start(kafka_bootstrap=address)
    await has_come.wait()
    await assert_stops(ingest)


@pytest.mark.processes
async def test_aggregator_while_the_database_does_not_answer(
    silent_url: tuple[str, asyncio.Event], tmp_path: Path
) -> None:
    url, has_come = silent_url
    aggregator = Service("aggregator", tmp_path / "aggregator.log", database_url=url)
    await has_come.wait()
    await assert_stops(aggregator)


async def test_aggregator_in_a_statement_that_hangs(
    database_url: str, database: Connection, tmp_path: Path
) -> None:
    async with database.transaction():
        await database.execute("LOCK TABLE daily_call_counts IN ACCESS EXCLUSIVE MODE")
        aggregator = Service("aggregator", tmp_path / "aggregator.log", database_url=database_url)
        await until(
            lambda: database.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"),
            "the aggregator to be in the middle of its statement",
        )
        await assert_stops(aggregator)


async def test_the_api_in_a_statement_that_hangs(
    database_url: str, database: Connection, tmp_path: Path, free_tcp_port: int
) -> None:
    acme = await seed.tenant(database)
    api = Service("api", tmp_path / "api.log", database_url=database_url, api_port=str(free_tcp_port))
    await until(lambda: api.said("Uvicorn running"), "the API to be up")
    async with (
        database.transaction(),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{free_tcp_port}", trust_env=False) as client,
    ):
        await database.execute("LOCK TABLE calls")
        asked = asyncio.create_task(client.get("/calls", headers=bearing(acme.key)))
        await until_somebody_waits_for_a_lock(database)
        await assert_stops(api, -signal.SIGTERM)
        await asyncio.gather(asked, return_exceptions=True)


@pytest.mark.processes
async def test_the_api_while_the_database_does_not_answer(
    silent_url: tuple[str, asyncio.Event], tmp_path: Path, free_tcp_port: int
) -> None:
    url, has_come = silent_url
    api = Service("api", tmp_path / "api.log", database_url=url, api_port=str(free_tcp_port))
    await until(lambda: api.said("Uvicorn running"), "the API to be up")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{free_tcp_port}", trust_env=False) as client:
        asked = asyncio.create_task(client.get("/calls", headers=bearing(f"kros_live_{'0' * 32}")))
        await has_come.wait()
        await assert_stops(api, -signal.SIGTERM)
        await asyncio.gather(asked, return_exceptions=True)
