"""Measures the streams of changes of one API process.

    .venv/bin/python -m benchmarks.streams [--streams 1000] [--rate 200] [--seconds 15]

The streams are first those of one organization: each change is sent to all of them. Then they are those of
as many organizations: each change is sent to one. A writer writes states of calls to the topic at a fixed
rate, as the publisher does. A transaction begins 50 ms after the previous one. The delay lasts from the
moment before the transaction to the arrival of the event. The API, the broker, the database and the clients
share the machine. The memory is the growth of the process's resident memory while the streams are opened.
Stats are requested one after the other: before the streams, while they rest, and while changes arrive."""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median, quantiles
from typing import Final
from uuid import UUID, uuid4

import asyncpg
import httpx
import psutil
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.api import process, tell, wait_until_answers
from services.ops.embedded.servers import Servers, servers
from services.ops.embedded.state import free_ports
from services.publisher.changed_calls import State
from services.publisher.topic_writer import record, topic_writer
from shared.api_keys import SCOPES, key_hash, key_hint, new_key
from shared.kafka.topic import ensure_topic
from shared.migrations.upgrade import upgrade
from shared.settings.publisher import PublisherSettings

PARTITIONS: Final = 8
BATCH_SECONDS: Final = 0.05
TRANSCRIPT: Final = "a" * 200
REST_SECONDS: Final = 30
STATS_EVERY_SECONDS: Final = 0.01
OPENING: Final = 50
"""The number of streams that are opened at once."""


