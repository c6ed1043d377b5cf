"""Kept answers: every process returns them while nothing changes, and not a moment longer."""

import asyncio
import json
import os
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path

import asyncpg
import httpx
import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.aggregator.apply_deltas import apply_deltas
from services.api.access.credentials import Principal
from services.api.database.counts_state import WAITING_MAX, CountsState, counts_state
from services.api.database.databases import Connection as PooledConnection
from services.api.database.databases import open_databases
from services.api.figures.answer_cache import KEPT_OVERHEAD_BYTES, Answer, Answers, Computed, Earlier
from services.api.figures.cell_filters import CellsQuery, Filters, filters_of
from services.api.figures.intervals import Span
from services.api.figures.stats import StatsAsked, stats
from services.api.figures.trends import TrendsAsked, trends
from services.ops.embedded.servers import postgres_server
from services.ops.embedded.state import free_ports
from services.ops.repair.rebuild import rebuild_organization
from shared.counts.counted_sql import CELL, INTO_DELTAS, MEASURES
from shared.database.connection import Connection
from shared.migrations.upgrade import upgrade
from shared.settings.api import ApiSettings
from tests.support import seed
from tests.support.api import bearing, get, serving, until_somebody_waits_for_a_lock
from tests.support.processes import until

no_state_on_citus = pytest.mark.one_postgres("counts that were never applied have no state there")


@asynccontextmanager
async def counts_locked(database: Connection) -> AsyncIterator[None]:
    """Makes each computation wait until the end of the block."""
    async with database.transaction():
        await database.execute("LOCK TABLE daily_call_counts")
        yield


async def state_now(database: Connection, tenant: seed.Tenant) -> CountsState:
    """The state of the tenant's counts."""
    (row,) = await database.fetch("SELECT * FROM callfold_counts_state($1)", tenant.id)
    return counts_state(row)


async def principal_now(database: Connection, tenant: seed.Tenant) -> Principal:
    """The tenant's principal, by a lookup of its credentials now."""
    state = await state_now(database, tenant)
    return Principal(tenant.id, True, tenant.zone, "the test", frozenset(), "unlimited", state)


async def apply_of(database: Connection, tenant: seed.Tenant) -> None:
    """Applies the tenant's deltas, as the aggregator does."""
    await apply_deltas(database, 1_000, tenant.id)


async def total(api: httpx.AsyncClient, tenant: seed.Tenant, **query: object) -> int:
    """The total of stats, after a check that trends have the same."""
    stats = await get(api, tenant, "/calls", action="stats", **query)
    trends = await get(api, tenant, "/calls", action="trends", **query)
    assert sum(day["total"] for day in trends["data"]) == stats["total"]
    return int(stats["total"])


@no_state_on_citus
async def test_while_nothing_changes_no_count_is_read_again(
    api: httpx.AsyncClient, database: Connection
) -> None:
    acme = await seed.tenant(database)
    await seed.call(database, acme)
    assert await total(api, acme) == 1
    async with counts_locked(database):
        async with asyncio.timeout(5):
            assert await total(api, acme) == 1
        other = asyncio.create_task(total(api, acme, status="busy"))
        await until_somebody_waits_for_a_lock(database)
    assert await other == 0, "another question is another answer"


@no_state_on_citus
async def test_other_organizations_do_not_disturb_it(api: httpx.AsyncClient, database: Connection) -> None:
    acme, other = [await seed.tenant(database) for _ in range(2)]
    await seed.call(database, acme)
    assert await total(api, acme) == 1
    await seed.call(database, other)
    await apply_of(database, other)
    async with counts_locked(database):
        async with asyncio.timeout(5):
            assert await total(api, acme) == 1


