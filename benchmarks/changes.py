"""Measures the time from producing a record until its change arrives outside, at a steady load.

    .venv/bin/python -m benchmarks.changes [--rate 1000] [--seconds 30] [--without stream,webhook]
    .venv/bin/python -m benchmarks.changes --backlog 50000

All services run on separate servers with durability on. Each record begins a call, and its change arrives
three times: in the topic of calls, on a stream and at a webhook. Each arrival is compared with the timestamp
that the record got when it was produced. Beside the load, the probes of `benchmarks.freshness` run.

With --backlog, ingest stores a backlog of calls while a publisher publishes their changes: how much longer
the publisher takes than ingest."""

import argparse
import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from statistics import quantiles
from typing import Final

import asyncpg
import httpx
import uvloop
from aiohttp import web
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.freshness import TOPIC, WARM_UP_SECONDS, create_organization, load, probe, wait_until_ready
from benchmarks.pipeline import PARTITIONS, cpu_seconds, publish, wait_for_first_poll, wait_until_done
from benchmarks.workload import records
from services.ops.embedded.servers import Servers, servers
from services.ops.embedded.state import free_ports
from shared.api_keys import new_key
from shared.kafka.topic import ensure_topic
from shared.migrations.upgrade import upgrade
from shared.secret_box import SecretBox
from shared.secret_box import new_key as new_secrets_key
from shared.store.webhooks import create_webhook

CALLS_TOPIC: Final = "calls"
SERVICES: Final = ("ingest", "aggregator", "publisher", "webhooks", "api")
WAYS: Final = ("topic", "stream", "webhook")
_PRODUCED_AT: Final = re.compile(rb'"created_at":"([^"]+)"')


