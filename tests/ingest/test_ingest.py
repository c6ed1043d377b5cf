"""Ingest as a process, on a real broker and a real database: events are counted exactly once, and bad records
are kept."""

import asyncio
import os
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from aiokafka import AIOKafkaProducer

from shared.database.connection import Connection
from tests.support.events import NOON, ORGANIZATION, value
from tests.support.ingesting import (
    call,
    keyed,
)
from tests.support.pipeline import Pipeline, calls
from tests.support.processes import until
from tests.support.repository import ROOT


async def test_events_become_exact_calls_and_counts(pipeline: Pipeline, database: Connection) -> None:
    await pipeline.publish(keyed(calls(50)))
    await pipeline.run_until_consumed()
    await pipeline.assert_exact(50)
    row = await database.fetchrow("SELECT * FROM calls WHERE id = $1", UUID(int=8))
    assert row is not None
    assert (row["status"], row["duration"], row["latency_ms"], row["version"]) == ("completed", 60, 7, 4)
    assert await database.fetchval("SELECT time_zone FROM organizations WHERE id = $1", ORGANIZATION) == "UTC"


async def test_a_whole_topic_again_changes_nothing(pipeline: Pipeline, database: Connection) -> None:
    await pipeline.publish([*keyed(calls(30)), b"bad"])
    await pipeline.run_until_consumed()
    before = await database.fetch("SELECT calls::text, calls.xmin::text FROM calls ORDER BY id")
    await pipeline.run_until_consumed(consumer_group="another")
    assert await database.fetch("SELECT calls::text, calls.xmin::text FROM calls ORDER BY id") == before
    assert await database.fetchval("SELECT count(*) FROM quarantined_records") == 1
    await pipeline.assert_exact(30)


BAD_RECORDS = [
    (b"k", b"hello", (), "the value is not JSON: invalid character (byte 0)"),
    (b"k", b"\xff\xfd", (), "the value is not UTF-8 at byte 0"),
    (b"k", b"[]", (), "the value is a JSON array"),
    (b"k", value("call.exploded"), (), "type: 'call.exploded' is not one of"),
    (b"k", value("call.ringing", id=""), (), "id: expected str of length >= 1"),
    (b"k", value("call.ringing", organization_id="x"), (), "organization_id: invalid UUID"),
    (b"k", value("call.ringing", timestamp="soon"), (), "timestamp: expected a date and time with an offset"),
    (b"k", value("call.ringing", timestamp="2999-01-01T00:00:00Z"), (), "is more than a day in the future"),
    (b"k", value("call.ringing", call_id="a\0b"), (), "call_id: contains a null byte"),
    (b"k", value("call.ringing", note="x" * 1024 * 1024), (), "the limit is 1,048,576"),
    (b"k", b"{}x", (("trace", b"\xff"), ("none", None)), "the value is not JSON: trailing characters"),
    (None, b"", (), "the value is empty"),
    (b"\xff\x00", b"{}", (), "organization_id: is missing"),
]


async def test_bad_records_are_kept_with_the_reason_and_hold_nothing_up(
    pipeline: Pipeline, topic: str, database: Connection
) -> None:
    headers: tuple[tuple[str, bytes | None], ...] = (
        ("source", b"pbx-1"),
        ("__value_schema_id", b"\x01\xc0\xff\xee"),
        ("ce_subject", None),
    )
    good = [(None, event, headers) for n in range(20) for event in call(n)]
    mixed: list[tuple[bytes | None, bytes | None, tuple[tuple[str, bytes | None], ...]]] = []
    for n, record in enumerate(good):
        mixed.append(record)
        if n < len(BAD_RECORDS):
            mixed.append(BAD_RECORDS[n][:3])
    await pipeline.publish(mixed)
    await pipeline.run_until_consumed()
    await pipeline.assert_exact(20)
    kept = await database.fetch("SELECT * FROM quarantined_records")
    assert len(kept) == len(BAD_RECORDS)
    for key, body, headers, reason in BAD_RECORDS:
        (row,) = [row for row in kept if reason in row["reason"]]
        assert (row["key"], row["value"], row["topic"]) == (key, body, topic)
        assert list(zip(row["header_names"], row["header_values"], strict=True)) == list(headers)


