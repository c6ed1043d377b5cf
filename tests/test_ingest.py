"""Ingest as a process, on a real broker and a real database: what arrives is counted exactly once, whatever
is killed, repeated or away."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from services.ops.embedded.servers import Servers
from services.ops.lag import consumer_lag
from services.ops.proof import prove
from shared.database import Connection
from tests.events import NOON, ORGANIZATION, value
from tests.processes import Service, lag, publish, until

GROUP = "test"
StartIngest = Callable[..., Service]


@pytest.fixture
def start_ingest(bootstrap: str, topic: str, database_url: str, tmp_path: Path) -> Iterator[StartIngest]:
    """Starts ingest processes of one group; what still runs at the end is ended."""
    started: list[Service] = []

    def start(**settings: str) -> Service:
        service = Service(
            "ingest",
            tmp_path / f"ingest-{len(started)}.log",
            **{
                "database_url": database_url,
                "kafka_bootstrap": bootstrap,
                "topic": topic,
                "consumer_group": f"{GROUP}-{topic}",
                "session_timeout_seconds": "2",
                **settings,
            },
        )
        started.append(service)
        return service

    yield start
    for service in started:
        if service.running:
            service.kill()


def call(n: int, *, after: int = 0) -> list[bytes]:
    """The events of the n-th call: answered, and completed after a minute."""
    fields: dict[str, Any] = {"call_id": UUID(int=n + 1)}
    start = NOON - timedelta(hours=1) + timedelta(seconds=n + after)
    return [
        value("call.initiated", id="1", timestamp=start, direction="inbound", **fields),
        value("call.ringing", id="2", timestamp=start + timedelta(seconds=1), **fields),
        value("call.answered", id="3", timestamp=start + timedelta(seconds=5), latency_ms=n, **fields),
        value(
            "call.completed",
            id="4",
            timestamp=start + timedelta(seconds=65),
            duration=60,
            cost="0.5",
            **fields,
        ),
    ]


def keyed(values: list[bytes]) -> list[tuple[bytes, bytes, tuple[()]]]:
    """Records with keys of their own, so that they spread over the partitions and calls are torn apart."""
    return [(str(n).encode(), value, ()) for n, value in enumerate(values)]


async def caught_up(bootstrap: str, topic: str) -> None:
    await until(lambda: _none_behind(bootstrap, topic), "all records to be committed")


async def _none_behind(bootstrap: str, topic: str) -> bool:
    return await lag(bootstrap, topic, f"{GROUP}-{topic}") == 0


async def counted_calls(database: Connection) -> dict[str, int]:
    """Calls by status, as a reader adds them up."""
    rows = await database.fetch(
        "SELECT status, sum(calls)::int AS calls FROM (SELECT status, calls FROM daily_call_counts "
        "UNION ALL SELECT status, calls FROM daily_call_deltas) c GROUP BY status HAVING sum(calls) <> 0"
    )
    return {row["status"]: row["calls"] for row in rows}


async def assert_exact(database_url: str, database: Connection, calls: int) -> None:
    proof = await prove(database_url)
    assert proof.exact, proof.differences
    assert await database.fetchval("SELECT count(*) FROM calls") == calls
    assert await counted_calls(database) == {"completed": calls}
    assert await database.fetchval("SELECT count(*) FROM call_events") == 4 * calls


async def test_events_become_exact_calls_and_counts(
    start_ingest: StartIngest, bootstrap: str, topic: str, database_url: str, database: Connection
) -> None:
    await publish(bootstrap, topic, keyed([event for n in range(50) for event in call(n)]))
    ingest = start_ingest()
    await caught_up(bootstrap, topic)
    await assert_exact(database_url, database, 50)
    row = await database.fetchrow("SELECT * FROM calls WHERE id = $1", UUID(int=8))
    assert row is not None
    assert (row["status"], row["duration"], row["latency_ms"], row["version"]) == ("completed", 60, 7, 4)
    assert await database.fetchval("SELECT time_zone FROM organizations WHERE id = $1", ORGANIZATION) == "UTC"
    assert ingest.stop() == 0


async def test_a_whole_topic_again_changes_nothing(
    start_ingest: StartIngest, bootstrap: str, topic: str, database_url: str, database: Connection
) -> None:
    await publish(bootstrap, topic, [*keyed([e for n in range(30) for e in call(n)]), b"bad"])
    first = start_ingest()
    await caught_up(bootstrap, topic)
    first.stop()
    before = await database.fetch("SELECT calls::text, calls.xmin::text FROM calls ORDER BY id")
    again = start_ingest(consumer_group="another")
    await until(lambda: _committed(bootstrap, topic, "another"), "the other group to have read everything")
    assert await database.fetch("SELECT calls::text, calls.xmin::text FROM calls ORDER BY id") == before
    assert await database.fetchval("SELECT count(*) FROM quarantined_records") == 1
    await assert_exact(database_url, database, 30)
    assert again.stop() == 0


async def _committed(bootstrap: str, topic: str, group: str) -> bool:
    return await lag(bootstrap, topic, group) == 0


BAD_RECORDS = [
    (b"k", b"hello", (), "the value is not JSON: invalid character (byte 0)"),
    (b"k", None, (), "the record has no value"),
    (b"k", b"\xff\xfe", (), "the value is not UTF-8: byte 0 can't be decoded"),
    (b"k", b"[]", (), "the value: expected object, got array"),
    (b"k", value("call.exploded"), (), "type: 'call.exploded' is none of"),
    (b"k", value("call.ringing", id=""), (), "id: expected str of length >= 1"),
    (b"k", value("call.ringing", organization_id="x"), (), "organization_id: invalid UUID"),
    (b"k", value("call.ringing", timestamp="soon"), (), "timestamp: invalid RFC3339 encoded datetime"),
    (b"k", value("call.ringing", timestamp="2999-01-01T00:00:00Z"), (), "lies more than a day ahead"),
    (b"k", value("call.ringing", duration=-1), (), "data.duration: expected int >= 0"),
    (b"k", value("call.ringing", from_number="a\0b"), (), "data.from_number: has a null byte"),
    (b"k", value("call.ringing", note="x" * 1024 * 1024), (), "at most 1,048,576 are taken"),
    (b"k", value("call.ringing"), (("trace", b"\xff"),), "header 'trace' is not UTF-8"),
    (b"k", value("call.ringing"), (("trace", None),), "header 'trace' is null"),
    (None, b"", (), "the value is not JSON: Input data was truncated"),
    (b"\xff\x00", b"{}", (), "organization_id: is missing"),
]


async def test_bad_records_are_kept_with_the_reason_and_hold_nothing_up(
    start_ingest: StartIngest, bootstrap: str, topic: str, database_url: str, database: Connection
) -> None:
    good = [(None, event, (("source", b"pbx-1"),)) for n in range(20) for event in call(n)]
    mixed: list[tuple[bytes | None, bytes | None, tuple[tuple[str, bytes | None], ...]]] = []
    for n, record in enumerate(good):
        mixed.append(record)
        if n < len(BAD_RECORDS):
            mixed.append(BAD_RECORDS[n][:3])
    await publish(bootstrap, topic, mixed)
    start_ingest()
    await caught_up(bootstrap, topic)
    await assert_exact(database_url, database, 20)
    kept = await database.fetch("SELECT * FROM quarantined_records")
    assert len(kept) == len(BAD_RECORDS)
    for key, body, headers, reason in BAD_RECORDS:
        (row,) = [row for row in kept if reason in row["reason"]]
        assert (row["key"], row["value"], row["topic"]) == (key, body, topic)
        assert list(zip(row["header_names"], row["header_values"], strict=True)) == list(headers)


async def test_a_header_name_that_is_not_utf8_holds_nothing_up(
    start_ingest: StartIngest, bootstrap: str, topic: str, database_url: str, database: Connection
) -> None:
    """A producer in C can send one; here aiokafka's own writer is made to, in one batch with good records."""
    written = (
        "import asyncio, sys\n"
        "from aiokafka import AIOKafkaProducer\n"
        "class Raw(str):\n"
        "    def encode(self, *_): return b'\\xffname'\n"
        "async def main(bootstrap, topic, *values):\n"
        "    producer = AIOKafkaProducer(\n"
        "        bootstrap_servers=bootstrap, linger_ms=200, compression_type='gzip')\n"
        "    await producer.start()\n"
        "    headers = [[], [(Raw('x'), b'said')], [], []]\n"
        "    sent = [await producer.send(topic, value.encode(), b'key', headers=of_it)\n"
        "            for value, of_it in zip(values, headers)]\n"
        "    await asyncio.gather(*sent)\n"
        "    await producer.stop()\n"
        "asyncio.run(main(*sys.argv[1:]))\n"
    )
    events = [event.decode() for event in call(0)]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", written, bootstrap, topic, *events),
        env={**os.environ, "AIOKAFKA_NO_EXTENSIONS": "1"},
    )
    assert await process.wait() == 0
    start_ingest()
    await caught_up(bootstrap, topic)
    assert await database.fetchval("SELECT array_agg(id ORDER BY id) FROM call_events") == ["1", "3", "4"]
    kept = await database.fetchrow("SELECT * FROM quarantined_records")
    assert kept is not None
    assert kept["reason"] == "the name of header '\\\\xffname' is not UTF-8"
    assert (kept["value"], kept["header_names"], kept["header_values"]) == (
        call(0)[1],
        ["\\xffname"],
        [b"said"],
    )
    assert (await prove(database_url)).exact


