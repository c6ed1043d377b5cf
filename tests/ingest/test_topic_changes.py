"""Ingest while its topic changes: partitions are added, the topic is removed and created again."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from uuid import UUID

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from services.ingest.assignment import STALL_SECONDS, Assignment
from services.ingest.consumer import Consumer
from shared.database.connection import Connection
from shared.kafka.topic import ensure_topic
from shared.kafka.topic_metadata import described
from shared.store.read_progress import read_until
from tests.support.ingesting import GROUP, call, caught_up, keyed
from tests.support.monitoring import Monitor
from tests.support.pipeline import Pipeline, calls
from tests.support.processes import until

pytestmark = pytest.mark.long

# The session timeout keeps the assignment, and exceeds the start of a process on a busy machine.
STATIC = {"group_instance_id": "ingest-1", "session_timeout_seconds": "20"}


@asynccontextmanager
async def administrator(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def add_partitions(bootstrap: str, topic: str, total: int) -> None:
    async with administrator(bootstrap) as admin:
        await admin.create_partitions({topic: NewPartitions(total)})


async def remove(bootstrap: str, topic: str) -> None:
    async with administrator(bootstrap) as admin:
        await admin.delete_topics([topic])


async def publish_to(bootstrap: str, topic: str, partition: int, values: Iterable[bytes]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        for value in values:
            await producer.send_and_wait(topic, value, partition=partition)
    finally:
        await producer.stop()


async def stored(database: Connection, events: int) -> None:
    async def all_are() -> bool:
        return bool(await database.fetchval("SELECT count(*) FROM call_events") == events)

    await until(all_are, f"{events} events to be stored")


async def test_a_static_member_that_restarts_reads_the_partitions_that_were_added(
    pipeline: Pipeline, bootstrap: str, topic: str, database: Connection, monitor: Monitor
) -> None:
    """Kafka returns its old assignment, without a rebalance (KAFKA-13435)."""
    first = pipeline.start(monitor_port=str(monitor.port), **STATIC)
    await until(monitor.is_ready, "ingest to be ready")
    assert first.stop() == 0
    await add_partitions(bootstrap, topic, 6)
    second = pipeline.start(monitor_port=str(monitor.port), **STATIC)
    await publish_to(bootstrap, topic, 5, call(0))
    await stored(database, 4)
    assert second.said("no process of the group reads partitions 4 to 5: requests a rebalance of the group")
    await until(monitor.is_ready, "no partition to be without a process")
    assert await monitor.value("callfold_ingest_partitions") == 6
    assert await monitor.value("callfold_ingest_unowned_partitions") == 0
    await pipeline.assert_exact(1)


async def test_partitions_that_are_added_are_read_by_members_that_run(
    pipeline: Pipeline, bootstrap: str, topic: str, database: Connection
) -> None:
    members = [pipeline.start(), pipeline.start()]
    for member in members:
        await until(partial(member.said, "reads partitions"), "each to read")
    await add_partitions(bootstrap, topic, 8)
    for partition in range(4, 8):
        await publish_to(bootstrap, topic, partition, call(partition))
    await stored(database, 16)
    await pipeline.assert_exact(4)


async def test_a_topic_that_is_removed_is_waited_for_at_rest_and_read_again(
    pipeline: Pipeline,
    bootstrap: str,
    topic: str,
    database: Connection,
    free_tcp_port_factory: Callable[[], int],
) -> None:
    """With two members: the one that does not lead the group would request the topic without a pause."""
    monitors = [Monitor(free_tcp_port_factory()) for _ in range(2)]
    members = [pipeline.start(monitor_port=str(one.port)) for one in monitors]
    for one in monitors:
        await until(one.is_ready, "ingest to be ready")
    await pipeline.publish(keyed(calls(10)))
    await pipeline.consumed()

    await remove(bootstrap, topic)

    async def waits(monitor: Monitor) -> bool:
        return await monitor.reason_to_wait() == f"waits for Kafka and its topic {topic}"

    for one in monitors:
        await until(partial(waits, one), "ingest to say that its topic is missing")
    used = [await one.value("process_cpu_seconds_total") for one in monitors]
    sizes = [member.log.stat().st_size for member in members]
    await asyncio.sleep(5)  # of rest
    for one, member, before, size in zip(monitors, members, used, sizes, strict=True):
        now = await one.value("process_cpu_seconds_total")
        assert now is not None
        assert before is not None
        assert now - before < 1, "it rests"
        assert member.log.stat().st_size - size < 1000
        assert member.log.read_text().count(f"the topic {topic} no longer exists") == 1
        assert member.log.stat().st_size < 20_000

    await ensure_topic(bootstrap, topic, 4)
    records = keyed(calls(10, 40))
    await pipeline.publish(records)
    await stored(database, 40 * 4)
    for one in monitors:
        await until(one.is_ready, "ingest to be ready again")
    await pipeline.consumed()
    await pipeline.assert_exact(40)
    assert all(member.running for member in members)


@pytest.mark.parametrize("partitions", [2, 4, 6])
async def test_a_static_member_that_restarts_without_its_topic_reads_the_new_one(
    pipeline: Pipeline, bootstrap: str, topic: str, database: Connection, monitor: Monitor, partitions: int
) -> None:
    first = pipeline.start(monitor_port=str(monitor.port), **STATIC)
    await pipeline.publish(keyed(calls(5)))
    await pipeline.consumed()
    await remove(bootstrap, topic)
    await until(lambda: first.said("no longer exists"), "ingest to miss its topic")
    first.stop()
    second = pipeline.start(monitor_port=str(monitor.port), **STATIC)
    await until(lambda: second.said(f"has no topic {topic}"), "ingest to wait for its topic")
    await ensure_topic(bootstrap, topic, partitions)
    for partition in range(partitions):
        await publish_to(bootstrap, topic, partition, call(10 + partition))
    await stored(database, 4 * (5 + partitions))
    await until(monitor.is_ready, "ingest to be ready")

    async def reads_all() -> bool:
        """Until the rebalance, a static member has the old topic's assignment, of four partitions."""
        return await monitor.value("callfold_ingest_partitions") == partitions

    await until(reads_all, f"ingest to be assigned {partitions} partitions")