async def test_a_header_name_that_is_not_utf8_holds_nothing_up(
    pipeline: Pipeline, database: Connection
) -> None:
    """A producer in C can send such a header name. Here aiokafka's own writer does, in one batch with good
    records."""
    events = [*(event.decode() for event in call(0)), "hello"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.produce_raw_header"),
        *(pipeline.bootstrap, pipeline.topic, *events),
        env={**os.environ, "AIOKAFKA_NO_EXTENSIONS": "1"},
        cwd=ROOT,
    )
    assert await process.wait() == 0
    await pipeline.run_until_consumed()
    assert await database.fetchval("SELECT array_agg(id ORDER BY id) FROM call_events") == [*"1234"]
    kept = await database.fetchrow("SELECT * FROM quarantined_records")
    assert kept is not None
    assert (kept["value"], kept["header_names"], kept["header_values"]) == (
        b"hello",
        ["\\xffname"],
        [b"said"],
    )
    await pipeline.assert_proved()


async def test_a_field_without_a_clear_meaning_costs_the_call_nothing_else(
    pipeline: Pipeline, database: Connection
) -> None:
    end = value("call.completed", id="3", duration=-1, cost="2.5", hangup_cause=16)
    await pipeline.publish([value("call.initiated", id="1"), value("call.answered", id="2"), end])
    ingest = await pipeline.run_until_consumed()
    assert await database.fetchval("SELECT (status, duration, cost, hangup_cause) FROM calls") == (
        "completed",
        0,
        Decimal("2.5"),
        "16",
    )
    assert await database.fetchval("SELECT notes FROM call_events WHERE id = '3'") == [
        "data.duration: expected a number from 0 to 2,147,483,647; left out"
    ]
    assert await database.fetchval("SELECT count(*) FROM call_events WHERE notes IS NULL") == 2
    assert ingest.said("left fields without a clear meaning out of 1 events; the first: data.duration")
    await pipeline.assert_proved()


async def test_an_event_with_a_known_id_and_other_content_is_reported(
    pipeline: Pipeline, database: Connection
) -> None:
    numbered = [
        value("call.initiated", id="0"),
        value("call.answered", id="1"),
        value("call.completed", id="0"),
    ]
    await pipeline.publish([*numbered, *numbered])
    ingest = await pipeline.run_until_consumed()
    assert await database.fetchval("SELECT (status, version) FROM calls") == ("in_progress", 2)
    assert ingest.said("dropped 2 events whose id their call already has with other content")
    await pipeline.assert_proved()


async def test_events_of_unknown_organizations_can_be_quarantined(
    pipeline: Pipeline, database: Connection
) -> None:
    known = UUID(int=5)
    await database.execute("INSERT INTO organizations (id, name) VALUES ($1, 'Known')", known)
    strange = value("call.ringing", id="s", call_id=UUID(int=99))
    await pipeline.publish([strange, value("call.ringing", organization_id=known)])
    await pipeline.run_until_consumed(unknown_organizations="quarantine")
    assert await database.fetchval("SELECT array_agg(organization_id) FROM calls") == [known]
    kept = await database.fetchrow("SELECT reason, value FROM quarantined_records")
    assert kept is not None
    assert kept["reason"] == f"organization_id: there is no organization {ORGANIZATION}"
    assert kept["value"] == strange
    await pipeline.assert_proved()


async def test_payloads_are_stored_whole_while_an_older_version_reads_them(
    pipeline: Pipeline, database: Connection
) -> None:
    first, second = (value("call.ringing", call_id=UUID(int=n)) for n in (1, 2))
    await pipeline.publish([first])
    await pipeline.run_until_consumed(compact_payloads="false")
    await pipeline.publish([second])
    await pipeline.run_until_consumed()
    stored = await database.fetch(
        "SELECT payload, callfold_payload(payload, type, organization_id, call_id) FROM call_events "
        "ORDER BY call_id"
    )
    assert [row[1].encode() for row in stored] == [first, second]
    assert [row[0].encode() == row[1].encode() for row in stored] == [True, False]
    await pipeline.assert_proved()
    # As CHANGELOG.md says to do before a return to the older version.
    whole = "payload = callfold_payload(payload, type, organization_id, call_id)"
    tag = await database.execute(f"UPDATE call_events SET {whole} WHERE payload ~ '[\\x01-\\x04]'")  # noqa: S608
    assert tag == "UPDATE 1"
    assert await database.fetchval("SELECT array_agg(payload ORDER BY call_id) FROM call_events") == [
        first.decode(),
        second.decode(),
    ]