async def test_killed_before_the_database_commit(
    start_ingest: StartIngest, bootstrap: str, topic: str, database_url: str, database: Connection
) -> None:
    """A lock on the deltas holds the transaction open where everything else is written already."""
    async with database.transaction():
        await database.execute("LOCK TABLE daily_call_deltas IN ACCESS EXCLUSIVE MODE")
        await publish(bootstrap, topic, keyed([e for n in range(10) for e in call(n)]))
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
    async with database.transaction():
        await database.execute("LOCK TABLE daily_call_deltas IN ACCESS EXCLUSIVE MODE")
        await publish(bootstrap, topic, keyed([e for n in range(10) for e in call(n)]))
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
    await until(lambda: _said(second, "reads partitions"), "the second process to get partitions")
    await publish(bootstrap, topic, records[2 * fifth : 3 * fifth])
    first.kill()
    third = start_ingest(batch_records="50")
    await publish(bootstrap, topic, records[3 * fifth : 4 * fifth])
    await until(lambda: _said(third, "reads partitions"), "the third process to get partitions")
    assert second.stop() == 0
    await publish(bootstrap, topic, records[4 * fifth :])
    await caught_up(bootstrap, topic)
    await assert_exact(database_url, database, 400)


async def _said(service: Service, text: str) -> bool:
    return service.said(text)


