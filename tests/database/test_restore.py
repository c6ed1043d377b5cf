"""Restoring an earlier moment: PostgreSQL's own backup and recovery, and the records that Kafka then adds."""

import asyncio
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from services.ops.embedded import postgres
from services.ops.embedded.servers import Server
from services.ops.embedded.state import free_ports
from shared.counts.cell import CALL_COLUMNS
from shared.database.connection import Connection
from shared.migrations.give_roles import give_roles
from shared.migrations.upgrade import upgrade
from tests.support import seed
from tests.support.api import bearing, serving
from tests.support.command_line import callfold
from tests.support.ingesting import call, keyed
from tests.support.pipeline import Pipeline
from tests.support.processes import until
from tests.support.repository import ROOT
from tests.support.seed import Tenant

pytestmark = pytest.mark.long

# Without their revision: the number of rewrites of a row depends on how the events fell into batches.
ALL_CALLS = f"SELECT {', '.join(CALL_COLUMNS)} FROM calls ORDER BY organization_id, id"  # noqa: S608
BACKUP = ROOT / "docs" / "how-to" / "back-up-and-restore.md"


@dataclass(frozen=True)
class Places:
    """The folder of data directories and archive, writable by PostgreSQL's user."""

    directory: Path
    user: str | None = field(default_factory=postgres.operating_user)

    @property
    def archive(self) -> Path:
        return self.directory / "archive"

    def run(self, program: str, *arguments: str | Path) -> bytes:
        """Runs one of PostgreSQL's programs and returns its output."""
        path = Path(postgres.command(self.directory, 0)[0]).with_name(program)
        return subprocess.run(
            [path, *arguments],
            user=self.user,
            group=self.user and pwd.getpwnam(self.user).pw_gid,
            extra_groups=None if self.user is None else [],
            cwd="/",
            check=True,
            capture_output=True,
        ).stdout


@pytest.fixture
def places() -> Iterator[Places]:
    with tempfile.TemporaryDirectory(prefix="callfold-restore-") as scratch:
        places = Places(Path(scratch))
        places.directory.chmod(0o755)
        for made in (places.archive, places.directory / "backup"):
            made.mkdir(mode=0o700)
            if places.user is not None:
                shutil.chown(made, places.user)
        yield places


@contextmanager
def _server(data: Path, **settings: str) -> Iterator[tuple[Server, str]]:
    """A durable server with this data directory, not started yet, and the URL of its database `callfold`."""
    (port,) = free_ports(1)
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    server = Server(
        [*postgres.command(data, port), *options],
        data.with_suffix(".log"),
        postgres.operating_user(),
        signal.SIGINT,
        lambda: postgres.wait_until_ready(port),
    )
    try:
        yield server, f"postgresql://postgres@127.0.0.1:{port}/callfold"
    finally:
        server.stop()


@asynccontextmanager
async def archiving_server(places: Places) -> AsyncIterator[str]:
    """A server with the tables, which archives its WAL. Returns the URL of its database."""
    data = places.directory / "primary"
    postgres.prepare(data)
    archive = f"test ! -f {places.archive}/%f && cp %p {places.archive}/%f"
    with _server(data, archive_mode="on", archive_command=archive) as (server, url):
        await server.start()
        database = await asyncpg.connect(url.replace("/callfold", "/postgres"))
        await database.execute("CREATE DATABASE callfold")
        await database.close()
        await asyncio.to_thread(upgrade, url)
        await give_roles(url)
        yield url


@asynccontextmanager
async def restored_server(places: Places, moment: str) -> AsyncIterator[str]:
    """The base backup, rolled forward to a moment. Returns the URL of its database."""
    data = places.directory / "backup"
    (data / "recovery.signal").touch()
    if places.user is not None:
        shutil.chown(data / "recovery.signal", places.user)
    with _server(
        data,
        restore_command=f"cp {places.archive}/%f %p",
        recovery_target_time=moment,
        recovery_target_action="promote",
    ) as (server, url):
        await server.start()
        database = await asyncpg.connect(url)
        await until(lambda: database.fetchval("SELECT NOT pg_is_in_recovery()"), "the end of the recovery")
        await database.close()
        yield url


def deleted_since(moment: str) -> str:
    """The statement of docs/how-to/back-up-and-restore.md, for another moment."""
    (found,) = re.findall(r"SELECT organization_id[^;]*FROM audit_log[^;]*;", BACKUP.read_text())
    return re.sub(r"at > '[^']*'", f"at > '{moment}'", found)


