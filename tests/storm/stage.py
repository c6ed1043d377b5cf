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
from shared.secret_box import SecretBox, new_key
from shared.store.webhooks import create_webhook
from tests.storm.brokers import cluster
from tests.storm.endpoints import TIMEOUT_SECONDS, Endpoint, serving
from tests.storm.followed import Followed
from tests.storm.seen import Seen
from tests.storm.supervised import LOOK_SECONDS, Supervised
from tests.storm.workload import Workload
from tests.support.seed import key

PARTITIONS: Final = 4
SESSION_TIMEOUT_SECONDS: Final = 3
CALLS_PARTITIONS: Final = 3
LEASE_SECONDS: Final = 2
REPLICAS: Final = {"ingest": 2, "aggregator": 1, "api": 1, "publisher": 2, "webhooks": 2}
WRITERS: Final = ("ingest", "aggregator")
"""The services that change calls."""
LIVE_STREAMS: Final = 2
"""The organizations whose live calls are followed. All together would take most of the API's time."""
LIVE_TYPES: Final = ("call.failed", "call.deleted")
"""The types that endpoints of live calls get. Those of test calls, which are fewer, get all."""
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
    calls_topic: str
    group: str
    workload: Workload
    keys: dict[tuple[UUID, bool], str]
    """The API key of each organization and mode."""
    services: dict[str, Supervised]
    client: httpx.AsyncClient
    """The API client that all readers share: creating one is slow."""
    logs: Path
    endpoints: Sequence[Endpoint]
    distrusted: Endpoint
    """An endpoint with a certificate that callfold must not accept."""
    followed: Sequence[Followed]
    """The copies of clients of the stream, each of one organization and mode."""
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
async def stage(on: Grounds, workload: Workload, seed: int, logs: Path) -> AsyncIterator[Stage]:
    """Starts supervised services on these grounds, and stops them after the block. Topics and group are named
    after the seed."""
    name = f"storm-{seed}"
    calls_topic = f"{name}-calls"
    await ensure_topic(on.bootstrap, name, PARTITIONS, replication_factor=len(on.brokers))
    await ensure_topic(
        on.bootstrap, calls_topic, CALLS_PARTITIONS, replication_factor=len(on.brokers), compacted=True
    )
    (port,) = free_ports(1)
    secrets_key = new_key()
    settings = {
        "database_url": on.database_url,
        "kafka_bootstrap": on.bootstrap,
        "topic": name,
        "calls_topic": calls_topic,
        "consumer_group": name,
        "session_timeout_seconds": str(SESSION_TIMEOUT_SECONDS),
        "batch_records": "2000",
        "chores_interval_seconds": "10",
        "api_port": str(port),
        "api_stream_heartbeat_seconds": "1",
        "api_stream_tail_records": "3000",  # so that streams also resume from the topic
        "publisher_lease_seconds": str(LEASE_SECONDS),
        "secrets_key": secrets_key,
        "webhook_lease_seconds": str(LEASE_SECONDS),
        "webhook_networks": "127.0.0.0/8",
        "webhook_timeout_seconds": str(TIMEOUT_SECONDS),
    }
    services = {
        f"{service} {n}": Supervised(service, logs / f"{service}-{n}.log", settings)
        for service, replicas in REPLICAS.items()
        for n in range(replicas)
    }
    made = Stage(
        on,
        name,
        calls_topic,
        name,
        workload,
        {},
        services,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=REQUEST_SECONDS),
        logs,
        [
            Endpoint(one.id, livemode, () if not livemode else LIVE_TYPES, seed)
            for one in workload.organizations
            for livemode in (True, False)
        ],
        Endpoint(workload.organizations[0].id, True, ("call.deleted",), seed),
        [
            *(Followed(one.id, livemode=False) for one in workload.organizations),
            *(Followed(one.id, livemode=True) for one in workload.organizations[-LIVE_STREAMS:]),
        ],
    )
    async with serving(made.endpoints) as urls, serving([made.distrusted], tls=True) as (distrusted_url,):
        async with connected(made) as connection:
            await _fill(made, connection)
            box = SecretBox([secrets_key])
            for endpoint, url in zip(
                [*made.endpoints, made.distrusted], [*urls, distrusted_url], strict=True
            ):
                await _subscribe(connection, box, endpoint, url)
        async with _running(made):
            yield made


async def _fill(made: Stage, connection: Connection) -> None:
    """Creates the organizations and their keys."""
    for one in made.workload.organizations:
        await connection.execute(
            "INSERT INTO organizations (id, name, time_zone, zone_rules) VALUES ($1, $2, $3, $4)",
            *(one.id, one.name, one.time_zone, zone_rules(one.time_zone)),
        )
        for livemode in (True, False):
            made.keys[one.id, livemode] = await key(connection, one.id, livemode)


async def _subscribe(connection: Connection, box: SecretBox, endpoint: Endpoint, url: str) -> None:
    """Creates the webhook of an endpoint."""
    async with connection.transaction():
        webhook, endpoint.secret = await create_webhook(
            connection,
            box,
            organization_id=endpoint.organization_id,
            livemode=endpoint.livemode,
            url=url,
            description="",
            types=endpoint.types,
            actor="storm",
        )
    endpoint.webhook_id = webhook.id


@asynccontextmanager
async def _running(made: Stage) -> AsyncIterator[None]:
    """Keeps the services running for the duration of the block, once they are ready."""
    supervisors = [asyncio.create_task(service.run()) for service in made.services.values()]
    try:
        async with asyncio.timeout(READY_SECONDS):
            while not await _is_ready(made):
                await asyncio.sleep(LOOK_SECONDS)
        made.began = time.monotonic()
        yield
    finally:
        for supervisor in supervisors:
            supervisor.cancel()
        await asyncio.gather(*supervisors, return_exceptions=True)
        await made.client.aclose()
        for service in made.services.values():
            service.end()


async def _is_ready(made: Stage) -> bool:
    """Whether the API answers, ingest owns the topic, and the outbox has every change from now on."""
    on = made.grounds
    if not await is_ready(str(made.client.base_url)):
        return False
    async with connected(made) as connection:
        publishes = await connection.fetchval(PUBLISHES)
    return bool(publishes) and await owns_all(on.bootstrap, made.group, made.topic, ())


# A publisher that has published all calls leads.
PUBLISHES: Final = "SELECT leader IS NOT NULL AND all_after_organization IS NULL FROM publisher"