async def test_a_zombie_owner_that_wakes_does_no_harm(
    start_ingest: StartIngest, bootstrap: str, topic: str, database_url: str, database: Connection
) -> None:
    """Stopped in the middle of a batch for longer than the session lasts, while another owner does it."""
    async with database.transaction():
        await database.execute("LOCK TABLE daily_call_deltas IN ACCESS EXCLUSIVE MODE")
        await publish(bootstrap, topic, keyed([e for n in range(10) for e in call(n)]))
        zombie = start_ingest()
        await until(lambda: _waits_for_lock(database), "ingest to be in the middle of its transaction")
        zombie.send(signal.SIGSTOP)
        heir = start_ingest()
        await until(lambda: _said(heir, "reads partitions"), "the other owner to get the partitions")
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
    await until(lambda: _said(ingest, "waits for the database"), "ingest to say that it waits")
    await running.postgres.start()
    await until(lambda: _said(ingest, "without the database"), "ingest to say that it goes on")
    running.kafka.kill()
    await running.kafka.start()
    await publish(bootstrap, topic, keyed([e for n in range(200, 300) for e in call(n)]))
    await caught_up(bootstrap, topic)
    database = await asyncpg.connect(database_url)
    await assert_exact(database_url, database, 300)
    await database.close()
    assert ingest.stop() == 0, "it is the process that was started: nothing of this ended it"


