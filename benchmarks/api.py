"""Measures one API process over a database with a year of calls, on the same cores as PostgreSQL and the load
generator.

    .venv/bin/python -m benchmarks.api [--calls 5000000] [--state DIRECTORY] [--figures] [--json]

Latencies are measured at a fixed rate, from the moment that a request was due, so that a queue shows. Rates
are measured with every connection sending its next request as soon as it has a response. The baseline is a
FastAPI route that returns a constant, measured before and after in the same run. The API's processor time per
response is also reported, because it depends less on other load of the machine."""

import argparse
import asyncio
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import cycle, product, repeat
from pathlib import Path
from statistics import median
from typing import Final
from uuid import UUID

import httpx
import psutil
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks import bare
from benchmarks.history import FIRST_DAY, KEY, LAST_DAY, ORGANIZATION, ensure
from benchmarks.load import Asked, Load, at_rate, full_load, one_by_one, request
from benchmarks.writing import Traffic, store
from services.ingest.lane import SESSION
from services.ops.embedded.servers import Server, postgres_server
from services.ops.embedded.state import free_ports
from services.ops.proof.proof import prove_connection
from services.ops.terminal.waiting import attempts
from shared.database import roles
from shared.database.connection import Connection, connect

YEAR: Final = f"start_date={FIRST_DAY}&end_date={LAST_DAY}"
STATS: Final = f"/calls?action=stats&{YEAR}"
TRENDS: Final = f"/calls?action=trends&{YEAR}"
PAGE_CALLS: Final = 20
DEEP_PAGE: Final = 50_000
CONNECTIONS: Final = 32
COMMITS_PER_SECOND: Final = (10, 50)
SLOW_TIMES: Final = 7
"""The number of requests for each slow question."""

# The same figures as action=stats, computed from the calls.
RECOUNT: Final = """
SELECT status, coalesce(direction, 'unknown') AS direction, count(*) AS calls, count(answered_at) AS answered,
    coalesce(sum(duration), 0) AS duration_seconds, coalesce(sum(cost), 0) AS cost_cents,
    coalesce(sum(latency_ms), 0) AS latency_ms, count(latency_ms) AS latency_calls
FROM calls
WHERE organization_id = $1 AND livemode AND day BETWEEN $2 AND $3
GROUP BY 1, 2
"""

_SPENT: Final = """
SELECT coalesce(sum(total_exec_time), 0)::float8 FROM pg_stat_statements
WHERE userid = (SELECT oid FROM pg_roles WHERE rolname = $1) AND query LIKE $2
"""


@dataclass(frozen=True)
class Figure:
    """The figures of one question. Times are in milliseconds, the API's processor time in microseconds."""

    question: str
    how: str
    answers: int
    per_second: float
    p50_ms: float
    p99_ms: float
    longest_ms: float
    api_cpu_us: float
    generator_cores: float
    wrong: int
    """The number of wrong responses."""


@dataclass
class Report:
    """The figures of one run."""

    calls: int
    figures: list[Figure] = field(default_factory=list)
    bare_per_second: float = 0
    commits_per_second: dict[str, float] = field(default_factory=dict)
    recount_ms: float = 0
    recount_in_database_ms: float = 0
    first_stats_in_database_ms: float = 0
    api_peak_memory_mb: float = 0
    proof: str = ""


