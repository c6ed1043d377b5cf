"""Measures the bytes per call on disk and on the wire: tables, indexes, WAL, Kafka's log, and connections.

    .venv/bin/python -m benchmarks.storage [--calls 100000] [--rate 0] [--days 30]

Publishes the workload, all at once or at `--rate` records a second, has it ingested and aggregated, vacuums,
and prints bytes per call. The two differ: most calls of a backlog are stored once and complete, while live
traffic rewrites a call's row with each of its events."""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import asyncpg
from aiokafka import AIOKafkaProducer

from benchmarks.pipeline import PARTITIONS, TOPIC, cpu_seconds, publish, wait_until_done
from benchmarks.workload import DAYS, records
from services.ops.embedded.servers import Servers, servers
from services.ops.proof.proof import prove
from shared.kafka.topic import ensure_topic
from shared.migrations.upgrade import upgrade

GROUP: Final = "storage"
SIZES: Final = """
SELECT c.relname AS table, s.n_live_tup AS rows,
       pg_relation_size(c.oid) + coalesce(pg_total_relation_size(nullif(c.reltoastrelid, 0)), 0) AS heap,
       pg_indexes_size(c.oid) AS indexes, s.n_tup_upd AS updates, s.n_tup_hot_upd AS hot_updates
FROM pg_class c JOIN pg_stat_user_tables s ON s.relid = c.oid
WHERE c.relname IN ('calls', 'call_events', 'daily_call_counts', 'daily_call_totals', 'daily_call_deltas')
ORDER BY 1
"""
INDEXES: Final = "SELECT indexrelid::regclass::text, pg_relation_size(indexrelid) FROM pg_stat_user_indexes"
WAL_BYTES: Final = "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn"
CONNECTIONS: Final = """
SELECT application_name, count(*) FROM pg_stat_activity WHERE datname = current_database()
GROUP BY 1 ORDER BY 1
"""


async def measure(running: Servers, calls: int, rate: int, days: float, directory: Path) -> None:
    """Loads the workload, waits until it is counted, and prints the figures."""
    await ensure_topic(running.bootstrap, TOPIC, PARTITIONS)
    server = await asyncpg.connect(running.database_url("postgres"))
    await server.execute("CREATE DATABASE storage")
    await server.close()
    url = running.database_url("storage")
    await asyncio.to_thread(upgrade, url)
    database = await asyncpg.connect(url)
    await database.execute("CHECKPOINT")
    start = await database.fetchval(WAL_BYTES)
    environment = {
        **os.environ,
        "CALLFOLD_DATABASE_URL": url,
        "CALLFOLD_KAFKA_BOOTSTRAP": running.bootstrap,
        "CALLFOLD_CONSUMER_GROUP": GROUP,
    }
    backlog = records(calls, days=days)
    with (directory / "services.log").open("wb") as output, ExitStack() as stack:
        processes = []
        for name in ("ingest", "aggregator"):
            process = subprocess.Popen(
                [sys.executable, "-m", f"services.{name}"], env=environment, stderr=output, stdout=output
            )
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)
            processes.append(process)
        before = cpu_seconds(running, processes)
        began = time.perf_counter()
        if rate:
            await _publish_paced(running.bootstrap, backlog, rate)
        else:
            await publish(running.bootstrap, backlog)
        await wait_until_done(url, running.bootstrap, GROUP, processes)
        seconds = time.perf_counter() - began
        after = cpu_seconds(running, processes)
        connections = [tuple(row) for row in await database.fetch(CONNECTIONS)]
    wal = await database.fetchval(WAL_BYTES) - start
    await database.execute("VACUUM ANALYZE")
    await database.execute("SELECT pg_stat_force_next_flush()")
    log = sum(part.stat().st_size for part in directory.rglob(f"{TOPIC}-*/*.log"))
    print(f"{calls:,} calls in {len(backlog):,} records" + (f" at {rate:,}/s" if rate else ", all at once"))
    for table, rows, heap, indexes, updates, hot_updates in await database.fetch(SIZES):
        print(
            f"  {table}: {rows:,} rows, {heap / calls:.0f} + {indexes / calls:.0f} bytes per call (heap "
            f"and indexes), {(heap + indexes) / max(rows, 1):.0f} per row; "
            f"{updates:,} updates, {hot_updates:,} HOT"
        )
    for name, size in await database.fetch(INDEXES):
        print(f"    {name}: {size / calls:.0f} bytes per call")
    print(
        f"  WAL: {int(wal) / calls:,.0f} bytes per call; Kafka's log: "
        f"{log / len(backlog):,.0f} bytes per record"
    )
    cores = ", ".join(f"{part} {(spent - before[part]) / seconds:.2f}" for part, spent in after.items())
    print(f"  cores, on average over {seconds:.0f} s: {cores}")
    print(f"  connections: {connections}")
    await database.close()
    print(f"  verify: {'exact' if (await prove(url)).exact else 'NOT EXACT'}")


async def _publish_paced(bootstrap: str, backlog: Sequence[tuple[bytes, bytes]], rate: int) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        began, sent = time.perf_counter(), 0
        while sent < len(backlog):
            due = min(int((time.perf_counter() - began) * rate), len(backlog))
            for key, value in backlog[sent:due]:
                await producer.send(TOPIC, value, key)
            sent = due
            await asyncio.sleep(0.005)
    finally:
        await producer.stop()


def main() -> None:
    """Parses the arguments and measures on separate servers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--rate", type=int, default=0, help="records per second; 0: all at once")
    parser.add_argument("--days", type=float, default=DAYS, help="days that the calls are spread over")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        directory.chmod(0o755)
        with servers(directory, durable=True) as running:
            asyncio.run(measure(running, arguments.calls, arguments.rate, arguments.days, directory))


if __name__ == "__main__":
    main()
