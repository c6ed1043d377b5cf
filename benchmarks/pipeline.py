"""Records per second from a preloaded backlog to exact counts, and the floor, in one run.

    .venv/bin/python -m benchmarks.pipeline [--calls 100000] [--ingest 1,2] [--organizations 20]

The floor is a COPY of the same event rows into an empty table with the same key, in the same batches. The
pipeline's clock runs from the first assignment of partitions (the first poll) until every offset is committed
and no delta is left. Durability is on: fsync and synchronous_commit. The floor is measured three times before
and three times after a run; the ratio is to the median of the six. Processor time is compared the same way:
Python and PostgreSQL per record, the client and PostgreSQL per row of the floor. That ratio depends less on
the machine."""

import argparse
import asyncio
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Final

import asyncpg
import psutil
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from benchmarks.workload import ORGANIZATIONS, records
from services.ops.embedded.servers import Servers, servers
from services.ops.proof.proof import prove
from shared.calls.event import read
from shared.kafka.topic import ensure_topic
from shared.migrations.upgrade import upgrade
from shared.settings.ingest import IngestSettings

TOPIC: Final = "call-events"
PARTITIONS: Final = 4
BATCH_RECORDS: Final = IngestSettings.model_fields["batch_records"].default
LONGEST_SECONDS: Final = 600
# Kafka's default. All members join before any reads. The embedded stack omits it to start sooner.
KAFKA_PROPERTIES: Final = {"group.initial.rebalance.delay.ms": "3000"}


@dataclass(frozen=True)
class Floor:
    """One COPY of the floor."""

    rows_per_second: float
    cpu_us_per_row: float
    """The client's and PostgreSQL's processor time."""


@dataclass(frozen=True)
class Run:
    seconds: float
    cpu_seconds: dict[str, float]
    peak_memory_mb: dict[str, float]

    def cpu_us_per_record(self, records: int) -> str:
        """The processor time of each part, as text."""
        each = self.cpu_seconds.items()
        return ", ".join(f"{part} {seconds / records * 1e6:.1f}" for part, seconds in each)


async def publish(bootstrap: str, backlog: Sequence[tuple[bytes, bytes]], topic: str = TOPIC) -> None:
    """Publishes the backlog with its keys."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        acks="all",
        enable_idempotence=True,
        linger_ms=20,
        max_batch_size=256 * 1024,
    )
    await producer.start()
    try:
        for start in range(0, len(backlog), 10_000):
            sent = [await producer.send(topic, value, key) for key, value in backlog[start : start + 10_000]]
            await asyncio.gather(*sent)
    finally:
        await producer.stop()


def event_rows(backlog: Sequence[tuple[bytes, bytes]]) -> list[tuple[object, ...]]:
    """The rows of call_events for the backlog, in its order, without the duplicates."""
    now = datetime.now(UTC)
    rows: dict[tuple[object, ...], tuple[object, ...]] = {}
    for _, value in backlog:
        event = read(value, now)
        key = (event.organization_id, event.call_id, event.id)
        rows.setdefault(key, (*key, event.type, event.timestamp, event.payload))
    return list(rows.values())


async def floor(running: Servers, url: str, rows: Sequence[tuple[object, ...]]) -> Floor:
    """Measures the plain COPY once."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "CREATE TABLE floor (organization_id uuid, call_id uuid, id text, type text, "
            "occurred_at timestamptz, payload text, PRIMARY KEY (organization_id, call_id, id))"
        )
        before = time.process_time() + cpu_seconds(running, [])["postgres"]
        began = time.perf_counter()
        for start in range(0, len(rows), BATCH_RECORDS):
            await connection.copy_records_to_table("floor", records=rows[start : start + BATCH_RECORDS])
        seconds = time.perf_counter() - began
        spent = time.process_time() + cpu_seconds(running, [])["postgres"] - before
        await connection.execute("DROP TABLE floor")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()
    return Floor(len(rows) / seconds, spent / len(rows) * 1e6)


async def pipeline(
    running: Servers, url: str, group: str, ingest_processes: int, log: Path
) -> tuple[Run, str]:
    """One run over the whole topic with a new consumer group and an empty database, and its proof."""
    await asyncio.to_thread(upgrade, url)
    run = await drain(running, url, group, ingest_processes, log)
    proof = await prove(url)
    return run, "exact" if proof.exact else "NOT EXACT"


@contextmanager
def counting_services(
    url: str, bootstrap: str, group: str, ingest_processes: int, log: Path
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """One aggregator and some ingest processes, which write this log, for the duration of the block."""
    environment = {
        **os.environ,
        "CALLFOLD_DATABASE_URL": url,
        "CALLFOLD_KAFKA_BOOTSTRAP": bootstrap,
        "CALLFOLD_CONSUMER_GROUP": group,
    }
    with log.open("wb") as output, ExitStack() as stack:
        processes = []
        for name in service_names(ingest_processes):
            process = subprocess.Popen(
                [sys.executable, "-m", f"services.{name}"], env=environment, stderr=output, stdout=output
            )
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)
            processes.append(process)
        yield processes


def service_names(ingest_processes: int) -> list[str]:
    """The services of `counting_services`, in their order."""
    return ["aggregator", *["ingest"] * ingest_processes]