class Stand:
    """The process under load, and the report that collects its figures."""

    def __init__(self, port: int, process: subprocess.Popen[bytes], report: Report) -> None:
        self.port = port
        self.report = report
        self._process = psutil.Process(process.pid)

    async def take(self, question: str, how: str, load: Awaitable[Load]) -> Figure:
        """Runs the load. Raises its errors."""
        before = self._cpu_seconds()
        done = await load
        spent = self._cpu_seconds() - before
        answers = len(done.latencies_seconds)
        # The first fifth of a full load is not counted, but uses processor time.
        answered = answers * 5 / 4 if how.endswith("connections") else answers
        figure = Figure(
            question,
            how,
            answers,
            done.per_second,
            done.percentile_ms(50),
            done.percentile_ms(99),
            done.percentile_ms(100),
            spent / answered * 1e6,
            done.generator_cpu_seconds / done.seconds,
            done.wrong,
        )
        self.report.figures.append(figure)
        tell(
            f"{question}, {how}: {figure.per_second:,.0f}/s, p50 {figure.p50_ms:.2f} ms, "
            f"p99 {figure.p99_ms:.2f} ms, longest {figure.longest_ms:.1f} ms; "
            f"API {figure.api_cpu_us:,.0f} µs an answer; generator {figure.generator_cores:.2f} cores"
        )
        if done.wrong:
            tell(f"  {done.wrong:,} WRONG answers, the first: {done.first_wrong}")
        return figure

    async def full(self, question: str, asked: Asked, seconds: float) -> Figure:
        """Measures at full load."""
        load = full_load(self.port, asked, connections=CONNECTIONS, seconds=seconds)
        return await self.take(question, f"{CONNECTIONS} connections", load)

    async def rate(self, question: str, asked: Asked, per_second: float, seconds: float) -> Figure:
        """Measures at a fixed rate."""
        load = at_rate(self.port, asked, per_second=per_second, seconds=seconds)
        return await self.take(question, f"{per_second:g}/s", load)

    def _cpu_seconds(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)


def tell(line: str) -> None:
    """Prints a line of progress."""
    print(line, file=sys.stderr, flush=True)


def asked(path: str, bytes_min: int = 2) -> Asked:
    """Repeats one request."""
    return Asked(repeat(request(path, KEY)), bytes_min=bytes_min)