async def test_a_topic_that_is_replaced_unseen_is_read_from_its_begin(
    pipeline: Pipeline, bootstrap: str, topic: str, database: Connection, rival: Connection
) -> None:
    """Ingest waits for the database with one batch being stored, one read and one fetched. It sends no fetch
    requests, and so does not learn that the topic is gone. The new topic is longer than the read part of the
    old one, so no position is out of range."""
    narrow = f"{topic}-one"
    await ensure_topic(bootstrap, narrow, 1)
    ingest = pipeline.start(topic=narrow, consumer_group=f"{GROUP}-{narrow}")

    async def described() -> bool:
        return await read_until(database, narrow) is not None

    async def held_up() -> bool:
        waits = "SELECT count(*) FROM pg_locks WHERE relation = 'daily_call_deltas'::regclass AND NOT granted"
        return bool(await database.fetchval(waits))

    await until(described, "ingest to know the topic")
    async with rival.transaction():
        await rival.execute("LOCK TABLE daily_call_deltas IN ACCESS EXCLUSIVE MODE")
        await publish_to(bootstrap, narrow, 0, call(0))
        await until(held_up, "ingest to be in the middle of a transaction")
        for n in range(1, 5):
            await publish_to(bootstrap, narrow, 0, call(n))
        await remove(bootstrap, narrow)
        await ensure_topic(bootstrap, narrow, 1)
        await publish_to(bootstrap, narrow, 0, calls(10, 40))
        await until(partial(ingest.said, f"the topic {narrow} was"), "ingest to see another topic")

    async def all_new_calls() -> bool:
        new = "SELECT count(*) FROM calls WHERE id >= $1 AND status = 'completed'"
        return bool(await database.fetchval(new, UUID(int=11)) == 30)

    await until(all_new_calls, "all calls of the new topic")
    await caught_up(bootstrap, narrow)
    await pipeline.assert_proved()