@pytest.mark.parametrize(
    "distributed",
    [False, pytest.param(True, marks=pytest.mark.one_postgres("its own tables stand for those of Citus"))],
)
async def test_only_the_days_that_changed_are_read_again(
    api: httpx.AsyncClient, database: Connection, distributed: bool
) -> None:
    """Counts of another day that are wrong, without deltas, do not appear: their part was kept."""
    if distributed:
        await seed.distributed(database)
    await database.execute("SELECT setval('count_version', 3000000000)")
    acme = await seed.tenant(database)
    for day in (1, 2, 30):
        await seed.call(database, acme, f"2026-11-{day:02}T10:00:00Z", applied=True)
    span = {"start_date": "2026-10-01", "end_date": "2026-11-30"}

    async def totals(**query: object) -> list[int]:
        rows = (await get(api, acme, "/calls", action="trends", **{**span, **query}))["data"]
        return [row["total"] for row in rows if row["total"]]

    assert [await totals(), await totals(interval="month")] == [[1, 1, 1], [3]]
    assert len(await totals(interval="hour", start_date="2026-11-01")) == 3
    await database.execute("UPDATE daily_call_totals SET calls = 9 WHERE day = '2026-11-01'")
    await seed.call(database, acme, "2026-11-02T11:00:00Z")
    for waits in (True, False):
        assert await totals() == [1, 2, 1], f"waits: {waits}"
        assert await totals(interval="month") == [12], "a month with a changed day is read as a whole"
        assert len(await totals(interval="hour", start_date="2026-11-01")) == 4
        await apply_of(database, acme)
    await seed.call(database, acme, "2026-11-02T12:00:00Z")
    await apply_of(database, acme)
    assert await totals() == [1, 3, 1], "a change that was applied before the request"
    await seed.call(database, acme, "2026-11-01T11:00:00Z", "busy")
    assert await totals() == [10, 3, 1]


async def test_a_repair_makes_every_part_be_read_again(api: httpx.AsyncClient, database: Connection) -> None:
    acme = await seed.tenant(database)
    await seed.call(database, acme, applied=True)
    await database.execute("UPDATE daily_call_totals SET calls = 9")
    dates = {"start_date": "2026-11-01", "end_date": "2026-11-30"}
    assert await total(api, acme, **dates) == 9
    await rebuild_organization(database, acme.id, actor="the test")
    assert await total(api, acme, **dates) == 1


@no_state_on_citus
async def test_with_too_many_waiting_deltas_no_answer_is_kept(database: Connection) -> None:
    acme = await seed.tenant(database)
    await seed.call(database, acme)
    assert (await state_now(database, acme)).is_known
    copies = f"{INTO_DELTAS} SELECT {CELL}, {MEASURES} FROM daily_call_deltas, generate_series(1, $1)"  # noqa: S608
    await database.execute(copies, WAITING_MAX)
    state = await state_now(database, acme)
    assert (state.waiting, state.is_known) == (WAITING_MAX + 1, False)


async def test_every_change_is_seen_at_once_by_every_process(
    api: httpx.AsyncClient, database: Connection, database_url: str
) -> None:
    acme = await seed.tenant(database)
    async with serving(database_url) as other:

        async def totals() -> list[int]:
            return [await total(each, acme) for each in (api, other, api, other)]

        assert await totals() == [0] * 4
        first = await seed.call(database, acme)
        assert await totals() == [1] * 4
        await seed.call(database, acme)
        assert await totals() == [2] * 4
        await seed.apply_deltas(database)
        assert await totals() == [2] * 4
        assert (await other.delete(f"/calls/{first}", headers=bearing(acme.key))).status_code == 204
        assert await totals() == [1] * 4


async def test_what_was_in_progress_when_an_answer_was_computed_is_seen_once_it_is_committed(
    api: httpx.AsyncClient, database: Connection, database_url: str
) -> None:
    """In any order, and with savepoints: no order of commits leads back to an earlier state."""
    acme = await seed.tenant(database)
    async with AsyncExitStack() as writers:
        writing = []
        for _ in range(5):
            connection = await asyncpg.connect(database_url)
            writers.push_async_callback(connection.close)
            transaction = connection.transaction()
            await transaction.start()
            await seed.call(connection, acme)  # in a savepoint of its transaction
            writing.append(transaction)
        assert await total(api, acme) == 0
        for committed, place in enumerate((2, 0, 4, 1, 3), 1):
            if place == 1:
                await writing[place].rollback()
            else:
                await writing[place].commit()
            assert await total(api, acme) == committed - (committed >= 4)


