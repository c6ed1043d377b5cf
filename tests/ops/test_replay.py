"""A replay of a topic span or an archive processes records as ingest does."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from services.ops.proof.proof import prove
from services.ops.repair.replay_source import read_file
from shared.calls.event import VALUE_BYTES_MAX
from shared.database.connection import Connection
from shared.store.delete import delete
from tests.support.command_line import callfold
from tests.support.events import ORGANIZATION, value
from tests.support.ingesting import assert_exact, call, counted_calls, keyed
from tests.support.pipeline import Pipeline, calls
from tests.support.processes import lag, publish
from tests.support.sources import add_source, deliveries, sample

BEFORE = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def addresses(bootstrap: str, topic: str, database_url: str) -> dict[str, str]:
    return {
        "kafka_bootstrap": bootstrap,
        "topic": topic,
        "database_url": database_url,
        "unknown_organizations": "create",
    }


async def replay(addresses: dict[str, str], *options: str | UUID) -> dict[str, Any]:
    done = await callfold("replay", "--json", *options, **addresses)
    assert done.status == 0, done.failure
    answer: dict[str, Any] = done.json
    return answer


def counts(answer: dict[str, Any]) -> tuple[int, ...]:
    return tuple(answer[name] for name in ("read", "new", "duplicate", "quarantined", "deleted", "other"))


async def test_a_topic_is_stored_once_however_often_it_is_replayed(
    addresses: dict[str, str], bootstrap: str, topic: str, database_url: str, database: Connection
) -> None:
    await publish(bootstrap, topic, [*keyed([e for n in range(20) for e in call(n)]), b"no event"])
    would = await replay(addresses, "--dry-run")
    assert (counts(would), would["new_calls"]) == ((81, 80, 0, 1, 0, 0), 20)
    assert await database.fetchval("SELECT count(*) FROM calls") == 0
    first = await replay(addresses)
    assert (counts(first), first["new_calls"]) == ((81, 80, 0, 1, 0, 0), 20)
    await assert_exact(database_url, database, 20)
    again = await replay(addresses)
    assert counts(again) == (81, 0, 80, 1, 0, 0)
    await assert_exact(database_url, database, 20)
    assert await database.fetchval("SELECT count(*) FROM quarantined_records") == 1
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    assert not [group for group in await admin.list_consumer_groups() if topic in group[0]]
    await admin.close()


async def test_it_restores_missing_calls_and_events_while_ingest_runs(
    pipeline: Pipeline, addresses: dict[str, str], bootstrap: str, topic: str, database: Connection
) -> None:
    await pipeline.publish(keyed(calls(30)))
    await pipeline.run_until_consumed()
    await database.execute("DELETE FROM call_events WHERE id = '4'")
    await database.execute("DELETE FROM calls WHERE status = 'completed'")
    await callfold("refold", **addresses)
    await callfold("rebuild", **addresses)
    assert await counted_calls(database) == {"in_progress": 30}
    assert counts(await replay(addresses)) == (120, 30, 90, 0, 0, 0)
    await pipeline.assert_exact(30)
    assert await lag(bootstrap, topic, f"test-{topic}") == 0


async def test_a_span_by_offsets_and_by_times(
    addresses: dict[str, str], bootstrap: str, topic: str, database: Connection
) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    for n in range(10):
        stamp = int(BEFORE.timestamp() * 1000) + n * 60_000
        one = value("call.initiated", call_id=UUID(int=n + 1))
        await producer.send_and_wait(topic, one, partition=1, timestamp_ms=stamp)
    await producer.stop()
    span = ("--partition", "1", "--from-offset", "2", "--to-offset", "5")
    assert counts(await replay(addresses, *span))[:2] == (3, 3)
    times = ("--from", "2026-11-01T00:04:00Z", "--to", "2026-11-01T00:08:00Z")
    assert counts(await replay(addresses, *times))[:3] == (4, 3, 1)
    assert counts(await replay(addresses, "--from", "2026-11-02T00:00:00Z"))[0] == 0
    assert counts(await replay(addresses, "--partition", "0"))[0] == 0
    assert await database.fetchval("SELECT count(*) FROM calls") == 6


async def test_records_outside_the_filter_are_skipped(
    addresses: dict[str, str], bootstrap: str, topic: str, database: Connection
) -> None:
    other = UUID(int=5)
    await publish(
        bootstrap,
        topic,
        [
            *call(0),
            value("call.initiated", organization_id=other, call_id="a84b@pbx"),
            value("call.ringing", id="2", organization_id=other, call_id="a84b@pbx"),
            value("call.initiated", organization_id=other, call_id="b"),
            b"no event",
        ],
    )
    one = ("--organization", other, "--call", "a84b@pbx", "--type", "call.initiated")
    assert counts(await replay(addresses, *one)) == (8, 1, 0, 0, 0, 7)
    assert counts(await replay(addresses, "--call", UUID(int=1))) == (8, 4, 0, 0, 0, 4)
    assert await database.fetchval("SELECT count(*) FROM quarantined_records") == 0


async def test_deleted_calls_stay_deleted(
    addresses: dict[str, str], bootstrap: str, topic: str, database_url: str, database: Connection
) -> None:
    await publish(bootstrap, topic, [*call(0), *call(1)])
    await replay(addresses)
    assert await delete(database, ORGANIZATION, UUID(int=1), livemode=True, actor="test")
    for dry in ((), ("--dry-run",)):
        assert counts(await replay(addresses, *dry)) == (8, 0, 4, 0, 4, 0)
    await assert_exact(database_url, database, 1)


async def test_an_archive_is_loaded_from_a_file(
    database_url: str, database: Connection, tmp_path: Path
) -> None:
    archive = tmp_path / "2026.ndjson"
    lines = [*call(0), b"", b"no event", *call(1), b"[" * 2_000_000, *call(0)]
    archive.write_bytes(b"\r\n".join(lines))
    creating = ("replay", "--file", str(archive), "--create-organizations", "--json")
    first = await callfold(*creating, database_url=database_url)
    assert counts(first.json) == (14, 8, 4, 2, 0, 0)
    again = await callfold("replay", "--file", str(archive), database_url=database_url)
    assert again.output == (
        "14 records read: 0 new, 12 duplicate, 2 quarantined, 0 of deleted calls, 0 filtered out.\n"
        "0 calls created, 0 changed.\n"
    )
    kept = await database.fetch('SELECT topic, "offset", reason FROM quarantined_records ORDER BY "offset"')
    assert [(row["topic"], row["offset"]) for row in kept] == [("2026.ndjson", 6), ("2026.ndjson", 11)]
    assert "bytes; the limit is 1,048,576" in kept[1]["reason"]
    proof = await prove(database_url)
    assert (proof.exact, proof.calls) == (True, 2)


async def test_an_archive_of_bad_lines_opens_no_breaker(
    database_url: str, database: Connection, tmp_path: Path
) -> None:
    archive = tmp_path / "bad.ndjson"
    archive.write_text("\n".join(json.dumps({"n": n}) for n in range(2_000)))
    done = await callfold("replay", "--file", str(archive), "--json", database_url=database_url)
    assert done.json["quarantined"] == 2_000
    assert await database.fetchval("SELECT count(*) FROM quarantined_records") == 2_000


async def test_a_dry_run_counts_a_call_of_several_batches_once(
    database_url: str, database: Connection, tmp_path: Path
) -> None:
    archive = tmp_path / "long.ndjson"
    lines = [value("call.updated", id=str(n)) for n in range(5_002)]
    archive.write_bytes(b"\n".join([*lines, lines[0]]))
    told = {}
    for dry in (("--dry-run",), ()):
        command = ("replay", "--file", str(archive), "--json", *dry)
        done = await callfold(*command, database_url=database_url, unknown_organizations="create")
        told[bool(dry)] = (*counts(done.json), done.json["new_calls"], done.json["changed_calls"])
    assert told[True] == told[False] == (5_003, 5_002, 1, 0, 0, 0, 1, 1)


async def test_a_dry_run_of_calls_that_are_large_in_the_database(
    database_url: str, database: Connection, tmp_path: Path
) -> None:
    archive = tmp_path / "large.ndjson"
    archive.write_bytes(b"\n".join(e for n in range(4) for e in call(n)))
    command = ("replay", "--file", str(archive), "--json")
    await callfold(*command, database_url=database_url, unknown_organizations="create")
    await database.execute("UPDATE call_events SET payload = payload || repeat(' ', 6 << 20)")
    would = await callfold(*command, "--dry-run", database_url=database_url)
    assert counts(would.json) == (16, 0, 16, 0, 0, 0)


async def test_organizations_are_created_only_on_request(
    database_url: str, database: Connection, tmp_path: Path
) -> None:
    archive = tmp_path / "call.ndjson"
    archive.write_bytes(b"\n".join(call(0)))
    command = ("replay", "--file", str(archive), "--json")
    assert counts((await callfold(*command, database_url=database_url)).json) == (4, 0, 0, 4, 0, 0)
    creating = {"database_url": database_url, "unknown_organizations": "create"}
    unless = await callfold(*command, "--no-create-organizations", **creating)
    assert counts(unless.json) == (4, 0, 0, 4, 0, 0)
    assert await database.fetchval("SELECT count(*) FROM quarantined_records") == 4
    assert counts((await callfold(*command, **creating)).json) == (4, 4, 0, 0, 0, 0)
    log = await database.fetch("SELECT action, details FROM audit_log")
    assert [tuple(row) for row in log] == [("records replayed", str(archive))] * 3


async def test_bad_lines_of_two_files_with_one_name_are_all_kept(
    database_url: str, database: Connection, tmp_path: Path
) -> None:
    for directory in ("monday", "tuesday"):
        archive = tmp_path / directory / "dead.ndjson"
        archive.parent.mkdir()
        archive.write_text(directory)
        for _ in range(2):
            await callfold("replay", "--file", str(archive), database_url=database_url)
    kept = await database.fetch("SELECT topic, value FROM quarantined_records ORDER BY value")
    assert [tuple(row) for row in kept] == [("dead.ndjson", b"monday"), ("dead.ndjson", b"tuesday")]


async def test_a_file_is_read_in_batches_of_bounded_size(tmp_path: Path) -> None:
    archive = tmp_path / "large.ndjson"
    archive.write_bytes(b"\n".join([b"x" * VALUE_BYTES_MAX] * 40))
    batches = [len(batch) async for batch in read_file(str(archive))]
    assert batches == [16, 16, 8]


WRONG = [
    (("--from-offset", "1"), "--from-offset and --to-offset need --partition."),
    (("--from", "yesterday"), "--from must be a time with an offset, such as 2026-11-24T10:00:00Z"),
    (("--from", "2026-11-24T10:00:00"), "--from must be a time with an offset"),
    (("--type", "call.begun"), "--type must be one of call.initiated, "),
    (("--call", "a84b@pbx"), "--call, without --organization, must be a UUID"),
    (("--partition", "9"), "has no partition 9: it has 4, counted from 0."),
    (("--topic", "nowhere"), "Kafka has no topic nowhere."),
    (("--file", "/nowhere/at/all"), "/nowhere/at/all can't be read: no such file or directory."),
    (("--file", "-", "--partition", "0"), "A file has no partitions, offsets or record times"),
]


@pytest.mark.parametrize(("options", "sentence"), WRONG)
async def test_an_invalid_replay_is_reported(
    addresses: dict[str, str], options: tuple[str, ...], sentence: str
) -> None:
    done = await callfold("replay", *options, **addresses)
    assert done.status == 1
    assert sentence in done.failure


async def test_deliveries_are_translated_again_and_replace_what_is_stored(
    addresses: dict[str, str], bootstrap: str, topic: str, database_url: str, database: Connection
) -> None:
    """A number that was added later changes the translation. Only --replace changes stored events."""
    busy, answered = sample("twilio/outbound_busy"), sample("twilio/outbound_completed")
    ignored = sample("twilio/voice_request")
    source_id = await add_source(database, busy)
    addresses = addresses | {"topic": "call-events", "deliveries_topic": topic}
    await publish(bootstrap, topic, deliveries(source_id, [busy, answered, ignored]))
    first = await replay(addresses, "--topic", topic)
    assert (first["read"], first["new"], first["ignored"], first["new_calls"]) == (3, 3, 1, 2)
    number_id = uuid4()
    organization_id = await database.fetchval("SELECT serves FROM sources")
    await database.execute(
        "INSERT INTO phone_numbers VALUES ($1, '+15550100', $2)", organization_id, number_id
    )
    kept = await replay(addresses, "--topic", topic)
    assert (kept["new"], kept["conflicting"], kept["replaced"]) == (0, 2, 0)
    would = await replay(addresses, "--topic", topic, "--replace", "--dry-run")
    assert would["replaced"] == 2
    assert await database.fetchval("SELECT count(phone_number_id) FROM calls") == 0
    done = await replay(addresses, "--topic", topic, "--replace")
    assert (done["new"], done["replaced"], done["changed_calls"], done["conflicting"]) == (0, 2, 2, 0)
    assert await database.fetchval("SELECT array_agg(DISTINCT phone_number_id) FROM calls") == [number_id]
    lines = await database.fetch("SELECT details FROM audit_log WHERE action = 'events replaced' ORDER BY 1")
    assert [row["details"] for row in lines] == [
        "CA7105fa73d25ad39cff9222e78cea8b5e:3:busy",
        "CAfdcdcc7f2eef90afd9694b4236b28520:3:completed",
    ]
    again = await replay(addresses, "--topic", topic, "--replace")
    assert (again["replaced"], again["duplicate"]) == (0, 3)
    proof = await prove(database_url)
    assert proof.exact, proof.differences


async def test_a_call_that_folds_as_before_is_not_counted_as_changed(
    addresses: dict[str, str], bootstrap: str, topic: str, database_url: str, database: Connection
) -> None:
    """A number that was applied to stored calls is in an event of its own. The translation states it too."""
    source_id = await add_source(database, busy := sample("twilio/outbound_busy"))
    addresses = addresses | {"topic": "call-events", "deliveries_topic": topic}
    await publish(bootstrap, topic, deliveries(source_id, [busy]))
    await replay(addresses, "--topic", topic)
    organization_id: UUID = await database.fetchval("SELECT serves FROM sources")
    added = await callfold(
        "number", "add", "--organization", organization_id, "+15550100", "--apply", "--json", **addresses
    )
    assert added.json == {"added": 1, "changed_calls": 1}, added.failure
    before = await database.fetchval("SELECT to_jsonb(calls) - 'revision' - 'updated_at' FROM calls")
    for options in (("--dry-run",), ()):
        done = await replay(addresses, "--topic", topic, "--replace", *options)
        assert (done["replaced"], done["changed_calls"]) == (1, 0)
    after = await database.fetchval("SELECT to_jsonb(calls) - 'revision' - 'updated_at' FROM calls")
    assert after == before
    again = await replay(addresses, "--topic", topic, "--replace")
    assert (again["replaced"], again["duplicate"], again["changed_calls"]) == (0, 1, 0)
    proof = await prove(database_url)
    assert proof.exact, proof.differences


async def test_a_topic_without_a_source_is_pointed_out(
    addresses: dict[str, str], bootstrap: str, topic: str
) -> None:
    await publish(bootstrap, topic, keyed(call(1)))
    done = await callfold("replay", "--topic", topic, **(addresses | {"topic": "call-events"}))
    assert done.errors == (
        f"Note: no source has the topic {topic}, so its records are read as callfold's own events.\n"
    )
    assert done.output.startswith("4 records read: 4 new")
    assert (await callfold("replay", "--topic", topic, **addresses)).errors == ""
