"""Ingest through faults: killed at any point of a batch, concurrent owners, unreachable servers."""

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from services.ops.embedded.servers import Servers
from shared.database.connection import Connection
from tests.support.events import value
from tests.support.ingesting import (
    call,
    keyed,
)
from tests.support.pipeline import Pipeline, calls
from tests.support.processes import until

pytestmark = pytest.mark.long


@asynccontextmanager
async def transaction_held_open(database: Connection) -> AsyncIterator[None]:
    """Blocks ingest's transactions after all but the deltas is written, for the duration of the block."""
    async with database.transaction():
        await database.execute("LOCK TABLE daily_call_deltas IN ACCESS EXCLUSIVE MODE")
        yield


async def test_killed_before_the_database_commit(pipeline: Pipeline, database: Connection) -> None:
    await pipeline.publish(keyed(calls(10)))
    async with transaction_held_open(database):
        ingest = pipeline.start()
        await until(lambda: _waits_for_lock(database), "ingest to be in the middle of its transaction")
        ingest.kill()
    assert await database.fetchval("SELECT count(*) FROM call_events") == 0, "nothing of the batch is left"
    await pipeline.run_until_consumed()
    await pipeline.assert_exact(10)


async def _waits_for_lock(database: Connection) -> bool:
    waiting: bool = await database.fetchval(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'daily_call_deltas'::regclass AND NOT granted)"
    )
    return waiting


async def test_killed_between_the_database_commit_and_the_offset_commit(
    pipeline: Pipeline, database: Connection, running: Servers
) -> None:
    """The broker is killed while the transaction is open: the database commit succeeds, the offset commit
    cannot."""
    await pipeline.publish(keyed(calls(10)))
    async with transaction_held_open(database):
        ingest = pipeline.start()
        await until(lambda: _waits_for_lock(database), "ingest to be in the middle of its transaction")
        running.kafka.kill()
    try:
        await until(lambda: database.fetchval("SELECT EXISTS (SELECT 1 FROM calls)"), "the database commit")
        ingest.kill()
    finally:
        await running.kafka.start()
    assert await pipeline.lag() > 0, "no offset of that batch was committed"
    await pipeline.run_until_consumed()
    await pipeline.assert_exact(10)


async def test_killed_after_the_offset_commit(pipeline: Pipeline) -> None:
    await pipeline.publish(keyed(calls(10)))
    ingest = pipeline.start()
    await pipeline.consumed()
    ingest.kill()
    pipeline.start()
    await pipeline.publish(keyed(calls(10, 20)))
    await pipeline.consumed()
    await pipeline.assert_exact(20)


async def test_two_processes_share_the_topic_through_rebalances(pipeline: Pipeline) -> None:
    """One process starts, another joins, the first is killed, a third joins, the second stops. Calls whose
    events are spread over all partitions stay exact."""
    records = keyed(calls(400))
    fifth = len(records) // 5
    first = pipeline.start(batch_records="50")
    await pipeline.publish(records[:fifth])
    second = pipeline.start(batch_records="50")
    await pipeline.publish(records[fifth : 2 * fifth])
    await until(lambda: second.said("reads partitions"), "the second process to get partitions")
    await pipeline.publish(records[2 * fifth : 3 * fifth])
    first.kill()
    third = pipeline.start(batch_records="50")
    await pipeline.publish(records[3 * fifth : 4 * fifth])
    await until(lambda: third.said("reads partitions"), "the third process to get partitions")
    assert second.stop() == 0
    await pipeline.publish(records[4 * fifth :])
    await pipeline.consumed()
    await pipeline.assert_exact(400)


async def test_a_zombie_owner_that_wakes_does_no_harm(pipeline: Pipeline, database: Connection) -> None:
    """Stopped in the middle of a batch for longer than the session timeout, while another owner stores it."""
    await pipeline.publish(keyed(calls(10)))
    async with transaction_held_open(database):
        zombie = pipeline.start()
        await until(lambda: _waits_for_lock(database), "ingest to be in the middle of its transaction")
        zombie.send(signal.SIGSTOP)
        heir = pipeline.start()
        await until(lambda: heir.said("reads partitions"), "the other owner to get the partitions")
    zombie.send(signal.SIGCONT)
    await pipeline.consumed()
    await pipeline.publish(keyed(calls(10, 20)))
    await pipeline.consumed()
    await pipeline.assert_exact(20)
    assert heir.running
    assert zombie.running


@pytest.mark.embedded_postgres
async def test_the_database_and_the_broker_go_away_and_come_back(
    pipeline: Pipeline, running: Servers
) -> None:
    """PostgreSQL is killed (and recovers from the crash) while batches are written, then the broker is."""
    ingest = pipeline.start(batch_records="20")
    await pipeline.publish(keyed(calls(100)))
    running.postgres.kill(signal.SIGQUIT)
    await pipeline.publish(keyed(calls(100, 200)))
    await until(lambda: ingest.said("waits for the database"), "ingest to say that it waits")
    await running.postgres.start()
    await until(lambda: ingest.said("the database answers again after"), "ingest to report that it continues")
    running.kafka.kill()
    await running.kafka.start()
    await pipeline.publish(keyed(calls(200, 300)))
    await pipeline.consumed()
    await pipeline.assert_exact(300)
    assert ingest.stop() == 0, "it is the process that was started: nothing of this ended it"