@no_state_on_citus
async def test_a_large_answer_that_is_asked_for_again_is_compressed_once(
    api: httpx.AsyncClient, database: Connection
) -> None:
    acme = await seed.tenant(database)
    await seed.call(database, acme)
    large, small = "/calls/trends", "/calls/stats"

    async def ask(path: str, accepted: str, *, tag: str = "") -> httpx.Response:
        named = {"If-None-Match": tag} if tag else {}
        return await api.get(path, headers={**bearing(acme.key), "Accept-Encoding": accepted, **named})

    first = await ask(large, "gzip")
    again = await ask(large, "br, gzip;q=0.5")
    assert "Content-Encoding" not in first.headers
    assert again.headers["Content-Encoding"] == "gzip"
    assert int(again.headers["Content-Length"]) * 5 < len(first.content)
    assert again.content == first.content
    assert again.headers["ETag"] != first.headers["ETag"]
    for tag in (first.headers["ETag"], again.headers["ETag"]):
        for accepted in ("gzip", "identity"):
            same = await ask(large, accepted, tag=tag)
            assert (same.status_code, same.headers["ETag"]) == (304, tag)
    for accepted in ("identity", "gzip;q=0", ""):
        assert "Content-Encoding" not in (await ask(large, accepted)).headers
    for _ in range(3):
        assert "Content-Encoding" not in (await ask(small, "gzip")).headers
    await seed.call(database, acme)
    changed = await ask(large, "gzip", tag=again.headers["ETag"])
    assert changed.status_code == 200
    assert sum(day["total"] for day in changed.json()["data"]) == 2


async def test_organizations_modes_and_time_zones_have_answers_of_their_own(
    api: httpx.AsyncClient, database: Connection
) -> None:
    acme = await seed.tenant(database)
    other = await seed.tenant(database)
    await seed.call(database, acme)
    assert [await total(api, acme), await total(api, other)] == [1, 0]
    test = acme._replace(key=acme.test_key)
    assert [await total(api, test), await total(api, acme)] == [0, 1]
    await database.execute("UPDATE organizations SET time_zone = 'Europe/Berlin' WHERE id = $1", acme.id)
    assert (await get(api, acme, "/calls", action="stats"))["time_zone"] == "Europe/Berlin"


@no_state_on_citus
async def test_of_many_who_ask_the_same_at_once_one_computes(database: Connection, database_url: str) -> None:
    acme = await seed.tenant(database)
    answers, computations, go_on = Answers(2**20), 0, asyncio.Event()

    async def compute(*_: object) -> Computed:
        nonlocal computations
        computations += 1
        await go_on.wait()
        return Computed(str(computations).encode())

    async with open_databases(ApiSettings(database_url=database_url)) as databases:
        principal = await principal_now(database, acme)
        asking = [
            asyncio.create_task(answers.get(databases.reading, principal, "how many?", compute))
            for _ in range(100)
        ]
        await until(lambda: computations, "one to compute")
        go_on.set()
        assert {(await asked).body for asked in asking} == {b"1"}
    assert computations == 1


async def test_when_it_fails_all_who_wait_are_told_at_once(database: Connection, database_url: str) -> None:
    acme = await seed.tenant(database)
    async with serving(database_url, api_statement_timeout_seconds=0.3) as api:
        async with counts_locked(database):
            async with asyncio.timeout(5):  # one after the other would take 12 s
                answers = await asyncio.gather(
                    *(api.get("/calls?action=stats", headers=bearing(acme.key)) for _ in range(40))
                )
        assert {answer.status_code for answer in answers} == {503}
        assert await total(api, acme) == 0, "and no fault is kept"