@dataclass
class Arrivals:
    """The delays of all events, in seconds."""

    delays: list[float] = field(default_factory=list)
    open: int = 0
    _moved: asyncio.Event = field(default_factory=asyncio.Event)

    async def until_open(self, clients: Sequence[asyncio.Task[None]]) -> None:
        """Returns when each client has a stream. Raises the fault of a client."""
        async with asyncio.timeout(60):
            while self.open < len(clients):
                for client in clients:
                    if client.done():
                        client.result()
                self._moved.clear()
                await self._moved.wait()

    async def until_arrived(self, count: int) -> None:
        """Returns when this number of events has arrived. Raises TimeoutError."""
        async with asyncio.timeout(60):
            while len(self.delays) < count:
                self._moved.clear()
                await self._moved.wait()

    async def read(self, port: int, key: str) -> None:
        """Reads one stream until it is cancelled."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
        try:
            head = f"GET /calls/stream HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {key}\r\n\r\n"
            writer.write(head.encode())
            status = await reader.readline()
            if b" 200 " not in status:
                raise RuntimeError(f"a stream was refused: {status.decode().strip()}")
            await reader.readuntil(b"retry: ")
            self.open += 1
            self._moved.set()
            while line := await reader.readline():
                if line.startswith(b"data: "):
                    sent = json.loads(line[6:])["latency_ms"]
                    self.delays.append(time.monotonic() - sent / 1e6)
                    self._moved.set()
        finally:
            writer.close()
            self._moved.set()


async def organizations(database_url: str, count: int) -> list[tuple[UUID, str]]:
    """New organizations, each with the key of its live data."""
    made = [(uuid4(), new_key(True)) for _ in range(count)]
    database = await asyncpg.connect(database_url)
    await database.executemany(
        "INSERT INTO organizations (id, name, time_zone) VALUES ($1, 'Acme', 'UTC')",
        [(organization_id,) for organization_id, _ in made],
    )
    await database.executemany(
        "INSERT INTO api_keys (organization_id, id, livemode, key_hash, hint, scopes) "
        "VALUES ($1, gen_random_uuid(), true, $2, $3, $4)",
        [(id, key_hash(key), key_hint(key), list(SCOPES)) for id, key in made],
    )
    await database.close()
    return made


def stats_p99_ms(port: int, key: str, seconds: float) -> float:
    """The 99th percentile of the duration of stats, requested one after the other."""
    taken = []
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, trust_env=False) as api:
        end = time.monotonic() + seconds
        while (began := time.monotonic()) < end:
            api.get("/calls", params={"action": "stats"}).raise_for_status()
            taken.append(time.monotonic() - began)
            time.sleep(STATS_EVERY_SECONDS)
    return quantiles(taken, n=100)[98] * 1000


async def ask_for_stats(port: int, key: str, seconds: float) -> float:
    """The same, measured in a process of its own, which does nothing else."""
    with ProcessPoolExecutor(1, get_context("spawn")) as processes:
        return await asyncio.get_running_loop().run_in_executor(processes, stats_p99_ms, port, key, seconds)


async def write(bootstrap: str, owners: Sequence[UUID], rate: float, seconds: float) -> int:
    """Writes changes of calls of these organizations in turn. Returns their number."""
    written = 0
    async with topic_writer(PublisherSettings(kafka_bootstrap=bootstrap)) as writer:
        began = time.monotonic()
        while (now := time.monotonic()) < began + seconds:
            due = int((now - began) * rate) - written
            records = []
            for _ in range(due):
                owner, call_id = owners[written % len(owners)], uuid4()
                call = {
                    "id": call_id,
                    "organization_id": owner,
                    "status": "ringing",
                    "from_number": "+4930901820",
                    "transcript": TRANSCRIPT,
                    "latency_ms": int(time.monotonic() * 1e6),
                }
                records.append(record(State((owner, call_id), call, 1, True)))
                written += 1
            await writer.write(records)
            await asyncio.sleep(max(0, now + BATCH_SECONDS - time.monotonic()))
    return written


async def measure(
    running: Servers, directory: Path, streams: int, owners: int, rate: float, seconds: float
) -> list[str]:
    """The row of the table for streams of this number of organizations."""
    name = f"streams_{owners}"
    server = await asyncpg.connect(running.database_url("postgres"))
    await server.execute(f"CREATE DATABASE {name}")
    await server.close()
    url = running.database_url(name)
    await asyncio.to_thread(upgrade, url)
    keys = await organizations(url, owners)
    (port,) = free_ports(1)
    settings = {
        "CALLFOLD_DATABASE_URL": url,
        "CALLFOLD_KAFKA_BOOTSTRAP": running.bootstrap,
        "CALLFOLD_API_PORT": str(port),
        "CALLFOLD_API_CONNECTIONS": str(streams + 100),
        "CALLFOLD_API_STREAMS": str(streams),
        "CALLFOLD_API_STREAMS_PER_KEY": str(streams),
    }
    arrivals = Arrivals()
    with process(directory / f"{name}.log", "services.api", **settings) as api:
        await wait_until_answers(port, "/health/ready")
        itself = psutil.Process(api.pid)
        asked = partial(ask_for_stats, port, keys[0][1], seconds)
        await asked()
        stats_without = await asked()
        first = asyncio.create_task(arrivals.read(port, keys[0][1]))
        await arrivals.until_open([first])
        memory_before, cpu_before = itself.memory_info().rss, _cpu_seconds(itself)
        clients = [first]
        for begin in range(1, streams, OPENING):
            clients += [
                asyncio.create_task(arrivals.read(port, keys[n % owners][1]))
                for n in range(begin, min(begin + OPENING, streams))
            ]
            await arrivals.until_open(clients)
        opening_seconds = _cpu_seconds(itself) - cpu_before
        memory = itself.memory_info().rss - memory_before
        rest_seconds = await _cpu_share(itself, REST_SECONDS)
        stats_at_rest = await asked()
        asking = asyncio.create_task(asked())
        cpu_before, began = _cpu_seconds(itself), time.monotonic()
        written = await write(running.bootstrap, [owner for owner, _ in keys], rate, seconds)
        expected = written * streams // owners
        await arrivals.until_arrived(expected)
        share = (_cpu_seconds(itself) - cpu_before) / (time.monotonic() - began)
        stats_busy = await asking
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
    delays = sorted(arrivals.delays)
    return [
        f"{owners:,}",
        f"{memory / streams / 1024:.0f}",
        f"{opening_seconds / streams * 1000:.1f}",
        f"{rest_seconds:.0%}",
        f"{written / seconds:,.0f}",
        f"{len(delays) / seconds:,.0f}",
        f"{share:.0%}",
        f"{median(delays) * 1000:.0f}",
        f"{quantiles(delays, n=100)[98] * 1000:.0f}",
        f"{expected - len(delays)}",
        f"{stats_without:.1f} / {stats_at_rest:.1f} / {stats_busy:.1f}",
    ]


async def _cpu_share(of: psutil.Process, seconds: float) -> float:
    """The processor time of the process for these seconds, as a share of one core."""
    before = _cpu_seconds(of)
    await asyncio.sleep(seconds)
    return (_cpu_seconds(of) - before) / seconds


def _cpu_seconds(of: psutil.Process) -> float:
    times = of.cpu_times()
    return float(times.user + times.system)


async def run(running: Servers, directory: Path, streams: int, rate: float, seconds: float) -> None:
    """Measures both cases, and prints the table."""
    await ensure_topic(running.bootstrap, "calls", PARTITIONS, compacted=True)
    table = Table(
        "organizations",
        "KiB a stream",
        "opening ms",
        "cpu at rest",
        "changes/s",
        "events/s",
        "cpu",
        "p50 ms",
        "p99 ms",
        "missing",
        "stats p99 ms",
    )
    # With one organization, each change is one event for each stream.
    for owners, changes in ((1, rate / 20), (streams, rate)):
        tell(f"{streams} streams of {owners} organizations")
        table.add_row(*await measure(running, directory, streams, owners, changes, seconds))
    Console(width=140).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams")
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seconds", type=float, default=15)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="callfold-streams-") as scratch:
        directory = Path(scratch)
        directory.chmod(0o755)
        with servers(directory, durable=True) as running:
            uvloop.run(run(running, directory, given.streams, given.rate, given.seconds))


if __name__ == "__main__":
    main()