async def test_what_postgresql_refuses_is_found_and_quarantined(
    pipeline: Pipeline, database: Connection
) -> None:
    """A constraint that an operator added to the table: the record that violates it must not block its
    batch."""
    await database.execute("ALTER TABLE calls ADD CONSTRAINT no_anonymous CHECK (from_number <> 'anonymous')")
    refused = value("call.ringing", id="r", call_id=UUID(int=99), from_number="anonymous")
    await pipeline.publish([*call(0), *call(1), refused, *call(2)])
    await pipeline.run_until_consumed()
    await pipeline.assert_exact(3)
    kept = await database.fetchrow("SELECT reason, value FROM quarantined_records")
    assert kept is not None
    assert "no_anonymous" in kept["reason"]
    assert kept["value"] == refused


@pytest.mark.one_postgres("a unique index needs the organization there")
async def test_an_index_of_the_operators_own_is_no_rival(pipeline: Pipeline, database: Connection) -> None:
    """A violation of another unique key does not disappear by reading again."""
    await database.execute("CREATE UNIQUE INDEX one_caller ON calls (from_number)")
    twice = [
        value("call.initiated", call_id=UUID(int=n), from_number="+4930", timestamp=NOON - timedelta(hours=n))
        for n in (1, 2)
    ]
    await pipeline.publish([*call(5), *twice])
    await pipeline.run_until_consumed()
    assert await database.fetchval("SELECT count(*) FROM calls") == 2
    assert "one_caller" in await database.fetchval("SELECT reason FROM quarantined_records")
    await pipeline.assert_proved()


async def test_a_transaction_that_was_aborted_is_not_counted(
    pipeline: Pipeline, bootstrap: str, topic: str, database: Connection
) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=topic)
    await producer.start()
    await producer.begin_transaction()
    await producer.send_and_wait(topic, value("call.initiated", call_id=UUID(int=1)), key=b"k")
    await producer.abort_transaction()
    async with producer.transaction():
        await producer.send_and_wait(topic, value("call.initiated", call_id=UUID(int=2)), key=b"k")
    await producer.stop()
    pipeline.start()
    await until(lambda: database.fetchval("SELECT EXISTS (SELECT 1 FROM calls)"), "the committed call")
    assert await database.fetchval("SELECT array_agg(id) FROM calls") == [UUID(int=2)]


async def test_a_day_in_the_organizations_time_zone(pipeline: Pipeline, database: Connection) -> None:
    zones = {UUID(int=1): "Europe/Berlin", UUID(int=2): "America/St_Johns", UUID(int=3): "Pacific/Apia"}
    await database.executemany(
        "INSERT INTO organizations (id, name, time_zone) VALUES ($1, $2, $2)", list(zones.items())
    )
    for organization in zones:
        await pipeline.publish(
            [
                value("call.initiated", id=at, call_id=at, organization_id=organization, timestamp=at)
                for at in ("2026-10-24T22:00:00Z", "2026-10-25T02:30:00Z", "2026-10-25T23:30:00Z")
            ],
        )
    await pipeline.run_until_consumed()
    days = await database.fetch(
        "SELECT time_zone, array_agg(day::text ORDER BY calls.created_at) FROM calls "
        "JOIN organizations o ON o.id = organization_id GROUP BY 1 ORDER BY 1"
    )
    assert [tuple(row) for row in days] == [
        ("America/St_Johns", ["2026-10-24", "2026-10-25", "2026-10-25"]),
        ("Europe/Berlin", ["2026-10-25", "2026-10-25", "2026-10-26"]),
        ("Pacific/Apia", ["2026-10-25", "2026-10-25", "2026-10-26"]),
    ]


async def test_times_are_the_events_own(pipeline: Pipeline, database: Connection) -> None:
    old = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)
    await pipeline.publish([value("call.initiated", timestamp=old)])
    await pipeline.run_until_consumed()
    assert await database.fetchval("SELECT created_at FROM calls") == old
    assert await database.fetchval("SELECT day FROM daily_call_deltas") == old.date()
