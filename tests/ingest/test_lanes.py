"""Lanes of ingest over two servers, with ordinary tables in the place of Citus' catalog.

Unlike Citus, these servers pass nothing on. So each organization is where the catalog says."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import asyncpg
import pytest

from services.ingest.arrivals import Sorted
from services.ingest.shard_directory import LEARN_SECONDS, ShardDirectory
from services.ingest.writer import Writer
from services.ops.embedded.servers import Server, Servers, postgres_server
from services.ops.embedded.state import free_ports
from services.ops.proof.proof import prove
from shared.calls.event import Event
from shared.database.connection import Connection
from shared.migrations.upgrade import upgrade
from shared.settings.ingest import IngestSettings
from shared.store.quarantine import BadRecord
from tests.support.events import event
from tests.support.processes import until
from tests.support.storing import arrivals, record

pytestmark = [
    pytest.mark.processes,
    pytest.mark.one_postgres("its own tables stand for those of Citus"),
]

HERE, THERE = UUID(int=1), UUID(int=2)
"""An organization of the first server, and one of the second."""

CATALOG = """
CREATE TABLE pg_dist_partition (logicalrelid regclass);
INSERT INTO pg_dist_partition VALUES ('calls');
CREATE TABLE pg_dist_shard (logicalrelid regclass, shardid bigint);
INSERT INTO pg_dist_shard VALUES ('calls', 11), ('calls', 12);
CREATE TABLE pg_dist_placement (shardid bigint, groupid integer);
INSERT INTO pg_dist_placement VALUES (11, 1), (12, 2);
CREATE TABLE pg_dist_local_group AS SELECT 1 AS groupid;
CREATE TABLE pg_dist_node AS
    SELECT groupid, '127.0.0.1' AS nodename, port AS nodeport, true AS shouldhaveshards, true AS isactive,
        'primary' AS noderole
    FROM (VALUES (1, {}), (2, {})) AS server(groupid, port);
CREATE FUNCTION get_shard_id_for_distribution_column(regclass, uuid) RETURNS bigint
    RETURN 12 - get_byte(uuid_send($2), 15) % 2;
