"""Figures that change as the tables grow: of ingest, reads, proof, memory and storage, at several sizes.

    .venv/bin/python -m benchmarks.growth [--sizes 100000,1000000,10000000] [--calls 40000] [--seconds 6]

Each size is a database of its own with a year of calls. One ingest process and the aggregator then store the
same backlog in it. Requests are sent to one API process at a fixed rate, with nothing else running."""

import argparse
import asyncio
import os
import tempfile
import time
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from typing import Final

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.api import (
    PAGE_CALLS,
    STATS,
    TRENDS,
    asked,
    peak_memory_mb,
    process,
    some_calls,
    wait_until_answers,
)
from benchmarks.history import KEY, ORGANIZATION, ensure
from benchmarks.load import Asked, Load, at_rate, request
from benchmarks.pipeline import KAFKA_PROPERTIES, PARTITIONS, TOPIC, Run, drain, publish
from benchmarks.workload import records
from services.ops.embedded.servers import Servers, servers
from services.ops.embedded.state import free_ports
from services.ops.proof.proof import prove_connection
from shared.database import roles
from shared.database.connection import Connection, connect
from shared.kafka.topic import ensure_topic

RATE: Final = 50
"""Requests per second."""
VERIFIED_CALLS: Final = 100_000
"""The calls that the proof folds again. It compares all counts with all calls."""
SECONDS_MAX: Final = 3600

_SIZES: Final = """
SELECT sum(pg_table_size(oid))::bigint AS tables, sum(pg_indexes_size(oid))::bigint AS indexes
FROM pg_class WHERE oid IN ('calls'::regclass, 'call_events'::regclass)
"""

Lines = dict[str, str]
"""The figures of one size, by what they measure."""


async def measure(running: Servers, directory: Path, options: argparse.Namespace) -> list[Lines]:
    """The figures of each size. Raises any error."""
    backlog = records(options.calls)
    await ensure_topic(running.bootstrap, TOPIC, PARTITIONS)
    await publish(running.bootstrap, backlog)
    return [await measure_size(running, size, len(backlog), directory, options) for size in options.sizes]


async def measure_size(
    running: Servers, size: int, backlog: int, directory: Path, options: argparse.Namespace
) -> Lines:
    """The figures of a database with this many calls before the backlog."""
    url = await ensure(running.database_url, size)
    run = await drain(running, url, f"growth_{size}", 1, directory / f"{size}.log")
    lines = {"calls": f"{size:,}", **of_ingest(run, backlog)}
    database = await connect(url, application_name="callfold-benchmark", command_timeout_seconds=SECONDS_MAX)
    try:
        await database.execute("VACUUM (ANALYZE)")
        lines |= await of_reads(database, url, directory / "api.log", options.seconds)
        lines |= await of_proof(database)
        lines |= await of_storage(database)
    finally:
        await database.close()
    Console(stderr=True).print(lines)
    return lines


def of_ingest(run: Run, backlog: int) -> Lines:
    """Its rate, processor time and memory."""
    memory = max(mb for name, mb in run.peak_memory_mb.items() if name.startswith("ingest"))
    return {
        "ingest, records/s": f"{backlog / run.seconds:,.0f}",
        "CPU µs a record": run.cpu_us_per_record(backlog),
        "ingest's memory, MB": f"{memory:,.0f}",
    }


async def of_reads(database: Connection, url: str, log: Path, seconds: float) -> Lines:
    """Latencies of the API, and its memory."""
    calls = await database.fetchval(
        "SELECT sum(calls)::bigint FROM daily_call_totals WHERE organization_id = $1", ORGANIZATION
    )
    details = [request(f"/calls/{call_id}", KEY) for call_id in await some_calls(database, 2_000)]
    deep = max(1, calls // PAGE_CALLS // 2)
    loads = {
        "stats of a year": asked(STATS, 300),
        "trends of a year": asked(TRENDS, 5_000),
        "list, page 1": asked("/calls", 5_000),
        "list, the middle page": asked(f"/calls?page={deep}", 5_000),
        "detail": Asked(cycle(details), bytes_min=300),
    }
    lines: Lines = {}
    with ExitStack() as stack:
        (port,) = free_ports(1)
        api_url = url.replace("postgres@", f"{roles.API}@")
        started = stack.enter_context(
            process(log, "services.api", CALLFOLD_DATABASE_URL=api_url, CALLFOLD_API_PORT=str(port))
        )
        await wait_until_answers(port, "/health/ready")
        for name, load in loads.items():
            await at_rate(port, load, per_second=RATE, seconds=1)  # the first page reads come from the disk
            done = await at_rate(port, load, per_second=RATE, seconds=seconds)
            lines[f"{name}, p50 / p99 ms"] = latencies(name, done)
        lines["API's memory, MB"] = f"{peak_memory_mb(started.pid):,.0f}"
    return lines


def latencies(name: str, load: Load) -> str:
    """The figures of a load. Raises RuntimeError for wrong answers."""
    if load.wrong:
        raise RuntimeError(f"{name}: {load.wrong} wrong answers, the first: {load.first_wrong}")
    return f"{load.percentile_ms(50):.1f} / {load.percentile_ms(99):.1f}"


async def of_proof(database: Connection) -> Lines:
    """The time of the proof of all counts, and of the fold of some calls."""
    began = time.perf_counter()
    proof = await prove_connection(database, None, None, sample_calls=VERIFIED_CALLS)
    seconds = time.perf_counter() - began
    memory = psutil.Process(os.getpid()).memory_info().rss / 1024**2
    return {
        "verify": f"{'exact' if proof.exact else 'NOT EXACT'} in {seconds:.1f} s",
        "memory after it, MB, with this program's": f"{memory:,.0f}",
    }


async def of_storage(database: Connection) -> Lines:
    """Bytes per call of `calls` and `call_events`."""
    calls = await database.fetchval("SELECT count(*) FROM calls")
    sizes = await database.fetchrow(_SIZES)
    if sizes is None:
        raise RuntimeError("there are no tables")
    return {
        "tables, bytes a call": f"{sizes['tables'] / calls:,.0f}",
        "indexes, bytes a call": f"{sizes['indexes'] / calls:,.0f}",
    }


def main() -> None:
    """Parses the arguments, measures on separate servers and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--calls", type=int, default=40_000, help="of the backlog")
    parser.add_argument("--seconds", type=float, default=6, help="of each load")
    parser.add_argument(
        "--sizes",
        type=lambda text: [int(size) for size in text.split(",")],
        default=[100_000, 1_000_000, 10_000_000],
        help="calls that each database begins with",
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        directory.chmod(0o755)
        with servers(directory, durable=True, kafka_properties=KAFKA_PROPERTIES) as running:
            sizes = asyncio.run(measure(running, directory, options))
    table = Table("", *(lines["calls"] for lines in sizes))
    for name in list(sizes[0])[1:]:
        table.add_row(name, *(lines[name] for lines in sizes))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
