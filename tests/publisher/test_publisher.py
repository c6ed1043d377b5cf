"""Publishers as processes, on a real broker and a real database: a consumer of the topic has
the calls."""

import signal
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from aiokafka.errors import ProducerFenced

from services.aggregator.prune import prune
from services.aggregator.reap import EVERYTHING, reap
from services.publisher.changed_calls import State
from services.publisher.topic_writer import record, topic_writer
from shared.database.connection import Connection
from shared.settings.publisher import PublisherSettings
from shared.store.delete import delete
from shared.store.time_zone_change import move_days
from tests.publisher.conftest import StartPublisher
from tests.support.command_line import callfold
from tests.support.events import NOON, ORGANIZATION, event, value
from tests.support.ingesting import keyed
from tests.support.pipeline import Pipeline, calls
from tests.support.processes import until
from tests.support.storing import stored
from tests.support.topic_of_calls import TopicOfCalls, topic_of_calls


@pytest.fixture
async def topic_of(bootstrap: str, calls_topic: str) -> AsyncIterator[TopicOfCalls]:
    """A consumer of this test's topic."""
    async with topic_of_calls(bootstrap, calls_topic) as topic:
        yield topic


async def waiting_rows(database: Connection) -> int:
    rows: int = await database.fetchval("SELECT count(*) FROM call_changes")
    return rows


async def leads(database: Connection) -> bool:
    """Whether some process publishes, and has published all calls once."""
    return bool(
        await database.fetchval(
            "SELECT leader IS NOT NULL AND all_after_call IS NULL FROM publisher WHERE leads_until > now()"
        )
    )


async def test_each_change_reaches_the_topic(
    start_publisher: StartPublisher, database: Connection, topic_of: TopicOfCalls
) -> None:
    await stored(database, event("call.initiated", from_number="+4930123"))
    publisher = start_publisher()
    await topic_of.until_equal(database)

    await stored(database, event("call.completed", id="evt_2", duration=60, cost="1.50"))
    await topic_of.until_equal(database)

    (key,) = topic_of.calls
    shown = topic_of.calls[key]
    assert key == f"{ORGANIZATION}:{shown['id']}"
    assert (shown["from_number"], shown["status"], shown["cost"]) == ("+4930123", "completed", 1.5)
    assert topic_of.told[-1].headers == {"organization": str(ORGANIZATION), "mode": "live", "revision": "1"}

    await delete(database, ORGANIZATION, UUID(shown["id"]), livemode=True, actor="test")
    await topic_of.until_equal(database)

    assert topic_of.told[-1] == (key, None, {"organization": str(ORGANIZATION), "mode": "live"})
    await until(lambda: _is_empty(database), "the outbox to be empty")
    assert publisher.stop() == 0
    assert await database.fetchval("SELECT leader FROM publisher") is None


async def _is_empty(database: Connection) -> bool:
    return await waiting_rows(database) == 0


async def test_nothing_is_written_to_the_outbox_before_the_first_publisher(database: Connection) -> None:
    await stored(database, event("call.initiated"))
    assert await waiting_rows(database) == 0


async def test_a_transaction_that_began_before_the_outbox_is_published_all_the_same(
    start_publisher: StartPublisher, database: Connection, rival: Connection, topic_of: TopicOfCalls
) -> None:
    await stored(database, event("call.initiated"))
    transaction = rival.transaction()
    await transaction.start()
    await rival.execute("UPDATE calls SET from_number = '+4930123', revision = 1")
    publisher = start_publisher()
    await until(lambda: publisher.said("publishes the changes"), "a publisher to lead")

    await transaction.commit()

    await topic_of.until_equal(database)
    assert [call["from_number"] for call in topic_of.calls.values()] == ["+4930123"]
    assert await database.fetchval("SELECT count(*) FROM publisher WHERE complete_from IS NOT NULL") == 1


async def test_a_server_that_was_added_without_its_outbox_is_waited_for(
    start_publisher: StartPublisher, database: Connection
) -> None:
    await database.execute("ALTER TABLE publisher RENAME TO elsewhere")
    publisher = start_publisher()
    await until(lambda: publisher.said("this server has no outbox yet"), "a publisher to wait")
    await database.execute("ALTER TABLE elsewhere RENAME TO publisher")
    await until(lambda: publisher.said("publishes the changes"), "a publisher to lead")