"""


class Other(NamedTuple):
    """The second server. Its database `migrated` is copied."""

    server: Server
    port: int

    def url(self, name: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    async def execute(self, statement: str) -> None:
        server = await asyncpg.connect(self.url("postgres"))
        await server.execute(statement)
        await server.close()


@pytest.fixture(scope="module")
async def other() -> AsyncIterator[Other]:
    with tempfile.TemporaryDirectory(prefix="callfold-lanes-", ignore_cleanup_errors=True) as scratch:
        directory = Path(scratch)
        directory.chmod(0o755)
        (port,) = free_ports(1)
        other = Other(postgres_server(directory / "postgres", port, durable=True), port)
        await other.server.start()
        try:
            await other.execute("CREATE DATABASE migrated")
            await asyncio.to_thread(upgrade, other.url("migrated"))
            yield other
        finally:
            other.server.stop()


@dataclass
class Two:
    """The database of a test on both servers, with a connection to each. The first one has the catalog."""

    other: Server
    urls: list[str]
    here: Connection
    there: Connection

    async def calls(self) -> tuple[int, int]:
        """The number of calls on each."""
        count = "SELECT count(*) FROM calls"
        return await self.here.fetchval(count), await self.there.fetchval(count)

    async def are_exact(self) -> bool:
        return all([(await prove(url)).exact for url in self.urls])


@pytest.fixture
async def two(running: Servers, database_url: str, database: Connection, other: Other) -> AsyncIterator[Two]:
    name = database_url.rpartition("/")[2]
    await other.execute(f"CREATE DATABASE {name} TEMPLATE migrated")
    await database.execute(CATALOG.format(running.postgres_port, other.port))
    two = Two(other.server, [database_url, other.url(name)], database, await asyncpg.connect(other.url(name)))
    yield two
    two.there.terminate()


@pytest.fixture
async def writer(two: Two) -> AsyncIterator[Writer]:
    """A writer that knows by an empty batch that its database is distributed."""
    settings = IngestSettings(database_url=two.urls[0], database_connect_timeout_seconds=1)
    with closing(Writer(settings, stored=lambda _changes, _bad_records: None)) as writer:
        assert await writer.write(Sorted())
        yield writer


def batch(*numbers: int, type: str = "call.completed") -> Sorted:
    """An event of calls with these numbers, of both organizations."""
    return Sorted(list(arrivals(*events(HERE, *numbers, type=type), *events(THERE, *numbers, type=type))))


def events(organization_id: UUID, *numbers: int, type: str = "call.completed") -> list[Event]:
    return [event(type, id=type, organization_id=organization_id, call_id=UUID(int=n)) for n in numbers]


async def test_each_server_stores_what_is_of_its_organizations(two: Two, writer: Writer) -> None:
    assert await writer.write(batch(1, 2, 3, type="call.initiated"))
    assert await writer.write(batch(1, 2))
    assert await two.calls() == (3, 3)
    for connection, owner in ((two.here, HERE), (two.there, THERE)):
        assert await connection.fetchval("SELECT min(organization_id::text) FROM calls") == str(owner)
        assert await connection.fetchval("SELECT count(*) FROM calls WHERE status = 'completed'") == 2
    assert await two.are_exact()


async def test_a_bad_record_is_stored_once(two: Two, writer: Writer) -> None:
    found = batch(1, 2)
    found.bad_records = [BadRecord(record(b"no event", offset=9), "value: is not JSON")]
    assert await writer.write(found)
    count = "SELECT count(*) FROM quarantined_records"
    assert await two.here.fetchval(count) + await two.there.fetchval(count) == 1


async def test_while_a_server_is_dead_the_other_one_goes_on(two: Two, writer: Writer) -> None:
    """The batch ends once both have stored it, and only then ingest commits its offsets."""
    assert await writer.write(batch(1))
    two.other.kill()
    writing = asyncio.create_task(writer.write(batch(2, 3)))
    await until(lambda: two.here.fetchval("SELECT count(*) = 3 FROM calls"), "the first server's calls")
    await until(lambda: writer.waiting is not None, "the second lane to wait")
    assert "waits for server 127.0.0.1:" in (writer.waiting or "")
    assert not writing.done()

    await two.other.start()
    assert await writing
    assert writer.waiting is None
    two.there = await asyncpg.connect(two.urls[1])
    assert await two.calls() == (3, 3)
    assert await two.are_exact()


async def test_a_stop_ends_the_wait_for_a_dead_server(two: Two, writer: Writer) -> None:
    two.other.kill()
    writing = asyncio.create_task(writer.write(batch(1)))
    await until(lambda: writer.waiting is not None, "the second lane to wait")
    writer.stop()
    assert not await writing
    await two.other.start()


async def test_shards_of_a_dead_server_may_come_back_elsewhere(
    two: Two, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lane does not wait for ever for an address that has none of its shards any more."""
    monkeypatch.setattr("services.ingest.lane.AWAY_SECONDS", 0.2)
    two.other.kill()
    writing = asyncio.create_task(writer.write(batch(1)))
    await until(lambda: two.here.fetchval("SELECT count(*) = 1 FROM calls"), "the first server's call")
    assert not writing.done()
    await two.here.execute("UPDATE pg_dist_placement SET groupid = 1")
    assert await writing
    assert await two.here.fetchval("SELECT count(*) FROM calls") == 2
    assert writer.waiting is None
    assert (await prove(two.urls[0])).exact
    await two.other.start()


async def test_while_a_lane_waits_for_a_lock_the_other_one_goes_on(two: Two, writer: Writer) -> None:
    assert await writer.write(batch(1, type="call.initiated"))
    async with two.there.transaction():
        await two.there.execute("LOCK TABLE calls IN EXCLUSIVE MODE")
        writing = asyncio.create_task(writer.write(batch(1)))
        completed = "SELECT count(*) = 1 FROM calls WHERE status = 'completed'"
        await until(lambda: two.here.fetchval(completed), "the first server's call")
        assert not writing.done()
    assert await writing
    assert await two.are_exact()