@no_state_on_citus
async def test_a_process_keeps_what_was_asked_for_last_in_so_many_bytes(
    database: Connection, database_url: str
) -> None:
    acme = await seed.tenant(database)
    async with serving(database_url, api_answers_mib=8 * KEPT_OVERHEAD_BYTES / 2**20) as api:
        for day in range(1, 29):
            await get(api, acme, "/calls", action="stats", start_date=f"2026-11-{day:02}")
        async with counts_locked(database):
            async with asyncio.timeout(5):
                await get(api, acme, "/calls", action="stats", start_date="2026-11-28")
            oldest = asyncio.create_task(get(api, acme, "/calls", action="stats", start_date="2026-11-01"))
            await until_somebody_waits_for_a_lock(database)
        await oldest
    async with serving(database_url, api_answers_mib=0) as api:
        assert await total(api, acme) == 0
        async with counts_locked(database):
            asked = asyncio.create_task(total(api, acme))
            await until_somebody_waits_for_a_lock(database)
        assert await asked == 0


@pytest.mark.processes
async def test_after_a_crash_no_state_comes_back() -> None:
    """Versions do come back: those of transactions whose end was not flushed yet."""
    with tempfile.TemporaryDirectory(prefix="callfold-crash-") as scratch:
        directory = Path(scratch)
        directory.chmod(0o755)
        (port,) = free_ports(1)
        server = postgres_server(directory / "postgres", port, durable=False)
        await server.start()
        try:
            url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
            await asyncio.to_thread(upgrade, url)
            database, victim = [await asyncpg.connect(url) for _ in range(2)]
            acme = await seed.tenant(database)
            pid = await victim.fetchval("SELECT pg_backend_pid()")
            states, started, answers = set(), set(), Answers(2**20)
            await database.execute("CHECKPOINT; SET synchronous_commit = off")
            for _ in range(3):
                await seed.call(database, acme)
                await apply_of(database, acme)
                states.add(await state_now(database, acme))
            assert await total_of_trends(answers, url, database, acme) == 3
            started.add(await database.fetchval("SELECT pg_postmaster_start_time()"))
            os.kill(pid, signal.SIGKILL)  # the postmaster kills the other backends, recovers, and survives
            await until(database.is_closed, "the crash")
            await server.wait_until_ready()
            database = await asyncpg.connect(url)
            for _ in range(3):
                assert await state_now(database, acme) not in states
                await seed.call(database, acme, "2026-12-10T10:00:00Z")
                await apply_of(database, acme)
                there = await database.fetchval("SELECT count(*) FROM calls")
                assert await total_of_trends(answers, url, database, acme) == there
            started.add(await database.fetchval("SELECT pg_postmaster_start_time()"))
            assert len(started) == 1
            await database.close()
        finally:
            server.stop()


async def total_of_trends(answers: Answers, url: str, database: Connection, tenant: seed.Tenant) -> int:
    """The total of trends over `SPAN`, in a process that keeps these answers."""
    principal = await principal_now(database, tenant)
    asked = TrendsAsked(Filters(tenant.id, True, *SPAN), SPAN)

    async def compute(connection: PooledConnection, earlier: Earlier | None) -> Computed:
        return await trends(connection, asked, principal.zone, earlier)

    async with open_databases(ApiSettings(database_url=url)) as databases:
        answer = await answers.get(databases.reading, principal, "trends", compute)
    return sum(day["total"] for day in json.loads(answer.body)["data"])


PROCESSES, WRITERS = 2, 3
SPAN = Span(date(2026, 10, 20), date(2026, 12, 10))
DAYS = (("10", 20), ("11", 24), ("12", 10))
_steps = st.one_of(
    st.tuples(st.sampled_from(["write", "commit", "store", "roll back"]), st.integers(0, WRITERS - 1)),
    st.tuples(st.sampled_from(["ask", "answer", "go on"]), st.integers(0, PROCESSES - 1)),
    st.tuples(st.sampled_from(["apply one", "apply all"]), st.just(0)),
)