async def test_every_path_that_changes_calls_reaches_the_topic(
    start_publisher: StartPublisher,
    database: Connection,
    database_url: str,
    topic_of: TopicOfCalls,
    tmp_path: Path,
) -> None:
    async def command(*words: str) -> None:
        done = await callfold(*words, database_url=database_url)
        assert done.status == 0, done.failure
        await topic_of.until_equal(database)

    start_publisher()
    await until(lambda: leads(database), "a publisher to lead")
    await stored(database, *(event("call.ringing", call_id=UUID(int=n)) for n in range(1, 6)))
    await topic_of.until_equal(database)
    assert len(topic_of.calls) == 5

    archive = tmp_path / "archive.ndjson"
    archive.write_bytes(value("call.answered", id="evt_2", call_id=UUID(int=1)))
    await command("replay", "--file", str(archive))
    assert topic_of.calls[f"{ORGANIZATION}:{UUID(int=1)}"]["status"] == "in_progress"

    assert await reap(database, NOON + timedelta(days=1), timedelta(hours=4), read_until=EVERYTHING) == (5, 0)
    await topic_of.until_equal(database)
    assert {shown["hangup_cause"] for shown in topic_of.calls.values()} == {"MISSING_HANGUP"}

    await database.execute("UPDATE calls SET laws = 1, status = 'busy' WHERE id = $1", UUID(int=2))
    await command("refold")
    assert {shown["status"] for shown in topic_of.calls.values()} == {"failed"}

    await database.execute("UPDATE organizations SET retention_days = 1")
    assert await prune(database, NOON + timedelta(days=9)) == 5
    await topic_of.until_equal(database)
    assert not topic_of.calls


async def test_a_time_zone_moves_calls_and_changes_none(
    start_publisher: StartPublisher, database: Connection, topic_of: TopicOfCalls
) -> None:
    await stored(database, event("call.initiated", timestamp=NOON.replace(hour=23)))
    start_publisher()
    await topic_of.until_equal(database)
    await until(lambda: leads(database), "a publisher to lead")

    async with database.transaction():
        assert await move_days(database, ORGANIZATION, "Asia/Tokyo") == 1
        assert await waiting_rows(database) == 0


async def test_a_stalled_leader_cannot_publish_an_older_state(
    start_publisher: StartPublisher, database: Connection, topic_of: TopicOfCalls
) -> None:
    await stored(database, event("call.initiated"))
    stalled = start_publisher()
    await topic_of.until_equal(database)
    second = start_publisher()
    for n in range(3):
        stalled.send(signal.SIGSTOP)
        await stored(database, event("call.updated", id=f"u{n}", latency_ms=n))
        await topic_of.until_equal(database)
        stalled.send(signal.SIGCONT)
        await stored(database, event("call.updated", id=f"v{n}", from_number=str(n)))
        await topic_of.until_equal(database)
        stalled, second = second, stalled
    (key,) = topic_of.calls
    revisions = topic_of.revisions(key)
    assert revisions == sorted(revisions, key=lambda revision: revision or 0)
    assert stalled.running
    assert second.running


async def test_the_topic_takes_no_record_of_an_earlier_writer(
    bootstrap: str, calls_topic: str, topic_of: TopicOfCalls
) -> None:
    settings = PublisherSettings(kafka_bootstrap=bootstrap, calls_topic=calls_topic)
    key = (ORGANIZATION, UUID(int=1))
    older, newer = (State(key, {"livemode": True}, revision, True) for revision in (1, 2))
    async with topic_writer(settings) as suspended, topic_writer(settings) as leader:
        await leader.write([record(newer)])
        with pytest.raises(ProducerFenced):
            await suspended.write([record(older)])
    await until(lambda: _has_records(topic_of, 1), "the record of the leader")
    assert topic_of.revisions(f"{ORGANIZATION}:{key[1]}") == [2]


async def _has_records(topic: TopicOfCalls, count: int) -> bool:
    await topic.read()
    return len(topic.told) >= count


async def test_kills_of_every_part_lose_nothing(
    start_publisher: StartPublisher, pipeline: Pipeline, database: Connection, topic_of: TopicOfCalls
) -> None:
    for n in range(4):
        publisher, ingest = start_publisher(), pipeline.start()
        await pipeline.publish(keyed(calls(n * 300, n * 300 + 300)))
        read = len(topic_of.told)

        async def began(before: int = read) -> bool:
            await topic_of.read()
            return len(topic_of.told) > before

        await until(began, "the topic to have more calls")
        publisher.kill()
        ingest.kill()
    start_publisher()
    pipeline.start()
    await pipeline.consumed()
    await topic_of.until_equal(database)
    assert len(topic_of.calls) == 1200
    for key in topic_of.calls:
        revisions = topic_of.revisions(key)
        assert revisions == sorted(revisions, key=lambda revision: revision or 0)


async def test_long_transcripts_are_published_some_at_a_time(
    start_publisher: StartPublisher, database: Connection, topic_of: TopicOfCalls
) -> None:
    for n in range(1, 13):
        await stored(database, event("transcript.ready", call_id=UUID(int=n), transcript="a" * 1_000_000))
    start_publisher()
    await topic_of.until_equal(database)
    assert len(topic_of.calls) == 12
