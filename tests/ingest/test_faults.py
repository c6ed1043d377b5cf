"""Ingest through faults: killed at any point of a batch, owners that meet, servers that go away."""

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from services.ops.embedded.servers import Servers
from services.ops.lag import consumer_lag
from services.ops.proof import prove
from shared.database import Connection
from tests.support.events import value
from tests.support.ingesting import (
    GROUP,
    StartIngest,
    assert_exact,
    call,
    caught_up,
    has_ended,
    has_said,
    keyed,
)
from tests.support.processes import lag, publish, until


@asynccontextmanager
async def transaction_held_open(database: Connection) -> AsyncIterator[None]:
    """Holds ingest's transactions where all but the deltas is written, for as long as the block."""
    async with database.transaction():
        await database.execute("LOCK TABLE daily_call_deltas IN ACCESS EXCLUSIVE MODE")
        yield


async def test_killed_before_the_database_commit(
    start_ingest: StartIngest, bootstrap: str, topic: str, database_url: str, database: Connection
) -> None:
    await publish(bootstrap, topic, keyed([e for n in range(10) for e in call(n)]))
    async with transaction_held_open(database):
        ingest = start_ingest()
        await until(lambda: _waits_for_lock(database), "ingest to be in the middle of its transaction")
        ingest.kill()
    assert await database.fetchval("SELECT count(*) FROM call_events") == 0, "nothing of the batch is left"
    start_ingest()
    await caught_up(bootstrap, topic)
    await assert_exact(database_url, database, 10)


async def _waits_for_lock(database: Connection) -> bool:
    waiting: bool = await database.fetchval(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'daily_call_deltas'::regclass AND NOT granted)"
    )
    return waiting


async def test_killed_between_the_database_commit_and_the_offset_commit(
    start_ingest: StartIngest,
    bootstrap: str,
    topic: str,
    database_url: str,
    database: Connection,
    running: Servers,
) -> None:
    """The broker is killed while the transaction is held open: the one commit succeeds, the other can't."""
    await publish(bootstrap, topic, keyed([e for n in range(10) for e in call(n)]))
    async with transaction_held_open(database):
        ingest = start_ingest()
        await until(lambda: _waits_for_lock(database), "ingest to be in the middle of its transaction")
        running.kafka.kill()
    try:
        await until(lambda: database.fetchval("SELECT EXISTS (SELECT FROM calls)"), "the database commit")
        ingest.kill()
    finally:
        await running.kafka.start()
    assert await lag(bootstrap, topic, f"{GROUP}-{topic}") > 0, "no offset of that batch was committed"
    start_ingest()
    await caught_up(bootstrap, topic)
    await assert_exact(database_url, database, 10)


async def test_killed_after_the_offset_commit(
    start_ingest: StartIngest, bootstrap: str, topic: str, database_url: str, database: Connection
) -> None:
    await publish(bootstrap, topic, keyed([e for n in range(10) for e in call(n)]))
    ingest = start_ingest()
    await caught_up(bootstrap, topic)
    ingest.kill()
    start_ingest()
    await publish(bootstrap, topic, keyed([e for n in range(10, 20) for e in call(n)]))
    await caught_up(bootstrap, topic)
    await assert_exact(database_url, database, 20)


async def test_two_processes_share_the_topic_through_rebalances(
    start_ingest: StartIngest, bootstrap: str, topic: str, database_url: str, database: Connection
) -> None:
    """One comes, another joins, the first is killed, a third joins, the second stops: calls whose events
    are torn over all partitions stay exact."""
    records = keyed([event for n in range(400) for event in call(n)])
    fifth = len(records) // 5
    first = start_ingest(batch_records="50")
    await publish(bootstrap, topic, records[:fifth])
    second = start_ingest(batch_records="50")
    await publish(bootstrap, topic, records[fifth : 2 * fifth])
    await until(lambda: has_said(second, "reads partitions"), "the second process to get partitions")
    await publish(bootstrap, topic, records[2 * fifth : 3 * fifth])
    first.kill()
    third = start_ingest(batch_records="50")
    await publish(bootstrap, topic, records[3 * fifth : 4 * fifth])
    await until(lambda: has_said(third, "reads partitions"), "the third process to get partitions")
    assert second.stop() == 0
    await publish(bootstrap, topic, records[4 * fifth :])
    await caught_up(bootstrap, topic)
    await assert_exact(database_url, database, 400)