async def drain(running: Servers, url: str, group: str, ingest_processes: int, log: Path) -> Run:
    """Stores the whole topic with a new consumer group in a database that has the tables."""
    with counting_services(url, running.bootstrap, group, ingest_processes, log) as processes:
        began = await wait_for_first_poll(log)
        before = cpu_seconds(running, processes)
        await wait_until_done(url, running.bootstrap, group, processes)
        seconds = time.perf_counter() - began
        after = cpu_seconds(running, processes)
        memory = {
            f"{name} {n}": _peak_memory_mb(process.pid)
            for n, (name, process) in enumerate(zip(service_names(ingest_processes), processes, strict=True))
        }
    return Run(seconds, {name: spent - before[name] for name, spent in after.items()}, memory)


def cpu_seconds(running: Servers, services: Sequence[subprocess.Popen[bytes]]) -> dict[str, float]:
    """The processor time so far of each part, over all its processes."""
    parts = {"python": services, "postgres": [running.postgres.process], "kafka": [running.kafka.process]}
    return {name: sum(spent_seconds(part.pid) for part in each if part) for name, each in parts.items()}


def spent_seconds(pid: int) -> float:
    """The processor time so far of a process, with its children and those that have ended."""
    process = psutil.Process(pid)
    spent = 0.0
    for each in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            spent += sum(each.cpu_times()[:4])  # of the process and its exited children, user and system
    return spent


async def wait_for_first_poll(log: Path) -> float:
    """Waits until ingest, which writes this log, owns partitions. Returns the time. Raises TimeoutError."""
    for _ in range(3000):
        text = log.read_text()
        if "reads partitions" in text:
            return time.perf_counter()
        await asyncio.sleep(0.01)
    raise TimeoutError(f"no ingest process was assigned partitions: {text[-2000:]}")


async def wait_until_done(
    url: str, bootstrap: str, group: str, processes: Sequence[subprocess.Popen[bytes]]
) -> None:
    partitions = [TopicPartition(TOPIC, n) for n in range(PARTITIONS)]
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await consumer.start()
    await admin.start()
    database = await asyncpg.connect(url)
    try:
        ends = await consumer.end_offsets(partitions)
        deadline = time.monotonic() + LONGEST_SECONDS
        while time.monotonic() < deadline:
            if any(process.poll() is not None for process in processes):
                raise RuntimeError("a service exited during the run")
            committed = await admin.list_consumer_group_offsets(group)
            if all(committed.get(p) and committed[p].offset == ends[p] for p in partitions) and not (
                await database.fetchval(
                    "SELECT count(*) FROM (SELECT 1 FROM daily_call_deltas LIMIT 1) AS one"
                )
            ):
                return
            await asyncio.sleep(0.05)
        raise TimeoutError("the backlog was not processed in time")
    finally:
        await database.close()
        await admin.close()
        await consumer.stop()


def _peak_memory_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else float("nan")


async def measure(
    running: Servers, backlog: Sequence[tuple[bytes, bytes]], ingest: Sequence[int], directory: Path
) -> None:
    """Measures floor and pipeline in turn, and prints both."""
    rows = event_rows(backlog)
    await ensure_topic(running.bootstrap, TOPIC, PARTITIONS)
    began = time.perf_counter()
    await publish(running.bootstrap, backlog)
    print(f"published {len(backlog):,} records in {time.perf_counter() - began:.1f} s")
    for n, processes in enumerate(ingest):
        name = f"benchmark_{n}"
        admin = await asyncpg.connect(running.database_url("postgres"))
        await admin.execute(f"CREATE DATABASE {name}")
        await admin.close()
        url = running.database_url(name)
        floors = [await floor(running, url, rows) for _ in range(3)]
        run, proof = await pipeline(running, url, name, processes, directory / f"{name}.log")
        floors += [await floor(running, url, rows) for _ in range(3)]
        rates = [one.rows_per_second for one in floors]
        rows_per_second = median(rates)
        floor_us = median(one.cpu_us_per_row for one in floors)
        own_us = (run.cpu_seconds["python"] + run.cpu_seconds["postgres"]) / len(backlog) * 1e6
        rate = len(backlog) / run.seconds
        peaks = ", ".join(f"{name} {mb:.0f} MB" for name, mb in run.peak_memory_mb.items())
        print(
            f"{processes} ingest: floor {rows_per_second:,.0f} rows/s ({min(rates):,.0f} to "
            f"{max(rates):,.0f}); pipeline {rate:,.0f} records/s in "
            f"{run.seconds:.1f} s; ratio {rate / rows_per_second:.3f}; verify: {proof}"
        )
        print(
            f"   CPU us per record: {run.cpu_us_per_record(len(backlog))}; "
            f"per row of the floor: {floor_us:.1f}"
        )
        print(
            f"   CPU per record: {own_us / floor_us:.1f} times the floor's; peak memory: {peaks}", flush=True
        )


def main() -> None:
    """Parses the arguments and measures on separate servers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--ingest", default="1,2", help="numbers of ingest processes, one run each")
    parser.add_argument("--organizations", type=int, default=ORGANIZATIONS)
    arguments = parser.parse_args()
    ingest = [int(number) for number in arguments.ingest.split(",")]
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        directory.chmod(0o755)
        with servers(directory, durable=True, kafka_properties=KAFKA_PROPERTIES) as running:
            backlog = records(arguments.calls, organizations=arguments.organizations)
            asyncio.run(measure(running, backlog, ingest, directory))


if __name__ == "__main__":
    main()