class Arrivals:
    """The seconds from producing to arriving, of each change, by way."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {way: [] for way in WAYS}
        self.counts = False
        """Whether arrivals are counted: not while the services warm up."""

    def note(self, way: str, content: bytes) -> None:
        """Notes the arrival of a call."""
        now = time.time()
        if self.counts and (found := _PRODUCED_AT.search(content)):
            self.seconds[way].append(now - datetime.fromisoformat(found[1].decode()).timestamp())


async def follow_topic(bootstrap: str, arrivals: Arrivals) -> None:
    """Reads the topic of calls until it is cancelled."""
    consumer = AIOKafkaConsumer(
        CALLS_TOPIC,
        bootstrap_servers=bootstrap,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
    )
    async with consumer:
        async for record in consumer:
            if record.value is not None:
                arrivals.note("topic", record.value)


async def follow_stream(url: str, key: str, arrivals: Arrivals) -> None:
    """Reads a stream until it is cancelled."""
    async with (
        httpx.AsyncClient(timeout=60, trust_env=False) as client,
        client.stream("GET", f"{url}/calls/stream", headers={"Authorization": f"Bearer {key}"}) as answer,
    ):
        answer.raise_for_status()
        rest = b""
        async for part in answer.aiter_raw():
            *events, rest = (rest + part).split(b"\n\n")
            for event in events:
                arrivals.note("stream", event)


@asynccontextmanager
async def endpoint(arrivals: Arrivals) -> AsyncIterator[str]:
    """The URL of an endpoint on loopback that accepts each message."""

    async def accept(request: web.Request) -> web.Response:
        arrivals.note("webhook", await request.read())
        return web.Response(status=204)

    application = web.Application()
    application.router.add_post("/", accept)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def measure(running: Servers, rate: int, seconds: int, ways: Sequence[str], directory: Path) -> None:
    """Starts the services, runs the load, and prints the figures."""
    database_url, secrets_key = await prepare(running)
    organization, key = uuid.uuid4(), new_key(livemode=True)
    arrivals = Arrivals()
    (port,) = free_ports(1)
    api = f"http://127.0.0.1:{port}"
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(endpoint(arrivals))
        await create_organization(database_url, organization, key)
        if "webhook" in ways:
            await create_endpoint(database_url, organization, secrets_key, url)
        environment = {
            "CALLFOLD_API_PORT": str(port),
            "CALLFOLD_SECRETS_KEY": secrets_key,
            "CALLFOLD_WEBHOOK_NETWORKS": "127.0.0.0/8",
        }
        processes = stack.enter_context(services(SERVICES, running, database_url, directory, environment))
        client = await stack.enter_async_context(
            httpx.AsyncClient(base_url=api, headers={"Authorization": f"Bearer {key}"}, trust_env=False)
        )
        await wait_until_ready(client)
        followers = [asyncio.create_task(follow_topic(running.bootstrap, arrivals))]
        if "stream" in ways:
            followers.append(asyncio.create_task(follow_stream(api, key, arrivals)))
        taken, spent = await _run(running, client, organization, rate, seconds, arrivals, processes)
        for follower in followers:
            if follower.done():
                follower.result()
            follower.cancel()
        await asyncio.gather(*followers, return_exceptions=True)
    print(f"{rate:,} records/s for {seconds} s, each a new call")
    for way, times in {"trends": taken, **arrivals.seconds}.items():
        if len(times) > 1:
            cuts = quantiles(times, n=100)
            print(
                f"  produce to {way}: {len(times):,} arrivals, p50 {cuts[49] * 1000:.0f} ms, "
                f"p99 {cuts[98] * 1000:.0f} ms, longest {max(times) * 1000:.0f} ms"
            )
    each = ", ".join(f"{part} {cpu * 1e6 / (rate * seconds):.0f}" for part, cpu in spent.items())
    print(f"  processor time in us per record: {each}")


async def _run(
    running: Servers,
    client: httpx.AsyncClient,
    organization: uuid.UUID,
    rate: int,
    seconds: int,
    arrivals: Arrivals,
    processes: Sequence[subprocess.Popen[bytes]],
) -> tuple[list[float], dict[str, float]]:
    """The seconds until probes were counted in the trends, and the processor time of each service."""
    producer = AIOKafkaProducer(bootstrap_servers=running.bootstrap, acks="all", enable_idempotence=True)
    await producer.start()
    stop = asyncio.Event()
    loading = asyncio.create_task(load(producer, organization, rate, stop))
    taken = []
    try:
        warm = time.perf_counter() + WARM_UP_SECONDS
        while time.perf_counter() < warm:
            await probe(producer, client, organization)
        arrivals.counts = True
        before = _spent(running, processes)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            taken.append(await probe(producer, client, organization))
            await asyncio.sleep(0.1)
        arrivals.counts = False
        after = _spent(running, processes)
    finally:
        stop.set()
        await loading
        await producer.stop()
    return taken, {part: after[part] - before[part] for part in after}


def _spent(running: Servers, processes: Sequence[subprocess.Popen[bytes]]) -> dict[str, float]:
    of_services = {
        name: cpu_seconds(running, [process])["python"]
        for name, process in zip(SERVICES, processes, strict=True)
    }
    of_servers = cpu_seconds(running, [])
    return {**of_services, "postgres": of_servers["postgres"], "kafka": of_servers["kafka"]}


async def measure_backlog(running: Servers, calls: int, directory: Path) -> None:
    """Publishes a backlog, lets ingest and a publisher catch up, and prints how long each took."""
    database_url, _ = await prepare(running)
    backlog = records(calls)
    await publish(running.bootstrap, backlog)
    database = await asyncpg.connect(database_url)
    with services(("publisher",), running, database_url, directory, {}):
        await _until(database, "SELECT EXISTS (SELECT FROM publisher WHERE all_after_call IS NULL)")
        with services(("ingest", "aggregator"), running, database_url, directory, {}) as processes:
            began = await wait_for_first_poll(directory / "ingest.log")
            await wait_until_done(database_url, running.bootstrap, "callfold-ingest", processes)
            ingest_seconds = time.perf_counter() - began
            await _until(database, "SELECT NOT EXISTS (SELECT FROM call_changes)")
            publisher_seconds = time.perf_counter() - began
    await database.close()
    print(
        f"a backlog of {len(backlog):,} records of {calls:,} calls, from the first poll: ingest took "
        f"{ingest_seconds:.1f} s, the publisher {publisher_seconds:.1f} s"
    )


async def _until(database: asyncpg.Connection, condition: str) -> None:
    for _ in range(30_000):
        if await database.fetchval(condition):
            return
        await asyncio.sleep(0.02)
    raise TimeoutError(condition)


async def prepare(running: Servers) -> tuple[str, str]:
    """Creates topics and tables. Returns the URL of the database, and a key for secrets."""
    await ensure_topic(running.bootstrap, TOPIC, PARTITIONS)
    await ensure_topic(running.bootstrap, CALLS_TOPIC, PARTITIONS, compacted=True)
    server = await asyncpg.connect(running.database_url("postgres"))
    await server.execute("CREATE DATABASE changes")
    await server.close()
    database_url = running.database_url("changes")
    await asyncio.to_thread(upgrade, database_url)
    return database_url, new_secrets_key()


async def create_endpoint(database_url: str, organization: uuid.UUID, secrets_key: str, url: str) -> None:
    """Creates a webhook that gets every message."""
    database = await asyncpg.connect(database_url)
    async with database.transaction():
        await create_webhook(
            database,
            SecretBox([secrets_key]),
            organization_id=organization,
            livemode=True,
            url=url,
            description="",
            types=[],
            actor="benchmark",
        )
    await database.close()


@contextmanager
def services(
    names: Sequence[str], running: Servers, database_url: str, directory: Path, settings: dict[str, str]
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The processes of these services, for the duration of the block."""
    environment = {
        **os.environ,
        "CALLFOLD_DATABASE_URL": database_url,
        "CALLFOLD_KAFKA_BOOTSTRAP": running.bootstrap,
        **settings,
    }
    with ExitStack() as stack:
        processes = []
        for name in names:
            output = stack.enter_context((directory / f"{name}.log").open("wb"))
            process = subprocess.Popen(
                [sys.executable, "-m", f"services.{name}"], env=environment, stderr=output, stdout=output
            )
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)
            processes.append(process)
        yield processes


def main() -> None:
    """Parses the arguments and measures on separate servers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rate", type=int, default=1000, help="records a second")
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--without", default="", help="ways that are not followed: stream, webhook")
    parser.add_argument("--backlog", type=int, help="calls of a backlog, instead of a steady load")
    arguments = parser.parse_args()
    ways = [way for way in WAYS if way not in arguments.without.split(",")]
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        directory.chmod(0o755)
        with servers(directory, durable=True) as running:
            uvloop.run(
                measure(running, arguments.rate, arguments.seconds, ways, directory)
                if arguments.backlog is None
                else measure_backlog(running, arguments.backlog, directory)
            )


if __name__ == "__main__":
    main()