async def test_events_of_unknown_organizations_can_be_quarantined(
    start_ingest: StartIngest, bootstrap: str, topic: str, database_url: str, database: Connection
) -> None:
    known = UUID(int=5)
    await database.execute("INSERT INTO organizations (id, name) VALUES ($1, 'Known')", known)
    strange = value("call.ringing", id="s", call_id=UUID(int=99))
    await publish(bootstrap, topic, [strange, value("call.ringing", organization_id=known)])
    start_ingest(unknown_organizations="quarantine")
    await caught_up(bootstrap, topic)
    assert await database.fetchval("SELECT array_agg(organization_id) FROM calls") == [known]
    kept = await database.fetchrow("SELECT reason, value FROM quarantined_records")
    assert kept is not None
    assert kept["reason"] == f"organization_id: there is no organization {ORGANIZATION}"
    assert kept["value"] == strange
    assert (await prove(database_url)).exact


async def test_what_postgresql_refuses_is_found_and_quarantined(
    start_ingest: StartIngest, bootstrap: str, topic: str, database_url: str, database: Connection
) -> None:
    """An operator's own rule on the table: the one record that breaks it must not hold up its batch."""
    await database.execute("ALTER TABLE calls ADD CONSTRAINT no_anonymous CHECK (from_number <> 'anonymous')")
    refused = value("call.ringing", id="r", call_id=UUID(int=99), from_number="anonymous")
    await publish(bootstrap, topic, [*call(0), *call(1), refused, *call(2)])
    start_ingest()
    await caught_up(bootstrap, topic)
    await assert_exact(database_url, database, 3)
    kept = await database.fetchrow("SELECT reason, value FROM quarantined_records")
    assert kept is not None
    assert "no_anonymous" in kept["reason"]
    assert kept["value"] == refused


async def test_a_rule_that_most_records_break_ends_the_process(
    start_ingest: StartIngest, bootstrap: str, topic: str, database: Connection
) -> None:
    """That is no matter of records, but of the tables: nothing is passed over."""
    await database.execute("ALTER TABLE calls ADD COLUMN tariff text NOT NULL")
    await publish(bootstrap, topic, [event for n in range(20) for event in call(n)])
    ingest = start_ingest()
    await until(lambda: _ended(ingest), "ingest to end")
    assert ingest.said("tariff")
    assert await lag(bootstrap, topic, f"{GROUP}-{topic}") == 80
    assert await database.fetchval("SELECT count(*) FROM calls") == 0


async def test_an_index_of_the_operators_own_is_no_rival(
    start_ingest: StartIngest, bootstrap: str, topic: str, database_url: str, database: Connection
) -> None:
    """A unique violation elsewhere than in our keys will not pass by reading again."""
    await database.execute("CREATE UNIQUE INDEX one_caller ON calls (from_number)")
    twice = [
        value("call.initiated", call_id=UUID(int=n), from_number="+4930", timestamp=NOON - timedelta(hours=n))
        for n in (1, 2)
    ]
    await publish(bootstrap, topic, [*call(5), *twice])
    start_ingest()
    await caught_up(bootstrap, topic)
    assert await database.fetchval("SELECT count(*) FROM calls") == 2
    assert "one_caller" in await database.fetchval("SELECT reason FROM quarantined_records")
    assert (await prove(database_url)).exact