async def test_a_zombie_owner_that_wakes_does_no_harm(
    start_ingest: StartIngest, bootstrap: str, topic: str, database_url: str, database: Connection
) -> None:
    """Stopped in the middle of a batch for longer than the session lasts, while another owner does it."""
    await publish(bootstrap, topic, keyed([e for n in range(10) for e in call(n)]))
    async with transaction_held_open(database):
        zombie = start_ingest()
        await until(lambda: _waits_for_lock(database), "ingest to be in the middle of its transaction")
        zombie.send(signal.SIGSTOP)
        heir = start_ingest()
        await until(lambda: has_said(heir, "reads partitions"), "the other owner to get the partitions")
    zombie.send(signal.SIGCONT)
    await caught_up(bootstrap, topic)
    await publish(bootstrap, topic, keyed([e for n in range(10, 20) for e in call(n)]))
    await caught_up(bootstrap, topic)
    await assert_exact(database_url, database, 20)
    assert heir.running
    assert zombie.running


async def test_the_database_and_the_broker_go_away_and_come_back(
    start_ingest: StartIngest, bootstrap: str, topic: str, database_url: str, running: Servers
) -> None:
    """PostgreSQL is killed (and recovers from the crash) while batches are written, then the broker is."""
    ingest = start_ingest(batch_records="20")
    await publish(bootstrap, topic, keyed([e for n in range(100) for e in call(n)]))
    running.postgres.kill(signal.SIGQUIT)
    await publish(bootstrap, topic, keyed([e for n in range(100, 200) for e in call(n)]))
    await until(lambda: has_said(ingest, "waits for the database"), "ingest to say that it waits")
    await running.postgres.start()
    await until(lambda: has_said(ingest, "the database answers again after"), "ingest to say that it goes on")
    running.kafka.kill()
    await running.kafka.start()
    await publish(bootstrap, topic, keyed([e for n in range(200, 300) for e in call(n)]))
    await caught_up(bootstrap, topic)
    database = await asyncpg.connect(database_url)
    await assert_exact(database_url, database, 300)
    await database.close()
    assert ingest.stop() == 0, "it is the process that was started: nothing of this ended it"


async def test_connections_that_are_cut_at_any_moment_are_opened_again(
    start_ingest: StartIngest, bootstrap: str, topic: str, database_url: str, database: Connection
) -> None:
    """As a failover does it, while batches are written."""
    ingest = start_ingest(batch_records="20")
    records = keyed([event for n in range(300) for event in call(n)])
    publishing = asyncio.create_task(publish(bootstrap, topic, records))
    cut = 0

    async def cut_until_done() -> bool:
        nonlocal cut
        cut += await database.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE application_name = 'callfold-ingest' AND datname = current_database()"
        )
        stored: int = await database.fetchval("SELECT count(*) FROM call_events")
        return cut >= 8 or stored == len(records)

    await until(cut_until_done, "eight cuts, or the end")
    await publishing
    await caught_up(bootstrap, topic)
    await assert_exact(database_url, database, 300)
    assert cut > 3
    assert ingest.stop() == 0, "it is the process that was started"


async def test_records_that_the_broker_removed_before_they_were_read_are_told(
    start_ingest: StartIngest, bootstrap: str, topic: str, database_url: str, database: Connection
) -> None:
    await publish(bootstrap, topic, call(0))
    first = start_ingest()
    await caught_up(bootstrap, topic)
    first.stop()
    await publish(bootstrap, topic, call(1))
    (partition,) = {p.partition for p in await consumer_lag(bootstrap, topic, f"{GROUP}-{topic}") if p.lag}
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.delete_records({TopicPartition(topic, partition): RecordsToDelete(before_offset=6)})
    await admin.close()
    second = start_ingest()
    await caught_up(bootstrap, topic)
    assert second.said(f"partition {partition}: 2 records (offsets 4 to 5) were removed by the broker")
    assert await database.fetchval("SELECT count(*) FROM call_events") == 6
    assert (await prove(database_url)).exact


