"""Records per second and processor time of ingest on one PostgreSQL and on Citus, in turn, on this machine.

    .venv/bin/python -m benchmarks.distributed --plain URL --citus URL [--calls 60000] [--organizations 50]

Both databases must have callfold's tables and a name that begins with `benchmark`: each run empties them.
All servers must run on this machine, so that their processor time can be read. So this measures the overhead
of distribution, and not its gain. A run is as in `benchmarks.pipeline`."""

import argparse
import asyncio
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final
from urllib.parse import urlsplit

import asyncpg
import psutil

from benchmarks.pipeline import (
    KAFKA_PROPERTIES,
    PARTITIONS,
    TOPIC,
    counting_services,
    publish,
    spent_seconds,
    wait_for_first_poll,
    wait_until_done,
)
from benchmarks.workload import records
from services.ops.embedded.servers import Servers, servers
from services.ops.proof.proof import prove
from shared.database.distributed import is_distributed
from shared.database.distributed import servers as servers_of_database
from shared.kafka.topic import ensure_topic
from shared.migrations.places import BY_ORGANIZATION

EMPTIED: Final = (*BY_ORGANIZATION, "quarantined_records")


async def empty(url: str) -> None:
    """Removes calls, counts and organizations. Raises SystemExit for a database of another name."""
    name = urlsplit(url).path.lstrip("/")
    if not name.startswith("benchmark"):
        raise SystemExit(f"The database {name} would be emptied: its name must begin with benchmark.")
    connection = await asyncpg.connect(url)
    try:
        for table in EMPTIED:
            await connection.execute(f"TRUNCATE {table}")
        await connection.execute("DELETE FROM organizations")
        await connection.execute("VACUUM ANALYZE")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


async def postmasters(url: str) -> Mapping[str, int]:
    """The process of each server, by its role."""
    addresses = {"postgres": url}
    connection = await asyncpg.connect(url)
    try:
        if await is_distributed(connection):
            found = await servers_of_database(connection, url)
            addresses = {f"worker {one.group}" if one.group else "coordinator": one.url for one in found}
    finally:
        await connection.close()
    return {role: await _postmaster(address) for role, address in addresses.items()}


async def _postmaster(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        parent = psutil.Process(await connection.fetchval("SELECT pg_backend_pid()")).parent()
        if parent is None:
            raise SystemExit(f"The server of {url} does not run on this machine.")
        return parent.pid
    finally:
        await connection.close()


async def run(running: Servers, url: str, group: str, ingest: int, log: Path) -> dict[str, float]:
    """Stores the whole topic. Returns the seconds, and the processor time of each part."""
    await empty(url)
    pids = {**await postmasters(url), "kafka": running.kafka.process.pid if running.kafka.process else 0}
    with counting_services(url, running.bootstrap, group, ingest, log) as processes:
        began = await wait_for_first_poll(log)
        before = _spent(pids, processes)
        await wait_until_done(url, running.bootstrap, group, processes)
        spent = {name: seconds - before[name] for name, seconds in _spent(pids, processes).items()}
        return {"seconds": time.perf_counter() - began, **spent}


def _spent(pids: Mapping[str, int], processes: Sequence[subprocess.Popen[bytes]]) -> dict[str, float]:
    spent = {role: spent_seconds(pid) for role, pid in pids.items()}
    spent["aggregator"] = spent_seconds(processes[0].pid)
    spent["ingest"] = sum(spent_seconds(process.pid) for process in processes[1:])
    return spent


async def measure(running: Servers, options: argparse.Namespace, directory: Path) -> None:
    """Measures both databases in turn, and prints each run and the medians."""
    backlog = records(options.calls, organizations=options.organizations)
    await ensure_topic(running.bootstrap, TOPIC, PARTITIONS)
    await publish(running.bootstrap, backlog)
    print(f"{len(backlog):,} records of {options.organizations:,} organizations", flush=True)
    costs: dict[str, list[float]] = {"plain": [], "citus": []}
    for pair in range(options.pairs):
        for name, url in (("plain", options.plain), ("citus", options.citus)):
            group = f"{name}-{pair}"
            found = await run(running, url, group, options.ingest, directory / f"{group}.log")
            exact = "exact" if (await prove(url)).exact else "NOT EXACT"
            seconds = found.pop("seconds")
            each = {part: spent / len(backlog) * 1e6 for part, spent in found.items()}
            costs[name].append(sum(each.values()))
            parts = ", ".join(f"{part} {us:.1f}" for part, us in each.items())
            print(
                f"{name}: {len(backlog) / seconds:,.0f} records/s; {costs[name][-1]:.1f} us of processor "
                f"time a record ({parts}); verify: {exact}",
                flush=True,
            )
    plain, citus = median(costs["plain"]), median(costs["citus"])
    print(f"medians: plain {plain:.1f} us, Citus {citus:.1f} us, {citus / plain:.2f} times")


def main() -> None:
    """Parses the arguments and measures with a broker of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--plain", required=True, help="URL of a database on one PostgreSQL")
    parser.add_argument("--citus", required=True, help="URL of a distributed database")
    parser.add_argument("--calls", type=int, default=60_000)
    parser.add_argument("--organizations", type=int, default=50)
    parser.add_argument("--ingest", type=int, default=1, help="number of ingest processes")
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        directory.chmod(0o755)
        with servers(directory, durable=True, kafka_properties=KAFKA_PROPERTIES) as running:
            asyncio.run(measure(running, options, directory))


if __name__ == "__main__":
    main()
