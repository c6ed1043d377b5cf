"""Measures the time from producing a record until it is visible in `action=trends`, at a steady load.

    .venv/bin/python -m benchmarks.freshness [--rate 1000] [--seconds 60]

Ingest, the aggregator and the API run on separate servers with durability on. Beside the load, one probe at a
time is published: a call with its own phone number. The trends of that number are requested every 2 ms until
they count the call. The clock of a probe starts when its record is passed to the producer."""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from statistics import quantiles
from typing import Final

import asyncpg
import httpx
from aiokafka import AIOKafkaProducer

from services.ops.embedded.servers import Servers, servers
from services.ops.embedded.state import free_ports
from services.ops.proof.proof import prove
from shared.api_keys import key_hash, key_hint, new_key
from shared.kafka.topic import ensure_topic
from shared.migrations.upgrade import upgrade

TOPIC: Final = "call-events"
PARTITIONS: Final = 8
WARM_UP_SECONDS: Final = 5
LOOK_EVERY_SECONDS: Final = 0.002
LONGEST_SECONDS: Final = 10


def record(organization: uuid.UUID, phone_number: uuid.UUID) -> tuple[bytes, bytes]:
    """A call that starts now."""
    call = str(uuid.uuid4())
    return call.encode(), (
        f'{{"id":"evt_{call}","type":"call.initiated","organization_id":"{organization}","call_id":"{call}",'
        f'"timestamp":"{datetime.now(UTC).isoformat()}",'
        f'"data":{{"direction":"inbound","phone_number_id":"{phone_number}","from_number":"+493012345"}}}}'
    ).encode()


async def load(producer: AIOKafkaProducer, organization: uuid.UUID, rate: int, stop: asyncio.Event) -> int:
    """Publishes `rate` records a second, evenly, until `stop`. Returns their number."""
    phone_numbers = [uuid.uuid4() for _ in range(20)]
    began = time.perf_counter()
    sent = 0
    while not stop.is_set():
        due = int((time.perf_counter() - began) * rate)
        for _ in range(due - sent):
            key, value = record(organization, phone_numbers[sent % len(phone_numbers)])
            await producer.send(TOPIC, value, key)
            sent += 1
        await asyncio.sleep(0.005)
    return sent


async def probe(producer: AIOKafkaProducer, client: httpx.AsyncClient, organization: uuid.UUID) -> float:
    """Returns the seconds until one call is counted in the trends."""
    phone_number = uuid.uuid4()
    key, value = record(organization, phone_number)
    today = datetime.now(UTC).date().isoformat()
    asked = {"action": "trends", "phone_number_id": str(phone_number), "start_date": today, "end_date": today}
    began = time.perf_counter()
    await producer.send(TOPIC, value, key)
    while time.perf_counter() - began < LONGEST_SECONDS:
        answer = await client.get("/calls", params=asked)
        seen = time.perf_counter()
        answer.raise_for_status()
        if answer.json()["data"][0]["total"] == 1:
            return seen - began
        await asyncio.sleep(LOOK_EVERY_SECONDS)
    raise TimeoutError("a call was not counted in time")


async def measure(running: Servers, rate: int, seconds: int, directory: Path) -> None:
    """Starts the services, runs load and probes, and prints the figures."""
    await ensure_topic(running.bootstrap, TOPIC, PARTITIONS)
    server = await asyncpg.connect(running.database_url("postgres"))
    await server.execute("CREATE DATABASE freshness")
    await server.close()
    url = running.database_url("freshness")
    await asyncio.to_thread(upgrade, url)
    organization, key = uuid.uuid4(), new_key(livemode=True)
    await create_organization(url, organization, key)
    (port,) = free_ports(1)
    environment = {
        **os.environ,
        "CALLFOLD_DATABASE_URL": url,
        "CALLFOLD_KAFKA_BOOTSTRAP": running.bootstrap,
        "CALLFOLD_API_PORT": str(port),
    }
    with (directory / "services.log").open("wb") as output, ExitStack() as stack:
        for name in ("ingest", "aggregator", "api"):
            process = subprocess.Popen(
                [sys.executable, "-m", f"services.{name}"], env=environment, stderr=output, stdout=output
            )
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers) as client:
            await wait_until_ready(client)
            taken, sent = await _run(running.bootstrap, client, organization, rate, seconds)
    cuts = quantiles(taken, n=100)
    proof = await prove(url)
    print(
        f"{rate:,} records/s for {seconds} s ({sent:,} records), {len(taken):,} probes: produce to visible "
        f"p50 {cuts[49] * 1000:.0f} ms, p90 {cuts[89] * 1000:.0f} ms, p99 {cuts[98] * 1000:.0f} ms, "
        f"longest {max(taken) * 1000:.0f} ms; verify: {'exact' if proof.exact else 'NOT EXACT'}"
    )


async def create_organization(database_url: str, organization: uuid.UUID, key: str) -> None:
    """Creates an organization with a key for live data."""
    database = await asyncpg.connect(database_url)
    await database.execute("INSERT INTO organizations (id, name) VALUES ($1, 'Acme')", organization)
    await database.execute(
        "INSERT INTO api_keys (organization_id, id, livemode, key_hash, hint) VALUES ($1, $2, true, $3, $4)",
        organization,
        uuid.uuid4(),
        key_hash(key),
        key_hint(key),
    )
    await database.close()


async def _run(
    bootstrap: str, client: httpx.AsyncClient, organization: uuid.UUID, rate: int, seconds: int
) -> tuple[list[float], int]:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)
    await producer.start()
    stop = asyncio.Event()
    loading = asyncio.create_task(load(producer, organization, rate, stop))
    taken = []
    try:
        warm = time.perf_counter() + WARM_UP_SECONDS
        while time.perf_counter() < warm:
            await probe(producer, client, organization)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            taken.append(await probe(producer, client, organization))
    finally:
        stop.set()
        sent = await loading
        await producer.stop()
    return taken, sent


async def wait_until_ready(client: httpx.AsyncClient) -> None:
    """Waits for the API. Raises TimeoutError."""
    for _ in range(300):
        try:
            if (await client.get("/health/ready")).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.1)
    raise TimeoutError("the API was not ready in time")


def main() -> None:
    """Parses the arguments and measures on separate servers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rate", type=int, default=1000, help="records a second")
    parser.add_argument("--seconds", type=int, default=60)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        directory.chmod(0o755)
        with servers(directory, durable=True) as running:
            asyncio.run(measure(running, arguments.rate, arguments.seconds, directory))


if __name__ == "__main__":
    main()