async def test_records_that_the_broker_removes_while_ingest_can_not_read_are_told(
    start_ingest: StartIngest, bootstrap: str, topic: str, database: Connection
) -> None:
    """Some are read or fetched by then, and stored: told are the others, each, and once."""
    await publish(bootstrap, topic, [value("call.initiated")])
    async with transaction_held_open(database):
        ingest = start_ingest()
        await until(lambda: _waits_for_lock(database), "ingest to be in the middle of its transaction")
        for n in range(6):
            await publish(bootstrap, topic, call(n))
        lags = await consumer_lag(bootstrap, topic, f"{GROUP}-{topic}")
        (partition,) = {one.partition for one in lags if one.lag}
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        await admin.delete_records({TopicPartition(topic, partition): RecordsToDelete(before_offset=25)})
        await admin.close()
    await until(lambda: has_said(ingest, "were removed by the broker"), "ingest to tell of the records")
    await publish(bootstrap, topic, call(6))
    await caught_up(bootstrap, topic)
    ((removed, first, last),) = re.findall(
        rf"partition {partition}: (\d+) records \(offsets (\d+) to (\d+)\) were", ingest.log.read_text()
    )
    assert (int(last), int(removed)) == (24, 25 - int(first))
    assert await database.fetchval("SELECT count(*) FROM call_events") == 29 - int(removed)


async def test_a_fault_in_polling_ends_the_process_before_anything_is_passed_over(
    start_ingest: StartIngest, bootstrap: str, topic: str, database: Connection, running: Servers
) -> None:
    """aiokafka loses what it took from one partition when it can't unpack another: here a batch on the
    broker's disk is damaged."""
    await publish(bootstrap, topic, keyed([event for n in range(20) for event in call(n)]))
    segment = running.kafka.log.parent / "kafka" / "data" / f"{topic}-1" / f"{0:020}.log"
    damaged = bytearray(segment.read_bytes())
    damaged[-2] ^= 0xFF
    with segment.open("r+b") as file:
        file.write(damaged)
    ingest = start_ingest()
    await until(lambda: has_ended(ingest), "ingest to end")
    assert ingest.said("CorruptRecordException")
    lags = await consumer_lag(bootstrap, topic, f"{GROUP}-{topic}")
    stored: int = await database.fetchval("SELECT count(*) FROM call_events")
    assert sum(partition.committed for partition in lags) == stored
    assert lags[1].committed == 0


async def test_a_fault_that_does_not_pass_ends_the_process(
    start_ingest: StartIngest, bootstrap: str, topic: str, database: Connection
) -> None:
    """A database that is not migrated: no offset is committed, and the process is seen to end."""
    await database.execute("DROP TABLE daily_call_deltas")
    await publish(bootstrap, topic, call(0))
    ingest = start_ingest()
    await until(lambda: has_ended(ingest), "ingest to end")
    assert ingest.said("daily_call_deltas")
    assert await lag(bootstrap, topic, f"{GROUP}-{topic}") == 4
    assert await database.fetchval("SELECT count(*) FROM call_events") == 0


async def test_an_address_that_can_not_be_used_is_no_fault_of_a_record(
    start_ingest: StartIngest, bootstrap: str, topic: str, database: Connection, database_url: str
) -> None:
    """asyncpg counts it among the ill-formed values, too."""
    await publish(bootstrap, topic, call(0))
    ingest = start_ingest(database_url=f"{database_url}?sslnegotiation=direct")
    await until(lambda: has_ended(ingest), "ingest to end")
    assert ingest.said("ends: direct TLS requires sslmode=require, verify-ca, or verify-full")
    assert not ingest.said("quarantines")
    assert await lag(bootstrap, topic, f"{GROUP}-{topic}") == 4


async def test_a_rule_that_most_records_break_ends_the_process(
    start_ingest: StartIngest, bootstrap: str, topic: str, database: Connection
) -> None:
    """That is no matter of records, but of the tables: nothing is passed over."""
    await database.execute("ALTER TABLE calls ADD COLUMN tariff text NOT NULL")
    await publish(bootstrap, topic, [event for n in range(20) for event in call(n)])
    ingest = start_ingest()
    await until(lambda: has_ended(ingest), "ingest to end")
    assert ingest.said("tariff")
    assert await lag(bootstrap, topic, f"{GROUP}-{topic}") == 80
    assert await database.fetchval("SELECT count(*) FROM calls") == 0


async def test_a_stop_ends_a_process_that_waits_for_the_database(
    start_ingest: StartIngest, bootstrap: str, topic: str
) -> None:
    await publish(bootstrap, topic, call(0))
    ingest = start_ingest(database_url="postgresql://postgres@127.0.0.1:1/callfold")
    await until(lambda: has_said(ingest, "waits for the database"), "ingest to say that it waits")
    assert ingest.stop() == 0
    assert await lag(bootstrap, topic, f"{GROUP}-{topic}") == 4, "nothing was committed that is not stored"
