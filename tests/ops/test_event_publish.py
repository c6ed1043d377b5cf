"""`callfold event publish`: a file of events reaches the topic, and ingest stores their calls."""

from pathlib import Path

from shared.calls.event import VALUE_BYTES_MAX
from shared.database.connection import Connection
from tests.support.command_line import Done, callfold
from tests.support.events import CALL, value
from tests.support.pipeline import Pipeline

END = value("call.completed", id="evt_2", duration=60)
START = value("call.initiated", id="evt_1", direction="inbound")
LONG = value("call.updated", id="evt_3", note="x" * (VALUE_BYTES_MAX - 300))


async def published(pipeline: Pipeline, file: Path, *options: str) -> Done:
    return await callfold(
        "event", "publish", str(file), *options, kafka_bootstrap=pipeline.bootstrap, topic=pipeline.topic
    )


async def test_events_of_a_file_become_a_call(
    pipeline: Pipeline, database: Connection, tmp_path: Path
) -> None:
    file = tmp_path / "events.ndjson"
    file.write_bytes(b"\n".join([END, START, LONG]))
    done = await published(pipeline, file)
    assert (done.status, done.output) == (0, f"Published 3 events to {pipeline.topic}.\n")
    await published(pipeline, file)
    await pipeline.run_until_consumed()
    rows = await database.fetch("SELECT id, duration, version FROM calls")
    assert [tuple(row) for row in rows] == [(CALL, 60, 3)]
    await pipeline.assert_proved()


async def test_a_refused_event_is_reported_and_not_published(
    pipeline: Pipeline, database: Connection, tmp_path: Path
) -> None:
    file = tmp_path / "events.json"
    file.write_bytes(b"[" + START + b"," + value("call.completed", id="evt_2", organization_id="acme") + b"]")
    done = await published(pipeline, file, "--json")
    assert done.status == 1
    assert done.json == {"topic": pipeline.topic, "published": 1, "refused": 1}
    await pipeline.run_until_consumed()
    assert await database.fetchval("SELECT count(*) FROM call_events") == 1
    assert await database.fetchval("SELECT count(*) FROM quarantined_records") == 0


async def test_the_topic_must_exist(pipeline: Pipeline, tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    file.write_bytes(START)
    done = await callfold(
        "event", "publish", str(file), "--topic", "no-such-topic", kafka_bootstrap=pipeline.bootstrap
    )
    assert (
        done.failure
        == "Kafka has no topic no-such-topic. `CALLFOLD_TOPIC=no-such-topic callfold topic` creates it."
    )


async def test_a_file_without_events_fails(pipeline: Pipeline, tmp_path: Path) -> None:
    file = tmp_path / "empty.ndjson"
    file.write_bytes(b"\n")
    assert (await published(pipeline, file)).failure == f"{file} has no event."
