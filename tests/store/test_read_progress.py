"""How far ingest has read the topic, as stored in the database."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from aiokafka import AIOKafkaProducer

from shared.database import roles
from shared.database.connection import Connection
from shared.store.read_progress import read_until, write_read_until
from tests.support.events import NOON, value
from tests.support.ingesting import call, keyed
from tests.support.monitoring import Monitor
from tests.support.pipeline import Pipeline, calls
from tests.support.processes import until
from tests.support.roles import as_role

pytestmark = pytest.mark.long


async def clock(database: Connection) -> datetime:
    moment: datetime = await database.fetchval("SELECT clock_timestamp()")
    return moment


async def of_partitions(database: Connection, topic: str) -> dict[int, datetime]:
    rows = await database.fetch("SELECT partition, read_until FROM partitions_read WHERE topic = $1", topic)
    return {row["partition"]: row["read_until"] for row in rows}


async def passes(database: Connection, topic: str, moment: datetime) -> None:
    """Returns when the database reports that all records published before the moment are stored."""

    async def has_passed() -> bool:
        read = await read_until(database, topic)
        return read is not None and read > moment

    await until(has_passed, "read_until to pass the moment")


async def test_it_follows_what_is_stored(
    pipeline: Pipeline, topic: str, database: Connection, database_url: str
) -> None:
    assert await read_until(database, topic) is None, "no partition was ever read"
    pipeline.start(database_url=as_role(database_url, roles.INGEST))
    await pipeline.publish(keyed(calls(10)))
    await passes(database, topic, await clock(database))
    assert await database.fetchval("SELECT count(*) FROM call_events") == 40
    assert set(await of_partitions(database, topic)) == {0, 1, 2, 3}

    await database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'callfold-ingest-progress' AND datname = current_database()"
    )
    await passes(database, topic, await clock(database))


async def test_it_stands_still_while_records_wait(
    pipeline: Pipeline, topic: str, database: Connection, rival: Connection
) -> None:
    pipeline.start()
    await passes(database, topic, await clock(database))
    async with rival.transaction():
        await rival.execute("LOCK TABLE daily_call_deltas IN ACCESS EXCLUSIVE MODE")
        before = await clock(database)
        await pipeline.publish(call(0))  # all in one partition
        after = await clock(database)

        async def others_pass() -> bool:
            read = await of_partitions(database, topic)
            return sum(moment > after for moment in read.values()) == 3

        await until(others_pass, "the three other partitions to continue")
        (waiting,) = (at for at in (await of_partitions(database, topic)).values() if at < after)
        assert await read_until(database, topic) == waiting
        assert waiting > before - timedelta(seconds=20)
    await passes(database, topic, after)
    assert await database.fetchval("SELECT count(*) FROM call_events") == 4


async def test_it_stands_still_while_a_partition_has_no_process(
    pipeline: Pipeline, topic: str, database: Connection
) -> None:
    """A static member's partitions wait for it."""
    members = [pipeline.start(group_instance_id=name, session_timeout_seconds="45") for name in ("a", "b")]

    def shared() -> bool:
        return all(member.log.read_text().rstrip().count("reads partitions") for member in members)

    await until(shared, "two members to share the partitions")
    await passes(database, topic, await clock(database))
    members[1].kill()
    killed = await clock(database)

    async def half_of_them_pass() -> bool:
        read = await of_partitions(database, topic)
        return sum(moment > killed + timedelta(seconds=10) for moment in read.values()) == 2

    await until(half_of_them_pass, "the partitions of the member that runs to continue")
    read = await read_until(database, topic)
    assert read is not None
    assert read < killed
    pipeline.start(group_instance_id="b", session_timeout_seconds="45")
    await passes(database, topic, killed)


async def test_a_transactions_markers_hold_up_neither_it_nor_the_lag(
    pipeline: Pipeline,
    bootstrap: str,
    topic: str,
    database: Connection,
    free_tcp_port_factory: Callable[[], int],
) -> None:
    """The last offsets of each partition are the markers of a commit and an abort."""
    monitor = Monitor(free_tcp_port_factory())
    pipeline.start(monitor_port=str(monitor.port))
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=topic)
    await producer.start()
    async with producer.transaction():
        await producer.send_and_wait(topic, value("call.initiated"), partition=0)
    await producer.begin_transaction()
    await producer.send_and_wait(topic, value("call.ringing", id="evt_2"), partition=0)
    await producer.send_and_wait(topic, value("call.ringing", id="evt_2"), partition=1)
    await producer.abort_transaction()
    await producer.stop()
    await passes(database, topic, await clock(database))
    assert await database.fetchval("SELECT count(*) FROM call_events") == 1

    async def no_lag() -> bool:
        samples = (await monitor.families())["callfold_ingest_lag_records"].samples
        return {sample.labels["partition"]: sample.value for sample in samples} == dict.fromkeys("0123", 0)

    await until(no_lag, "no partition to have a lag")


async def test_the_newest_row_knows_how_many_partitions_there_are(database: Connection) -> None:
    later = [NOON + timedelta(seconds=seconds) for seconds in range(5)]
    await write_read_until(database, "t", 4, {0: later[0], 1: later[0], 2: later[0], 3: later[0]})
    await write_read_until(database, "other", 1, {0: later[4]})
    assert await read_until(database, "t") == later[0]

    await write_read_until(database, "t", 5, {0: later[1], 1: later[1]})
    assert await read_until(database, "t") is None, "partition 4 was added, and never read"
    await write_read_until(database, "t", 5, {2: later[2], 3: later[2], 4: later[2]})
    assert await read_until(database, "t") == later[1]

    await write_read_until(database, "t", 2, {0: later[3], 1: later[4]})
    assert await read_until(database, "t") == later[3], "rows of partitions that are gone do not count"

    await write_read_until(database, "t", 2, {0: later[2]})
    assert (await of_partitions(database, "t"))[0] == later[3], "it never goes back"
