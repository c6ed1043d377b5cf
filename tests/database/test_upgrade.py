"""An upgrade while services run: steps are applied while events arrive, and nothing stops."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import asyncpg
import httpx
import pytest

from services.ops.proof.proof import prove
from shared.database.connection import Connection
from shared.database.schema_step import NEEDED_STEP
from shared.migrations.upgrade import HERE, TablesBusy, upgrade
from tests.support import seed
from tests.support.api import bearing
from tests.support.command_line import callfold
from tests.support.databases import Databases
from tests.support.events import value
from tests.support.ingesting import StartIngest, call, caught_up, keyed
from tests.support.processes import Service, publish, until
from tests.support.seed import Tenant

pytestmark = pytest.mark.long

NEWER_STEP = f"{int(NEEDED_STEP) + 1:04}"
EXPANDING_STEP = f"""
import sqlalchemy as sa
from alembic import op

revision, down_revision = "{NEWER_STEP}", "{NEEDED_STEP}"


def upgrade() -> None:
    op.create_table("trunks", sa.Column("name", sa.Text(), primary_key=True))
    op.add_column("calls", sa.Column("trunk", sa.Text()))
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS calls_trunk_idx")
        op.execute("CREATE INDEX CONCURRENTLY calls_trunk_idx ON calls (organization_id, trunk)")
"""

TABLE_OR_COLUMN = """
SELECT to_regclass('trunks') IS NOT NULL
    OR EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'calls'::regclass AND attname = 'trunk')
"""


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """The migrations of a callfold that is one step newer than this one."""
    newer = tmp_path / "migrations"
    shutil.copytree(HERE, newer, ignore=shutil.ignore_patterns("__pycache__"))
    (newer / "versions" / f"{NEWER_STEP}_the_trunk.py").write_text(EXPANDING_STEP)
    return newer


class Stack(NamedTuple):
    """Ingest, the aggregator and the API, running."""

    services: tuple[Service, ...]
    api: httpx.AsyncClient
    tenant: Tenant

    def assert_undisturbed(self) -> None:
        """None of them exited or had to wait for the database."""
        for service in self.services:
            assert service.running
            assert not service.said("waits for"), service.log.read_text()


@pytest.fixture
async def stack(
    start_ingest: StartIngest, database_url: str, database: Connection, tmp_path: Path, free_tcp_port: int
) -> AsyncIterator[Stack]:
    tenant = await seed.tenant(database)
    ingest = start_ingest()
    aggregator = Service("aggregator", tmp_path / "aggregator.log", database_url=database_url)
    api = Service("api", tmp_path / "api.log", database_url=database_url, api_port=str(free_tcp_port))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{free_tcp_port}", timeout=20) as client:

        async def ready() -> bool:
            try:
                return (await client.get("/health/ready")).status_code == 200
            except httpx.TransportError:
                return False

        try:
            await until(ready, "the API to be ready")
            yield Stack((ingest, aggregator, api), client, tenant)
        finally:
            for service in (aggregator, api):
                if service.running:
                    service.kill()


class Load:
    """Calls that are published, listed, counted and deleted for the duration of a block."""

    def __init__(self, bootstrap: str, topic: str, stack: Stack) -> None:
        self._bootstrap, self._topic = bootstrap, topic
        self._api, self._tenant = stack.api, stack.tenant
        self.calls = 0
        self.deleted = 0
        self.answers: list[int] = []
        """The status of each response."""
        self._stop = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._publish())
            group.create_task(self._ask())
            await until(self._under_way, "calls to be answered and deleted")
            yield
            published = self.calls
            await until(lambda: self._so_many(published + 50), "calls to be published afterwards")
            self._stop = True

    async def _publish(self) -> None:
        while not self._stop:
            events = [
                event
                for n in range(self.calls, self.calls + 10)
                for event in call(n, organization_id=self._tenant.id)
            ]
            await publish(self._bootstrap, self._topic, keyed(events))
            self.calls += 10

    async def _ask(self) -> None:
        while not self._stop:
            for query in ({}, {"action": "stats"}, {"action": "trends"}):
                await self._request("GET", "/calls", query)
            if await self._request("DELETE", f"/calls/{UUID(int=self.deleted + 1)}", {}) == 204:
                self.deleted += 1

    async def _request(self, method: str, path: str, query: dict[str, str]) -> int:
        answer = await self._api.request(method, path, params=query, headers=bearing(self._tenant.key))
        self.answers.append(answer.status_code)
        return answer.status_code

    async def _under_way(self) -> bool:
        return self.deleted > 0

    async def _so_many(self, calls: int) -> bool:
        return self.calls >= calls


async def test_a_newer_step_comes_while_the_older_services_work(
    stack: Stack, scripts: Path, bootstrap: str, topic: str, database_url: str, database: Connection
) -> None:
    load = Load(bootstrap, topic, stack)
    async with load.running():
        await asyncio.to_thread(upgrade, database_url, scripts=scripts)
    await caught_up(bootstrap, topic)

    assert await database.fetchval("SELECT version_num FROM alembic_version") == NEWER_STEP
    assert await database.fetchval(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 'calls_trunk_idx'::regclass"
    )
    stack.assert_undisturbed()
    assert set(load.answers) <= {200, 204, 404}, "404: a call that has not come yet can't be deleted"
    assert (await stack.api.get("/health/ready")).status_code == 200
    proof = await prove(database_url)
    assert proof.exact, proof.differences
    assert (proof.calls, proof.tombstones) == (load.calls - load.deleted, load.deleted)


async def test_a_step_behind_a_long_reader_gives_up_and_holds_nobody_up(
    stack: Stack,
    scripts: Path,
    bootstrap: str,
    topic: str,
    database_url: str,
    database: Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first of the step's two changes could be made, the second not. Then neither exists, and later both
    do."""
    monkeypatch.setattr("shared.migrations.upgrade.PAUSES_SECONDS", (0.1,))
    load = Load(bootstrap, topic, stack)
    async with load.running():
        async with database.transaction():
            # As a proof or a dump: tables that it read stay locked until its end.
            await database.fetchval("SELECT count(*) FROM calls")
            with pytest.raises(TablesBusy, match="That step was rolled back"):
                await asyncio.to_thread(upgrade, database_url, scripts=scripts)
        assert not await database.fetchval(TABLE_OR_COLUMN)
        assert await database.fetchval("SELECT version_num FROM alembic_version") == NEEDED_STEP
        await asyncio.to_thread(upgrade, database_url, scripts=scripts)
        assert await database.fetchval(TABLE_OR_COLUMN)
    await caught_up(bootstrap, topic)
    assert set(load.answers) <= {200, 204, 404}
    stack.assert_undisturbed()
    assert (await prove(database_url)).exact