class Interleaving:
    """Processes that answer the same question, and writers that change the true answer step by step."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self.answers = [Answers(2**20) for _ in range(PROCESSES)]
        self.history = [0]
        """The true totals, in order; each is greater than the one before."""
        self.given = 0
        self._unfinished: list[list[tuple[int, asyncio.Task[Answer]]]] = [[] for _ in range(PROCESSES)]
        self._gates: list[asyncio.Event | None] = [None] * PROCESSES

    async def run(self, steps: list[tuple[str, int]]) -> None:
        async with AsyncExitStack() as opened:
            database, *writers = [await asyncpg.connect(self._url) for _ in range(1 + WRITERS)]
            for connection in (database, *writers):
                opened.push_async_callback(connection.close)
            self._database, self._writers = database, writers
            self._written = [0] * WRITERS
            self._transactions = [connection.transaction() for connection in writers]
            self._databases = await opened.enter_async_context(
                open_databases(ApiSettings(database_url=self._url))
            )
            self._acme = await seed.tenant(database)
            for deed, place in steps:
                await self._step(deed, place)
            while any(self._gates):
                for place in range(PROCESSES):
                    await self._step("go on", place)

    async def _step(self, deed: str, place: int) -> None:
        match deed:
            case "ask":
                principal = await principal_now(self._database, self._acme)
                asked = asyncio.create_task(self._get(place, principal))
                self._unfinished[place].append((len(self.history) - 1, asked))
                await self._settle(place)
            case "answer":
                await self._step("ask", place)
                while self._gates[place] is not None:
                    await self._step("go on", place)
            case "store":
                await self._step("write", place)
                await self._step("commit", place)
            case "go on" if (gate := self._gates[place]) is not None:
                self._gates[place] = None
                gate.set()
                await self._settle(place)
            case "write":
                if not self._written[place]:
                    self._transactions[place] = self._writers[place].transaction()
                    await self._transactions[place].start()
                month, day = DAYS[(self.history[-1] + self._written[place] + place) % len(DAYS)]
                await seed.call(self._writers[place], self._acme, f"2026-{month}-{day:02}T10:00:00Z")
                self._written[place] += 1
            case "commit" if self._written[place]:
                await self._transactions[place].commit()
                self.history.append(self.history[-1] + self._written[place])
                self._written[place] = 0
            case "roll back" if self._written[place]:
                await self._transactions[place].rollback()
                self._written[place] = 0
            case "apply one" | "apply all":
                await apply_deltas(self._database, 1 if deed == "apply one" else 1_000, self._acme.id)

    async def _get(self, place: int, principal: Principal) -> Answer:
        """The first process computes stats, the second trends."""
        filters = replace(filters_of(principal, CellsQuery()), start_date=SPAN.start, end_date=SPAN.end)

        async def compute(connection: PooledConnection, earlier: Earlier | None) -> Computed:
            gate = self._gates[place] = asyncio.Event()
            await gate.wait()
            if place == 0:
                return await stats(connection, StatsAsked(filters), principal.zone, earlier)
            return await trends(connection, TrendsAsked(filters, SPAN), principal.zone, earlier)

        return await self.answers[place].get(self._databases.reading, principal, place, compute)

    async def _settle(self, place: int) -> None:
        """Returns when one request of this process waits within its snapshot, or all are answered."""
        async with asyncio.timeout(10):
            while self._gates[place] is None and self._unfinished[place]:
                await asyncio.sleep(0)
                self._check(place)
        for _ in range(5):  # a kept answer needs no computation
            await asyncio.sleep(0)
        self._check(place)

    def _check(self, place: int) -> None:
        for asked_at, task in self._unfinished[place]:
            if task.done():
                told = json.loads(task.result().body)
                answered = told["total"] if place == 0 else sum(day["total"] for day in told["data"])
                assert answered in self.history[asked_at:], "true since they asked"
                self.given += 1
        self._unfinished[place] = [each for each in self._unfinished[place] if not each[1].done()]


def test_whatever_the_interleaving_each_answer_is_true_at_a_moment_since_it_was_asked(
    database_url: str,
) -> None:
    loop = uvloop.new_event_loop()

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(_steps, min_size=5, max_size=60))
    def interleave(steps: list[tuple[str, int]]) -> None:
        loop.run_until_complete(Interleaving(database_url).run(steps))

    try:
        interleave()
    finally:
        loop.close()
