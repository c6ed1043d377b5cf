"""The stage: the servers and services of a storm, and the fault that holds each of them now."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from uuid import UUID

import httpx

from services.ops.embedded.readiness import is_ready, owns_all
from services.ops.embedded.servers import Server, kafka_server, postgres_server
from services.ops.embedded.state import free_ports
from shared.calls.zones import zone_rules
from shared.database.connection import Connection, connect
from shared.database.faults import PASSING_TYPES, is_passing
from shared.kafka.topic import ensure_topic
from shared.migrations.upgrade import upgrade
from tests.storm.brokers import cluster
from tests.storm.seen import Seen
from tests.storm.supervised import LOOK_SECONDS, Supervised
from tests.storm.workload import Workload
from tests.support.seed import key

PARTITIONS: Final = 4
SESSION_TIMEOUT_SECONDS: Final = 3
REPLICAS: Final = {"ingest": 2, "aggregator": 1, "api": 1}
REQUEST_SECONDS: Final = 30
READY_SECONDS: Final = 90
APPLICATION: Final = "storm"
"""The application name of the test's connections. Those of callfold start with its name, and are terminated
by faults."""


class StormBroke(AssertionError):
    """An invariant did not hold."""


@dataclass(frozen=True)
class Grounds:
    """The running servers, and an empty database with callfold's tables."""

    postgres: Server
    brokers: Sequence[Server]
    bootstrap: str
    database_url: str


@dataclass
class Stage:
    """Everything that a storm runs on."""

    grounds: Grounds
    topic: str
    group: str
    workload: Workload
    keys: dict[tuple[UUID, bool], str]
    """The API key of each organization and mode."""
    services: dict[str, Supervised]
    client: httpx.AsyncClient
    """The API client that all readers share: creating one is slow."""
    logs: Path
    published: int = 0
    """The number of records acknowledged, from the start of the workload."""
    seen: Seen = field(default_factory=Seen)
    checked: Counter[str] = field(default_factory=Counter)
    """How often each check ran."""
    began: float = field(default_factory=time.monotonic)
    happened: list[str] = field(default_factory=list)
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """The duration of the storm so far."""
        return time.monotonic() - self.began

    def replicas(self, name: str) -> list[Supervised]:
        return [service for service in self.services.values() if service.name == name]

    def note(self, what: str) -> None:
        """Keeps a line of what happened, to explain a failure."""
        self.happened.append(f"{self.seconds:6.1f} s  {what}")

    @asynccontextmanager
    async def held(self, names: Iterable[str]) -> AsyncIterator[None]:
        """Holds these parts for one fault. Another fault of the same part waits."""
        async with AsyncExitStack() as stack:
            for name in sorted(names):
                await stack.enter_async_context(self._locks.setdefault(name, asyncio.Lock()))
            yield


@asynccontextmanager
async def connected(stage: Stage) -> AsyncIterator[Connection]:
    """A test connection, without the timeouts that the storm sets. Raises errors that `is_passing` judges."""
    connection = await connect(
        stage.grounds.database_url,
        application_name=APPLICATION,
        settings={"statement_timeout": "0", "lock_timeout": "0"},
    )
    try:
        yield connection
    finally:
        connection.terminate()


def passes(error: BaseException) -> bool:
    """Whether this error in a test connection was caused by the storm and will pass."""
    return isinstance(error, PASSING_TYPES) and is_passing(error)


@asynccontextmanager
async def grounds(directory: Path, brokers: int) -> AsyncIterator[Grounds]:
    """Starts separate servers for the storm, durable so that a crash matters, and stops them after the
    block."""
    port, kafka_port, controller_port = free_ports(3)
    server = postgres_server(directory / "postgres", port, durable=True)
    if brokers == 1:
        all_brokers = [kafka_server(directory / "kafka", kafka_port, controller_port)]
        bootstrap = f"127.0.0.1:{kafka_port}"
    else:
        all_brokers, bootstrap = await asyncio.to_thread(cluster, directory)
    try:
        await asyncio.gather(server.start(), *(broker.start() for broker in all_brokers))
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        await asyncio.to_thread(upgrade, url)
        yield Grounds(server, all_brokers, bootstrap, url)
    finally:
        await asyncio.gather(*(asyncio.to_thread(one.stop) for one in (server, *all_brokers)))


@asynccontextmanager
async def stage(on: Grounds, workload: Workload, name: str, logs: Path) -> AsyncIterator[Stage]:
    """Starts supervised services on these grounds, and stops them after the block. Topic and group have this
    name."""
    await ensure_topic(on.bootstrap, name, PARTITIONS, replication_factor=len(on.brokers))
    (port,) = free_ports(1)
    settings = {
        "database_url": on.database_url,
        "kafka_bootstrap": on.bootstrap,
        "topic": name,
        "consumer_group": name,
        "session_timeout_seconds": str(SESSION_TIMEOUT_SECONDS),
        "batch_records": "2000",
        "chores_interval_seconds": "10",
        "api_port": str(port),
    }
    services = {
        f"{service} {n}": Supervised(service, logs / f"{service}-{n}.log", settings)
        for service, replicas in REPLICAS.items()
        for n in range(replicas)
    }
    client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=REQUEST_SECONDS)
    made = Stage(on, name, name, workload, {}, services, client, logs)
    async with connected(made) as connection:
        for one in workload.organizations:
            await connection.execute(
                "INSERT INTO organizations (id, name, time_zone, zone_rules) VALUES ($1, $2, $3, $4)",
                *(one.id, one.name, one.time_zone, zone_rules(one.time_zone)),
            )
            for livemode in (True, False):
                made.keys[one.id, livemode] = await key(connection, one.id, livemode)
    supervisors = [asyncio.create_task(service.run()) for service in services.values()]
    try:
        async with asyncio.timeout(READY_SECONDS):
            await _until_ready(made)
        made.began = time.monotonic()
        yield made
    finally:
        for supervisor in supervisors:
            supervisor.cancel()
        await asyncio.gather(*supervisors, return_exceptions=True)
        await client.aclose()
        for service in services.values():
            service.end()


async def _until_ready(made: Stage) -> None:
    on = made.grounds
    while not (
        await is_ready(str(made.client.base_url)) and await owns_all(on.bootstrap, made.group, made.topic, ())
    ):
        await asyncio.sleep(LOOK_SECONDS)