async def test_the_command_says_who_is_in_the_way(
    database_url: str, database: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.migrations.upgrade.PAUSES_SECONDS", (0.1,))
    await database.execute("SET application_name = 'another'")
    async with database.transaction():
        await database.execute("LOCK TABLE alembic_version")
        refused = await callfold("migrate", database_url=database_url)
    assert refused.status == 1
    assert "the oldest transaction belongs to another (pid" in refused.failure
    assert (await callfold("migrate", database_url=database_url)).status == 0


async def test_a_version_that_is_rolled_back_to_leaves_the_newer_tables_as_they_are(
    database_url: str, database: Connection, scripts: Path
) -> None:
    await asyncio.to_thread(upgrade, database_url, scripts=scripts)
    done = await callfold("migrate", database_url=database_url)
    assert done.status == 0
    assert (
        f"A newer callfold migrated the database (step {NEWER_STEP}). This version runs on it" in done.output
    )
    assert await asyncio.to_thread(upgrade, database_url) == NEWER_STEP
    assert await database.fetchval("SELECT version_num FROM alembic_version") == NEWER_STEP
    assert await database.fetchval(TABLE_OR_COLUMN)


@pytest.fixture
async def empty_database_url(databases: Databases) -> AsyncIterator[str]:
    async with databases.empty() as url:
        yield url


@pytest.fixture
def early_services(
    start_ingest: StartIngest, empty_database_url: str, tmp_path: Path
) -> Iterator[tuple[Service, Service]]:
    """Ingest and aggregator, started before the tables exist."""
    ingest = start_ingest(database_url=empty_database_url)
    aggregator = Service("aggregator", tmp_path / "aggregator.log", database_url=empty_database_url)
    yield ingest, aggregator
    if aggregator.running:
        aggregator.kill()


async def test_services_wait_for_tables_that_are_not_there_or_too_old(
    early_services: tuple[Service, Service], bootstrap: str, topic: str, empty_database_url: str
) -> None:
    await publish(bootstrap, topic, [value("call.initiated")])
    for service in early_services:
        await until(
            partial(service.said, f"its tables are missing, and step {NEEDED_STEP} is needed"),
            "word of what is missing",
        )
        assert service.running
    await asyncio.to_thread(upgrade, empty_database_url)
    await caught_up(bootstrap, topic)
    database = await asyncpg.connect(empty_database_url)

    async def all_counted() -> bool:
        counted: bool = await database.fetchval("SELECT sum(calls) = 1 FROM daily_call_counts")
        return counted

    await until(all_counted, "the aggregator to continue")
    await database.close()
    assert all(service.running for service in early_services)