async def test_a_lane_that_is_overtaken_reads_again_alone(two: Two) -> None:
    retries: list[str] = []
    settings = IngestSettings(database_url=two.urls[0])
    writer = Writer(settings, stored=lambda _changes, _bad_records: None, retried=retries.append)
    with closing(writer):
        assert await writer.write(Sorted())
        assert await writer.write(batch(1, type="call.initiated"))
        async with two.there.transaction():
            await two.there.execute("UPDATE calls SET revision = revision + 1")
            writing = asyncio.create_task(writer.write(batch(1)))
            waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
            await until(lambda: two.there.fetchval(waits), "the second lane to wait")
        assert await writing
    assert retries == ["overtaken"]
    assert await two.are_exact()


async def test_a_server_that_has_left_stores_for_nobody(two: Two, writer: Writer) -> None:
    """It still answers, and stores by its old places. Its share is stored again where it belongs."""
    assert await writer.write(batch(1))
    await two.here.execute("DELETE FROM pg_dist_node WHERE groupid = 2")
    assert await writer.write(batch(2))
    assert await two.calls() == (3, 2)
    assert await writer.write(batch(3))
    assert await two.calls() == (5, 2)


async def test_the_breaker_counts_all_lanes(two: Two) -> None:
    paused: list[None] = []
    settings = IngestSettings(
        database_url=two.urls[0], unknown_organizations="quarantine", breaker_records=100, breaker_share=0.6
    )
    writer = Writer(settings, stored=lambda _changes, _bad_records: None, paused=lambda: paused.append(None))
    with closing(writer):
        assert await writer.write(Sorted())
        writing = asyncio.create_task(writer.write(batch(*range(1, 101))))
        await until(lambda: paused, "the breaker to open")
        assert "of the last 200 records are not valid events" in (writer.waiting or "")
        writer.stop()
        assert not await writing
    assert len(paused) == 1


async def test_a_home_that_was_unreachable_waits_no_longer(two: Two, writer: Writer) -> None:
    """It stores no share itself, and still learns the places."""
    await two.here.execute("UPDATE pg_dist_placement SET groupid = 2")
    await two.here.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'callfold-ingest'"
    )
    assert await writer.write(Sorted(list(arrivals(*events(THERE, 1)))))
    assert writer.waiting is None


async def test_a_permanent_fault_of_one_lane_ends_the_batch(two: Two, writer: Writer) -> None:
    await two.there.execute("ALTER TABLE call_events RENAME COLUMN payload TO body")
    with pytest.raises(asyncpg.UndefinedColumnError):
        await writer.write(batch(1))


class TestDirectory:
    """The places of organizations, as they were read."""

    async def test_a_moved_shard_is_noticed_after_an_interval(self, two: Two) -> None:
        directory = ShardDirectory(two.urls[0])
        assert directory.url_of(THERE) == two.urls[0]
        await directory.learn(two.here, [HERE, THERE], 0)
        assert [directory.url_of(one) for one in (HERE, THERE)] == two.urls
        assert [directory.shard_of(one) for one in (HERE, THERE)] == [11, 12]

        await two.here.execute("UPDATE pg_dist_placement SET groupid = 1")
        assert directory.knows({HERE, THERE}, LEARN_SECONDS - 1)
        assert not directory.knows({HERE, THERE}, LEARN_SECONDS)
        await directory.learn(two.here, [THERE], LEARN_SECONDS)
        assert directory.url_of(THERE) == two.urls[0]

    async def test_after_a_split_the_shards_of_all_organizations_are_read_again(self, two: Two) -> None:
        directory = ShardDirectory(two.urls[0])
        await directory.learn(two.here, [HERE, THERE], 0)
        await two.here.execute(
            "INSERT INTO pg_dist_shard VALUES ('calls', 13); INSERT INTO pg_dist_placement VALUES (13, 2)"
        )
        directory.forget()
        await directory.learn(two.here, [HERE], 1)
        assert directory.shard_of(HERE) == 11
        assert not directory.knows({THERE}, 1)

    async def test_an_organization_is_asked_for_once(self, two: Two) -> None:
        directory = ShardDirectory(two.urls[0])
        await directory.learn(two.here, [HERE], 0)
        assert directory.knows({HERE}, 1)
        assert not directory.knows({HERE, THERE}, 1)