async def test_a_transaction_that_was_aborted_is_not_counted(
    start_ingest: StartIngest, bootstrap: str, topic: str, database: Connection
) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=topic)
    await producer.start()
    await producer.begin_transaction()
    await producer.send_and_wait(topic, value("call.initiated", call_id=UUID(int=1)), key=b"k")
    await producer.abort_transaction()
    async with producer.transaction():
        await producer.send_and_wait(topic, value("call.initiated", call_id=UUID(int=2)), key=b"k")
    await producer.stop()
    start_ingest()
    await until(lambda: database.fetchval("SELECT EXISTS (SELECT FROM calls)"), "the committed call")
    assert await database.fetchval("SELECT array_agg(id) FROM calls") == [UUID(int=2)]


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
    await until(lambda: _ended(ingest), "ingest to end")
    assert ingest.said("CorruptRecordException")
    lags = await consumer_lag(bootstrap, topic, f"{GROUP}-{topic}")
    stored: int = await database.fetchval("SELECT count(*) FROM call_events")
    assert sum(partition.committed for partition in lags) == stored
    assert lags[1].committed == 0


async def test_a_day_in_the_organizations_time_zone(
    start_ingest: StartIngest, bootstrap: str, topic: str, database: Connection
) -> None:
    zones = {UUID(int=1): "Europe/Berlin", UUID(int=2): "America/St_Johns", UUID(int=3): "Pacific/Apia"}
    await database.executemany(
        "INSERT INTO organizations (id, name, time_zone) VALUES ($1, $2, $2)", list(zones.items())
    )
    for organization in zones:
        await publish(
            bootstrap,
            topic,
            [
                value("call.initiated", id=at, call_id=at, organization_id=organization, timestamp=at)
                for at in ("2026-10-24T22:00:00Z", "2026-10-25T02:30:00Z", "2026-10-25T23:30:00Z")
            ],
        )
    start_ingest()
    await caught_up(bootstrap, topic)
    days = await database.fetch(
        "SELECT time_zone, array_agg(day::text ORDER BY calls.created_at) FROM calls "
        "JOIN organizations o ON o.id = organization_id GROUP BY 1 ORDER BY 1"
    )
    assert [tuple(row) for row in days] == [
        ("America/St_Johns", ["2026-10-24", "2026-10-25", "2026-10-25"]),
        ("Europe/Berlin", ["2026-10-25", "2026-10-25", "2026-10-26"]),
        ("Pacific/Apia", ["2026-10-25", "2026-10-25", "2026-10-26"]),
    ]


async def test_a_fault_that_does_not_pass_ends_the_process(
    start_ingest: StartIngest, bootstrap: str, topic: str, database: Connection
) -> None:
    """A database that is not migrated: no offset is committed, and the process is seen to end."""
    await database.execute("DROP TABLE daily_call_deltas")
    await publish(bootstrap, topic, call(0))
    ingest = start_ingest()
    await until(lambda: _ended(ingest), "ingest to end")
    assert ingest.said("daily_call_deltas")
    assert await lag(bootstrap, topic, f"{GROUP}-{topic}") == 4
    assert await database.fetchval("SELECT count(*) FROM call_events") == 0


async def _ended(service: Service) -> bool:
    return not service.running


async def test_times_are_the_events_own(
    start_ingest: StartIngest, bootstrap: str, topic: str, database: Connection
) -> None:
    old = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)
    await publish(bootstrap, topic, [value("call.initiated", timestamp=old)])
    start_ingest()
    await caught_up(bootstrap, topic)
    assert await database.fetchval("SELECT created_at FROM calls") == old
    assert await database.fetchval("SELECT day FROM daily_call_deltas") == old.date()


async def test_a_stop_ends_a_process_that_waits_for_the_database(
    start_ingest: StartIngest, bootstrap: str, topic: str
) -> None:
    await publish(bootstrap, topic, call(0))
    ingest = start_ingest(database_url="postgresql://postgres@127.0.0.1:1/callfold")
    await until(lambda: _said(ingest, "waits for the database"), "ingest to say that it waits")
    assert ingest.stop() == 0
    assert await lag(bootstrap, topic, f"{GROUP}-{topic}") == 4, "nothing was committed that is not stored"