async def test_connections_that_are_cut_at_any_moment_are_opened_again(
    pipeline: Pipeline, database: Connection
) -> None:
    """As in a failover, while batches are written."""
    ingest = pipeline.start(batch_records="20")
    records = keyed(calls(300))
    publishing = asyncio.create_task(pipeline.publish(records))
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
    await pipeline.consumed()
    await pipeline.assert_exact(300)
    assert cut > 3
    assert ingest.stop() == 0, "it is the process that was started"


async def test_records_that_the_broker_removed_before_they_were_read_are_told(
    pipeline: Pipeline, database: Connection
) -> None:
    await pipeline.publish(call(0))
    await pipeline.run_until_consumed()
    await pipeline.publish(call(1))
    (partition,) = {p.partition for p in await pipeline.lags() if p.lag}
    admin = AIOKafkaAdminClient(bootstrap_servers=pipeline.bootstrap)
    await admin.start()
    await admin.delete_records({TopicPartition(pipeline.topic, partition): RecordsToDelete(before_offset=6)})
    await admin.close()
    second = await pipeline.run_until_consumed()
    assert second.said(f"partition {partition}: 2 records (offsets 4 to 5) were removed by the broker")
    assert await database.fetchval("SELECT count(*) FROM call_events") == 6
    await pipeline.assert_proved()


async def test_records_that_the_broker_removes_while_ingest_can_not_read_are_told(
    pipeline: Pipeline, database: Connection
) -> None:
    """Some are read or fetched by then, and stored. Each of the others is reported once."""
    await pipeline.publish([value("call.initiated")])
    async with transaction_held_open(database):
        ingest = pipeline.start()
        await until(lambda: _waits_for_lock(database), "ingest to be in the middle of its transaction")
        for n in range(6):
            await pipeline.publish(call(n))
        lags = await pipeline.lags()
        (partition,) = {one.partition for one in lags if one.lag}
        admin = AIOKafkaAdminClient(bootstrap_servers=pipeline.bootstrap)
        await admin.start()
        await admin.delete_records(
            {TopicPartition(pipeline.topic, partition): RecordsToDelete(before_offset=25)}
        )
        await admin.close()
    await until(lambda: ingest.said("were removed by the broker"), "ingest to report the records")
    await pipeline.publish(call(6))
    await pipeline.consumed()
    ((removed, first, last),) = re.findall(
        rf"partition {partition}: (\d+) records \(offsets (\d+) to (\d+)\) were", ingest.log.read_text()
    )
    assert (int(last), int(removed)) == (24, 25 - int(first))
    assert await database.fetchval("SELECT count(*) FROM call_events") == 29 - int(removed)


async def test_a_fault_in_polling_ends_the_process_before_anything_is_passed_over(
    pipeline: Pipeline, topic: str, database: Connection, running: Servers
) -> None:
    """aiokafka loses records of one partition when it cannot unpack another: here a batch on the broker's
    disk is damaged."""
    await pipeline.publish(keyed(calls(20)))
    segment = running.kafka.log.parent / "kafka" / "data" / f"{topic}-1" / f"{0:020}.log"
    damaged = bytearray(segment.read_bytes())
    damaged[-2] ^= 0xFF
    with segment.open("r+b") as file:
        file.write(damaged)
    ingest = pipeline.start()
    await until(lambda: not ingest.running, "ingest to end")
    assert ingest.said("CorruptRecordException")
    lags = await pipeline.lags()
    stored: int = await database.fetchval("SELECT count(*) FROM call_events")
    assert sum(partition.committed for partition in lags) == stored
    assert lags[1].committed == 0


async def test_a_fault_that_does_not_pass_ends_the_process(pipeline: Pipeline, database: Connection) -> None:
    """A database that is not migrated: no offset is committed, and the process exits visibly."""
    await database.execute("DROP TABLE daily_call_deltas")
    await pipeline.publish(call(0))
    ingest = pipeline.start()
    await until(lambda: not ingest.running, "ingest to end")
    assert ingest.said("daily_call_deltas")
    assert await pipeline.lag() == 4
    assert await database.fetchval("SELECT count(*) FROM call_events") == 0


async def test_an_address_that_can_not_be_used_is_no_fault_of_a_record(
    pipeline: Pipeline, database_url: str
) -> None:
    """asyncpg's exception for it is also a ValueError."""
    await pipeline.publish(call(0))
    ingest = pipeline.start(database_url=f"{database_url}?sslnegotiation=direct")
    await until(lambda: not ingest.running, "ingest to end")
    assert ingest.said("ends: direct TLS requires sslmode=require, verify-ca, or verify-full")
    assert not ingest.said("quarantines")
    assert await pipeline.lag() == 4


async def test_a_rule_that_most_records_break_ends_the_process(
    pipeline: Pipeline, database: Connection
) -> None:
    """The tables are at fault, not the records: nothing is skipped."""
    await database.execute("ALTER TABLE calls ADD COLUMN tariff text NOT NULL")
    await pipeline.publish(calls(20))
    ingest = pipeline.start()
    await until(lambda: not ingest.running, "ingest to end")
    assert ingest.said("tariff")
    assert await pipeline.lag() == 80
    assert await database.fetchval("SELECT count(*) FROM calls") == 0


async def test_a_stop_ends_a_process_that_waits_for_the_database(pipeline: Pipeline) -> None:
    await pipeline.publish(call(0))
    ingest = pipeline.start(database_url="postgresql://postgres@127.0.0.1:1/callfold")
    await until(lambda: ingest.said("waits for the database"), "ingest to say that it waits")
    assert ingest.stop() == 0
    assert await pipeline.lag() == 4, "nothing was committed that is not stored"