@asynccontextmanager
async def member(
    bootstrap: str,
    topic: str,
    instance: str | None = None,
    on_assigned: Callable[[Consumer], None] = lambda consumer: None,
) -> AsyncIterator[tuple[Consumer, Assignment]]:
    """A member of the topic's group that is not polled, created as in ingest."""
    made: list[Consumer] = []
    assignment = Assignment(topic, lambda: made[0] if made else None, lambda: on_assigned(made[0]))
    consumer = Consumer(
        lambda fault: None,
        lambda: None,
        assignment.read,
        lambda: None,
        assignment.assignor,
        bootstrap_servers=bootstrap,
        group_id=f"{GROUP}-{topic}",
        group_instance_id=instance,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        session_timeout_ms=6000,
        heartbeat_interval_ms=200,
        partition_assignment_strategy=(assignment.assignor,),
    )
    made.append(consumer)
    consumer.subscribe(topics=[topic], listener=assignment)
    await consumer.start()
    try:
        # aiokafka's start ends before the listener has asked the broker by the clock.
        await until(lambda: assignment.joined, "the member to join its group")
        yield consumer, assignment
    finally:
        await consumer.stop()


async def test_partitions_without_a_process_are_known_to_each_and_reported_by_one(
    bootstrap: str, topic: str
) -> None:
    async with AsyncExitStack() as stack:
        for name in ("a", "b"):
            await stack.enter_async_context(member(bootstrap, topic, name))
    await add_partitions(bootstrap, topic, 6)
    await publish_to(bootstrap, topic, 4, call(0))
    async with (
        member(bootstrap, topic, "a") as (one, its),
        member(bootstrap, topic, "b") as (other, others),
    ):
        for consumer, assignment in ((one, its), (other, others)):
            assignment.topic = await described(consumer, topic)
            await assignment.ask(0)
            assert assignment.unowned() == range(4, 6)
            assert assignment.needs_rebalance()
        lags = [assignment.lag() for assignment in (its, others)]
        assert sorted(map(len, lags)) == [2, 4], "partitions 4 and 5 are in one of them"
        assert lags[0] | lags[1] == {0: 0, 1: 0, 2: 0, 3: 0, 4: 4, 5: 0}

        one.rejoin()

        def shared() -> bool:
            return its.partitions() + others.partitions() == 6

        await until(shared, "both to share six partitions")
        assert not its.unowned()
        assert not its.needs_rebalance()


async def test_a_process_that_reads_nothing_while_records_wait_is_known(bootstrap: str, topic: str) -> None:
    async with member(bootstrap, topic) as (consumer, assignment):
        await assignment.ask(0)
        await publish_to(bootstrap, topic, 2, call(0))
        await assignment.ask(10)
        assert assignment.stalled() == []
        await assignment.ask(10 + STALL_SECONDS)
        assert assignment.stalled() == [2]
        assert await consumer.getmany(timeout_ms=5000)
        await assignment.ask(20 + STALL_SECONDS)
        assert assignment.stalled() == []
        await assignment.ask(20 + 3 * STALL_SECONDS)
        assert assignment.stalled() == [], "what is being stored is not waiting to be read"


async def test_a_rebalance_that_becomes_due_while_partitions_are_assigned_takes_place(
    bootstrap: str, topic: str
) -> None:
    """aiokafka 0.14 would cancel a heartbeat task that has not run yet, and end silently."""
    joined = 0

    def rejoin_once(consumer: Consumer) -> None:
        nonlocal joined
        joined += 1
        if joined == 1:
            consumer.rejoin()

    async with member(bootstrap, topic, on_assigned=rejoin_once) as (_, assignment):

        def joined_again() -> bool:
            return joined == 2 and assignment.joined

        await until(joined_again, "the member to join again")
        assert assignment.partitions() == 4
