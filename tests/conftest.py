"""The real broker and the real database, once for the whole run; a fresh database and topic for each test."""

import asyncio
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from services.ops.embedded.servers import Servers, servers
from shared.database import Connection
from shared.kafka import ensure_topic
from shared.migrations import upgrade
from tests.collector import Collector, collecting
from tests.ingesting import GROUP, StartIngest
from tests.processes import Service

TEMPLATE = "callfold_template"
PARTITIONS = 4


@pytest.fixture(scope="session")
def running() -> Iterator[Servers]:
    """Both servers, not durable: nothing here survives a crash of the machine, only crashes of processes."""
    with tempfile.TemporaryDirectory(prefix="callfold-tests-") as scratch:
        directory = Path(scratch)
        directory.chmod(0o755)
        with servers(directory, durable=False) as both:
            yield both


@pytest.fixture(scope="session")
async def template(running: Servers) -> str:
    """A migrated database that is never used, only copied."""
    async with _administration(running) as server:
        await server.execute(f"CREATE DATABASE {TEMPLATE}")
    await asyncio.to_thread(upgrade, running.database_url(TEMPLATE))
    return TEMPLATE


@pytest.fixture
async def database_url(running: Servers, template: str) -> AsyncIterator[str]:
    """A fresh, migrated database for this test."""
    name = f"test_{uuid.uuid4().hex}"
    async with _administration(running) as server:
        await server.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    yield running.database_url(name)
    async with _administration(running) as server:
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@asynccontextmanager
async def _administration(running: Servers) -> AsyncIterator[Connection]:
    """A connection to the server's own database, where databases are made. Opened anew each time: a test may
    have killed the server in between."""
    connection = await asyncpg.connect(running.database_url("postgres"))
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Connection]:
    """A connection to this test's database."""
    connection = await asyncpg.connect(database_url)
    yield connection
    if not connection.is_closed():
        await connection.close(timeout=5)


@pytest.fixture(scope="session")
def bootstrap(running: Servers) -> str:
    """The broker's address."""
    return running.bootstrap


@pytest.fixture
async def topic(bootstrap: str) -> str:
    """A fresh topic of 4 partitions for this test."""
    name = f"call-events-{uuid.uuid4().hex[:12]}"
    await ensure_topic(bootstrap, name, PARTITIONS)
    return name


@pytest.fixture
def start_ingest(bootstrap: str, topic: str, database_url: str, tmp_path: Path) -> Iterator[StartIngest]:
    """Starts ingest processes of one group; what still runs at the end is ended."""
    started: list[Service] = []

    def start(**settings: str) -> Service:
        service = Service(
            "ingest",
            tmp_path / f"ingest-{len(started)}.log",
            **{
                "database_url": database_url,
                "kafka_bootstrap": bootstrap,
                "topic": topic,
                "consumer_group": f"{GROUP}-{topic}",
                "session_timeout_seconds": "2",
                **settings,
            },
        )
        started.append(service)
        return service

    yield start
    for service in started:
        if service.running:
            service.kill()


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector of traces for this test."""
    with collecting() as collector:
        yield collector