async def _archived(database: Connection) -> None:
    """Returns when the archive contains all WAL up to now."""
    segment = await database.fetchval("SELECT pg_walfile_name(pg_switch_wal())")
    archived = "SELECT last_archived_wal >= $1 FROM pg_stat_archiver"
    await until(lambda: database.fetchval(archived, segment), "the WAL to be archived")


async def _delete(database_url: str, tenant: Tenant, call_id: UUID) -> None:
    async with serving(database_url) as api:
        assert (await api.delete(f"/calls/{call_id}", headers=bearing(tenant.key))).status_code == 204


async def test_back_to_a_moment_and_forward_again(
    pipeline: Pipeline, places: Places, bootstrap: str, topic: str
) -> None:
    """Events after the moment are still in Kafka and are read again. Calls deleted after it return and must
    be deleted again."""
    async with archiving_server(places) as url:
        database = await asyncpg.connect(url)
        tenant = await seed.tenant(database)
        ingest = pipeline.start(database_url=url)

        async def load(first: int, last: int) -> None:
            for n in range(first, last):
                await pipeline.publish(keyed(call(n, organization_id=tenant.id)))

        loading = asyncio.create_task(load(0, 40))
        await until(lambda: database.fetchval("SELECT count(*) > 5 FROM calls"), "the first calls")
        primary = url.replace("/callfold", "/postgres")
        backup = ("-d", primary, "-D", places.directory / "backup", "--wal-method=none", "--checkpoint=fast")
        await asyncio.to_thread(places.run, "pg_basebackup", *backup)
        await loading
        await pipeline.consumed()
        await _delete(url, tenant, UUID(int=1))
        moment = await database.fetchval("SELECT clock_timestamp()")
        await load(40, 60)
        await pipeline.consumed()
        await _delete(url, tenant, UUID(int=2))
        assert ingest.stop() == 0
        await _archived(database)

        async with restored_server(places, str(moment)) as restored_url:
            restored = await asyncpg.connect(restored_url)
            proved = await callfold("verify", "--json", database_url=restored_url)
            assert (proved.status, proved.json["exact"]) == (0, True)
            assert (proved.json["calls"], proved.json["tombstones"]) == (39, 1), "as it was at the moment"

            addresses = {"database_url": restored_url, "kafka_bootstrap": bootstrap, "topic": topic}
            replayed = await callfold("replay", "--from", moment.isoformat(), "--json", **addresses)
            assert replayed.json["new_calls"] >= 20
            pipeline.start(database_url=restored_url)
            await pipeline.publish(keyed(call(60, organization_id=tenant.id)))
            await pipeline.consumed()
            assert await restored.fetchval("SELECT count(*) FROM calls") == 60, "the deleted one is back"
            deleted = await database.fetch(deleted_since(str(moment)))
            assert [row["subject"] for row in deleted] == [str(UUID(int=2))]
            for row in deleted:
                await _delete(restored_url, tenant, UUID(row["subject"]))
            pipeline.start(consumer_group="the-old-one-too", database_url=url)
            await pipeline.consumed("the-old-one-too")
            assert await restored.fetch(ALL_CALLS) == await database.fetch(ALL_CALLS)
            proved = await callfold("verify", "--json", database_url=restored_url)
            assert (proved.json["exact"], proved.json["calls"], proved.json["tombstones"]) == (True, 59, 2)
            await restored.close()
        await database.close()


@pytest.mark.embedded_postgres
async def test_a_dump_of_a_live_database_is_exact(
    pipeline: Pipeline, places: Places, database_url: str, database: Connection
) -> None:
    """The dump is of one snapshot, and so are its counts and calls."""
    pipeline.start()

    async def load() -> None:
        for n in range(40):
            await pipeline.publish(keyed(call(n)))

    loading = asyncio.create_task(load())
    await until(lambda: database.fetchval("SELECT count(*) > 5 FROM calls"), "the first calls")
    file = places.archive / "callfold.dump"
    await asyncio.to_thread(places.run, "pg_dump", "--format=custom", "--file", file, database_url)
    await loading
    await pipeline.consumed()

    copy = f"{database_url}_copy"
    await database.execute(f"CREATE DATABASE {copy.rpartition('/')[2]}")
    try:
        await asyncio.to_thread(places.run, "pg_restore", "--exit-on-error", "--dbname", copy, file)
        proved = await callfold("verify", "--json", database_url=copy)
        assert (proved.status, proved.json["exact"]) == (0, True)
        assert 0 < proved.json["events"] <= 160
    finally:
        await database.execute(f"DROP DATABASE {copy.rpartition('/')[2]} WITH (FORCE)")