@contextmanager
def process(log: Path, module: str, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a process of this Python within the block."""
    with log.open("ab") as output:
        started = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env={**os.environ, **environment},
            stdout=output,
            stderr=output,
        )
        try:
            yield started
        finally:
            started.terminate()
            started.wait(30)


async def wait_until_answers(port: int, path: str) -> None:
    """Returns when this path responds with 200. Raises TimeoutError."""
    async with httpx.AsyncClient() as client:
        for pause in attempts(30):
            try:
                if (await client.get(f"http://127.0.0.1:{port}{path}")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(pause)
    raise TimeoutError(f"no server responds at port {port}")


async def measure_bare(report: Report, log: Path, seconds: float) -> float:
    """The baseline, in a separate process: responses per second."""
    (port,) = free_ports(1)
    with process(log, "benchmarks.bare", str(port)) as started:
        await wait_until_answers(port, bare.PATH)
        figure = await Stand(port, started, report).full("bare", asked(bare.PATH), seconds)
    return figure.per_second


async def measure_counts(stand: Stand, rate: float, seconds: float, when: str = "") -> None:
    """Stats and trends of a year."""
    for name, path, bytes_min in (("stats", STATS, 300), ("trends", TRENDS, 5_000)):
        await stand.rate(f"{name}{when}", asked(path, bytes_min), rate, seconds)
        await stand.full(f"{name}{when}", asked(path, bytes_min), seconds)


async def measure_writing(stand: Stand, url: str, rate: float, seconds: float) -> None:
    """Measures the same while ingest writes calls of other organizations, and of the requested one."""
    for commits_per_second, of in product(COMMITS_PER_SECOND, ("small", "large")):
        arguments = [sys.executable, "-m", "benchmarks.writing", url, str(commits_per_second), of]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as writer:
            try:
                assert writer.stdout is not None  # noqa: S101 (a pipe)
                if not await asyncio.to_thread(writer.stdout.readline):
                    raise RuntimeError("benchmarks.writing exited before its first write")
                began = time.perf_counter()
                whose = "own" if of == "large" else "others'"
                await measure_counts(stand, rate, seconds, f", {commits_per_second} {whose} commits/s")
            finally:
                writer.terminate()
            commits = int(await asyncio.to_thread(writer.stdout.read))
            reached = commits / (time.perf_counter() - began)
        stand.report.commits_per_second[f"{of} {commits_per_second}"] = reached


async def measure_first(stand: Stand, database: Connection, times: int) -> None:
    """Measures the first response after a change: one request after each of ingest's transactions."""
    traffic = Traffic()

    async def change() -> None:
        await store(database, traffic.batch())

    for name, path in (("stats", STATS), ("trends", TRENDS)):
        await database.execute("SELECT pg_stat_statements_reset()")
        load = one_by_one(stand.port, asked(path), times=times, before_each=change)
        await stand.take(f"first {name} after a change", "one by one", load)
        if name == "stats":
            spent = await database.fetchval(_SPENT, roles.API, "%")
            stand.report.first_stats_in_database_ms = spent / times


async def measure_recount(report: Report, url: str) -> None:
    """Measures the same stats without counts: GROUP BY over the calls."""
    database = await connect(url, application_name="callfold-benchmark")
    try:
        await database.execute("SELECT pg_stat_statements_reset()")
        seconds = []
        for _ in range(SLOW_TIMES):
            began = time.perf_counter()
            await database.fetch(RECOUNT, ORGANIZATION, FIRST_DAY, LAST_DAY)
            seconds.append(time.perf_counter() - began)
        spent = await database.fetchval(_SPENT, "postgres", "%FROM calls%")
    finally:
        await database.close()
    report.recount_ms = median(seconds) * 1000
    report.recount_in_database_ms = spent / SLOW_TIMES
    tell(f"GROUP BY: {report.recount_ms:.0f} ms, {report.recount_in_database_ms:.0f} ms in the database")


async def measure_lists(stand: Stand, deep_page: int, rate: float, seconds: float) -> None:
    """Measures the first page and a deep one, by cursor and by page number, with total and without."""
    async with httpx.AsyncClient() as client:
        before = await client.get(
            f"http://127.0.0.1:{stand.port}/calls?page={deep_page - 1}",
            headers={"Authorization": f"Bearer {KEY}"},
        )
    cursor = before.raise_for_status().json()["next_cursor"]
    pages = {
        "page 1": "page=1",
        f"page {deep_page:,} by cursor": f"cursor={cursor}",
        f"page {deep_page:,} by number": f"page={deep_page}",
    }
    for name, query in pages.items():
        await stand.rate(f"list, {name}", asked(f"/calls?{query}", 5_000), rate, seconds)
        await stand.rate(
            f"list, {name}, total=false", asked(f"/calls?{query}&total=false", 5_000), rate, seconds
        )


async def measure_calls(stand: Stand, database: Connection, rate: float, seconds: float) -> None:
    """Measures details of calls from the whole year, and deletions of some of them."""
    calls = await some_calls(database, 5_000)
    details = [request(f"/calls/{call_id}", KEY) for call_id in calls]
    await stand.rate("detail", Asked(cycle(details), bytes_min=300), rate, seconds)
    deletes = iter([request(f"/calls/{call_id}", KEY, method="DELETE") for call_id in calls])
    await stand.rate("delete", Asked(deletes, status=204, bytes_min=0), rate / 4, min(seconds, 20))


async def some_calls(database: Connection, number: int) -> list[UUID]:
    """The ids of about this many calls of the large organization, spread over its year."""
    chance = random.Random()
    there = await database.fetchval("SELECT reltuples::bigint FROM pg_class WHERE oid = 'calls'::regclass")
    numbers = [5 * chance.randrange(there // 5) for _ in range(number)]
    ids = {UUID(hashlib.md5(f"call {n}".encode()).hexdigest()) for n in numbers}  # noqa: S324 (as history makes it)
    rows = await database.fetch(
        "SELECT id FROM calls WHERE organization_id = $1 AND id = ANY($2)", ORGANIZATION, list(ids)
    )
    return [row["id"] for row in rows]


def peak_memory_mb(pid: int) -> float:
    """The peak resident memory of a process."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else float("nan")


async def measure(server: Server, port: int, directory: Path, options: argparse.Namespace) -> Report:
    """Runs everything on a server of this port. Raises any error."""
    report = Report(options.calls)
    await server.start()
    url = await ensure(lambda name: f"postgresql://postgres@127.0.0.1:{port}/{name}", options.calls)
    database = await connect(url, application_name="callfold-benchmark", settings=SESSION)
    await database.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    seconds, rate = options.seconds, options.rate
    log = directory / "processes.log"
    floors = [await measure_bare(report, log, seconds)]
    with ExitStack() as stack:
        (api_port,) = free_ports(1)
        api_url = url.replace("postgres@", f"{roles.API}@")
        stack.enter_context(process(log, "services.aggregator", CALLFOLD_DATABASE_URL=url))
        api = stack.enter_context(
            process(log, "services.api", CALLFOLD_DATABASE_URL=api_url, CALLFOLD_API_PORT=str(api_port))
        )
        await wait_until_answers(api_port, "/health/ready")
        stand = Stand(api_port, api, report)
        await measure_counts(stand, rate, seconds)
        if not options.figures:
            calls = await database.fetchval(
                "SELECT sum(calls)::bigint FROM daily_call_counts WHERE organization_id = $1", ORGANIZATION
            )
            await measure_lists(stand, min(DEEP_PAGE, calls // PAGE_CALLS), rate / 4, seconds)
            await measure_calls(stand, database, rate / 2, seconds)
        await measure_first(stand, database, int(20 * seconds))
        await measure_writing(stand, url, rate, seconds)
        report.api_peak_memory_mb = peak_memory_mb(api.pid)
    floors.append(await measure_bare(report, log, seconds))
    report.bare_per_second = median(floors)
    await measure_recount(report, url)
    tell(f"verify, {options.verify} calls")
    sample = None if options.verify == "all" else int(options.verify)
    proof = await prove_connection(database, None, None, sample_calls=sample)
    report.proof = "exact" if proof.exact else "NOT EXACT"
    await database.close()
    return report


def print_report(report: Report) -> None:
    """Prints the report as text."""
    table = Table("question", "how", "answers/s", "of bare", "p50 ms", "p99 ms", "longest", "API µs", "wrong")
    for one in report.figures:
        full = one.how.endswith("connections")
        table.add_row(
            one.question,
            one.how,
            f"{one.per_second:,.0f}",
            f"{one.per_second / report.bare_per_second:.3f}" if full else "",
            f"{one.p50_ms:.2f}",
            f"{one.p99_ms:.2f}",
            f"{one.longest_ms:.1f}",
            f"{one.api_cpu_us:,.0f}",
            f"{one.wrong:,}" if one.wrong else "",
        )
    to = Console(width=140)
    to.print(table)
    to.print(
        f"GROUP BY over the calls: {report.recount_ms:,.0f} ms, in the database "
        f"{report.recount_in_database_ms:,.0f} ms; first stats after a change in the database: "
        f"{report.first_stats_in_database_ms:.2f} ms"
    )
    to.print(f"commits/s reached: {report.commits_per_second}")
    to.print(f"API's peak memory: {report.api_peak_memory_mb:.0f} MB; verify: {report.proof}")


def main() -> None:
    """Parses the arguments and measures on a separate server."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--calls", type=int, default=5_000_000)
    parser.add_argument("--state", type=Path, help="directory of the database, which later runs reuse")
    parser.add_argument("--seconds", type=float, default=20, help="of each load")
    parser.add_argument("--rate", type=float, default=200, help="requests per second for latencies")
    parser.add_argument("--verify", default="100000", metavar="all|N", help="calls to refold at the end")
    parser.add_argument("--figures", action="store_true", help="only stats and trends")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit("stopped")
    )  # and not without stopping the processes that it started
    with tempfile.TemporaryDirectory() as scratch:
        directory: Path = options.state or Path(scratch)
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o755)
        (port,) = free_ports(1)
        server = postgres_server(directory / "postgres", port, durable=True)
        server.command += ["-c", "shared_preload_libraries=pg_stat_statements"]
        try:
            report = uvloop.run(measure(server, port, directory, options))
        finally:
            server.stop()
    if options.json:
        print(json.dumps(asdict(report), indent=2))
    else:
        print_report(report)


if __name__ == "__main__":
    main()
