"""`callfold verify --topic`, as the operator's role, beside publishers: it finds each fault that is planted
in the topic, and no change on its way."""

import asyncio
import signal
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any
from uuid import UUID

import pytest
from aiokafka import AIOKafkaProducer

from services.ops.commands import verify_topic
from services.ops.proof import sorted_runs, topic_proof
from services.ops.proof.topic_proof import TopicProof, TopicQuestion, prove_topic
from services.publisher.changed_calls import states
from services.publisher.topic_writer import Record, record
from shared.database import roles
from shared.database.connection import Connection, connect
from shared.store.delete import delete
from shared.store.time_zone_change import move_days
from tests.publisher.conftest import StartPublisher
from tests.support.command_line import Done, callfold
from tests.support.events import ORGANIZATION, event
from tests.support.ingesting import keyed
from tests.support.pipeline import Pipeline, calls
from tests.support.processes import publish, until
from tests.support.roles import as_role
from tests.support.storing import stored

pytestmark = pytest.mark.one_postgres("no snapshot has the calls of all servers, so `verify --topic` refuses")

OTHER = UUID("6f1c1f0e-93a5-4f4f-9a53-0d2f0a0a8b01")
FIRST, SECOND, LIVE_TEST = UUID(int=1), UUID(int=2), UUID(int=3)

Verify = Callable[..., Coroutine[Any, Any, Done]]


@pytest.fixture
def verify(bootstrap: str, calls_topic: str, database_url: str) -> Verify:
    """Runs the command on this test's topic and database."""

    async def run(*options: str) -> Done:
        return await callfold(
            "verify",
            "--topic",
            *options,
            database_url=as_role(database_url, roles.OPERATOR),
            kafka_bootstrap=bootstrap,
            calls_topic=calls_topic,
        )

    return run


async def is_published(database: Connection) -> bool:
    """Whether the topic has every change."""
    return bool(
        await database.fetchval(
            "SELECT all_after_call IS NULL AND NOT EXISTS (SELECT FROM call_changes) FROM publisher"
        )
    )


@pytest.fixture
async def published(start_publisher: StartPublisher, database: Connection) -> Connection:
    """A database whose three calls a publisher has published: two of one organization, one in test mode of
    another."""
    await stored(database, event("call.initiated", call_id=FIRST, from_number="+4930123"))
    await stored(database, event("call.completed", id="evt_2", call_id=FIRST, duration=60, cost="1.50"))
    await stored(database, event("transcript.ready", call_id=SECOND, transcript="Grüße, “Anna”"))
    await stored(database, event("call.ringing", call_id=LIVE_TEST, organization_id=OTHER, livemode=False))
    publisher = start_publisher()
    await until(lambda: is_published(database), "the calls to be published")
    assert publisher.stop() == 0
    return database


async def record_of(database: Connection, call_id: UUID = FIRST) -> Record:
    """The record that a publisher writes of a call."""
    (state,) = await states(database, [(ORGANIZATION, call_id)], {})
    return record(state)


async def test_a_published_topic_is_equal(published: Connection, verify: Verify) -> None:
    done = await verify()
    assert done.status == 0, done.output
    assert "EQUAL: the topic has every call in its present state, and no other." in done.output
    assert (await published.fetchval("SELECT count(*) FROM calls WHERE NOT livemode")) == 1
    (as_json, one) = (
        (await verify("--json")).json,
        (await verify("--json", "--organization", str(OTHER))).json,
    )
    assert (as_json["equal"], as_json["calls"], as_json["undecided"]) == (True, 3, 0)
    assert (one["equal"], one["calls"]) == (True, 1)


async def test_a_deleted_call_is_absent_from_the_topic(
    published: Connection, start_publisher: StartPublisher, verify: Verify
) -> None:
    await delete(published, ORGANIZATION, FIRST, livemode=True, actor="test")
    start_publisher()
    await until(lambda: is_published(published), "the deletion to be published")
    assert (await verify("--json")).json["calls"] == 2
    assert (await verify()).status == 0


async def test_a_change_of_a_time_zone_is_no_difference(published: Connection, verify: Verify) -> None:
    async with published.transaction():
        assert await move_days(published, ORGANIZATION, "Pacific/Kiritimati") == 2
    assert (await verify()).status == 0


Plant = Callable[[Connection], Awaitable[Record]]


async def a_tombstone(database: Connection) -> Record:
    key, _, headers = await record_of(database)
    return key, None, headers[:1]


async def a_call_that_is_not_stored(database: Connection) -> Record:
    _, body, headers = await record_of(database)
    return f"{ORGANIZATION}:{UUID(int=99)}".encode(), body, headers


async def an_older_revision(database: Connection) -> Record:
    key, body, headers = await record_of(database)
    return key, (body or b"").replace(b"completed", b"ringing"), [*headers[:2], ("revision", b"0")]


async def a_changed_byte(database: Connection) -> Record:
    key, body, headers = await record_of(database)
    return key, (body or b"").replace(b"+4930123", b"+4930124"), headers


async def a_changed_space(database: Connection) -> Record:
    key, body, headers = await record_of(database)
    return key, (body or b"") + b" ", headers


async def another_mode(database: Connection) -> Record:
    key, body, headers = await record_of(database)
    return key, body, [headers[0], ("mode", b"test"), headers[2]]


async def another_organization(database: Connection) -> Record:
    key, body, headers = await record_of(database)
    return key, body, [("organization", str(OTHER).encode()), *headers[1:]]


async def a_later_revision(database: Connection) -> Record:
    key, body, headers = await record_of(database)
    return key, body, [*headers[:2], ("revision", b"7")]


async def no_revision(database: Connection) -> Record:
    key, body, headers = await record_of(database)
    return key, body, headers[:2]


async def no_header(database: Connection) -> Record:
    key, body, _ = await record_of(database)
    return key, body, []


async def a_malformed_key(database: Connection) -> Record:
    key, body, headers = await record_of(database)
    return key.upper(), body, headers


async def a_foreign_record(_: Connection) -> Record:
    return b"\xff\x00", b"\xff", [("x", b"\xff")]


PLANTED: dict[str, tuple[Plant, str]] = {
    "missing": (a_tombstone, "the topic lacks it, must have revision 1"),
    "surplus": (a_call_that_is_not_stored, "has it, PostgreSQL does not"),
    "older": (an_older_revision, "has revision 0, must be 1"),
    "value": (a_changed_byte, "has another value than revision 1"),
    "value, a space": (a_changed_space, "has another value than revision 1"),
    "headers, mode": (another_mode, "has other headers than revision 1"),
    "headers, organization": (another_organization, "has other headers than revision 1"),
    "headers, later": (a_later_revision, "has other headers than revision 1"),
    "headers, without revision": (no_revision, "has other headers than revision 1"),
    "headers, none": (no_header, "has other headers than revision 1"),
    "foreign, malformed": (a_malformed_key, "the key is not ORGANIZATION:CALL"),
    "foreign": (a_foreign_record, "the key is not ORGANIZATION:CALL"),
}


@pytest.mark.parametrize("fault", PLANTED)
async def test_a_planted_fault_is_found_and_named(
    published: Connection, verify: Verify, bootstrap: str, calls_topic: str, fault: str
) -> None:
    plant, sentence = PLANTED[fault]
    await publish(bootstrap, calls_topic, [await plant(published)])

    done = await verify()

    assert done.status == 1
    assert "NOT EQUAL: 1 difference." in done.output
    assert sentence in done.output
    found = (await verify("--json")).json
    (difference,) = found["differences"]
    assert (found["equal"], difference["kind"]) == (False, fault.partition(",")[0])
    is_mended = difference["kind"] in ("missing", "older", "value", "headers")
    assert ("Publishing again does not remove records." in done.output) is not is_mended


async def test_publishing_all_calls_again_mends_the_topic(
    published: Connection,
    start_publisher: StartPublisher,
    verify: Verify,
    bootstrap: str,
    calls_topic: str,
    database_url: str,
) -> None:
    await publish(bootstrap, calls_topic, [await a_changed_byte(published)])
    assert "`callfold publish --all` publishes these calls again." in (await verify()).output
    await callfold("publish", "--all", database_url=as_role(database_url, roles.OPERATOR))
    assert "Cannot tell yet: all calls are being published." in (await verify()).failure
    start_publisher()
    await until(lambda: is_published(published), "all calls to be published")
    assert (await verify()).status == 0


async def test_a_foreign_record_that_was_removed_is_no_difference(
    published: Connection, verify: Verify, bootstrap: str, calls_topic: str
) -> None:
    key, body, headers = await a_foreign_record(published)
    await publish(bootstrap, calls_topic, [(key, body, headers), (key, None, [])])
    assert (await verify()).status == 0


async def test_a_record_in_another_partition_is_found(
    published: Connection, verify: Verify, bootstrap: str, calls_topic: str
) -> None:
    """A consumer may read the partitions in either order."""
    key, body, headers = await a_changed_byte(published)
    found = set()
    for partition in (0, 1):
        async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
            await producer.send_and_wait(calls_topic, body, key, partition=partition, headers=headers)
        (difference,) = (await verify("--json")).json["differences"]
        found.add(difference["kind"])
    assert "value" in found
    key, body, headers = await record_of(published)
    await publish(bootstrap, calls_topic, [(key, body, headers)])
    done = await verify()
    assert "has an outdated record of it, beside the present one in another partition" in done.output


async def test_every_missing_call_is_counted(
    published: Connection, verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outbox was switched off while the calls changed."""
    monkeypatch.setattr(sorted_runs, "RUN_ENTRIES", 2)
    monkeypatch.setattr(topic_proof, "SUSPECTS_AT_ONCE", 7)
    async with published.transaction():
        await published.execute("SET LOCAL callfold.moves_days = 'on'")
        await published.execute("UPDATE calls SET from_number = '1', revision = revision + 1")
    await published.execute("SET session_replication_role = replica")
    for n in range(100, 140):
        await stored(published, event("call.ringing", call_id=UUID(int=n)))
    found = (await verify("--json")).json
    assert (found["differences_found"], found["calls"]) == (43, 43)
    assert sorted({difference["kind"] for difference in found["differences"]}) == ["missing", "older"]


async def test_an_aborted_transaction_is_not_in_the_topic(
    published: Connection, verify: Verify, bootstrap: str, calls_topic: str
) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=f"test-{calls_topic}")
    async with producer:
        for n in range(3):
            await producer.begin_transaction()
            key, body, headers = await a_changed_byte(published)
            await producer.send_and_wait(calls_topic, body, key, headers=headers)
            await producer.send_and_wait(calls_topic, b"", b"foreign")
            await producer.abort_transaction()
            assert (await verify()).status == 0, n


async def test_while_a_publisher_stands_still_there_is_no_answer(
    published: Connection, start_publisher: StartPublisher, verify: Verify, bootstrap: str, calls_topic: str
) -> None:
    publisher = start_publisher()
    leads = "SELECT leader FROM publisher"
    await until(lambda: published.fetchval(leads), "a publisher to lead")
    publisher.send(signal.SIGSTOP)
    await stored(published, event("call.updated", id="evt_3", call_id=FIRST, latency_ms=5))

    done = await verify("--wait", "0.5")

    assert done.status == 1
    assert "CANNOT TELL: after 0.5 s, 1 call still waited in the outbox, or had changed again." in done.output
    assert "NOT EQUAL" not in done.output
    as_json = (await verify("--wait", "0", "--json")).json
    assert (as_json["equal"], as_json["undecided"], as_json["differences"]) == (False, 1, [])

    answer = asyncio.create_task(verify("--wait", "60"))
    publisher.send(signal.SIGCONT)
    assert (await answer).status == 0


async def test_more_waiting_calls_than_can_be_compared_again(
    published: Connection, verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topic_proof, "UNDECIDED_MAX", 1)
    monkeypatch.setattr(verify_topic, "UNDECIDED_MAX", 1)
    await published.execute("UPDATE calls SET from_number = '1', revision = revision + 1")
    as_json = (await verify("--json")).json
    assert (as_json["equal"], as_json["undecided"], as_json["differences"]) == (False, 3, [])
    assert "CANNOT TELL: 3 calls wait in the outbox, more than 1." in (await verify()).output


MOMENTS = 14
"""More than the proof uses Kafka if it compares no call again."""


@pytest.mark.parametrize("is_published_at_once", [True, False])
async def test_a_change_at_any_moment_is_no_difference(
    published: Connection,
    start_publisher: StartPublisher,
    bootstrap: str,
    calls_topic: str,
    database_url: str,
    is_published_at_once: bool,
) -> None:
    """Before each use of Kafka in turn, a call is created, changed or deleted. Its publisher is suspended
    meanwhile, or has published the change before the proof continues."""
    publisher = start_publisher()
    await until(lambda: published.fetchval("SELECT leader FROM publisher"), "a publisher to lead")
    loop = asyncio.get_running_loop()

    async def change(n: int) -> None:
        call_id = UUID(int=1000 + n // 3)
        if n % 3 == 2:
            assert await delete(published, ORGANIZATION, call_id, livemode=True, actor="test")
        else:
            await stored(published, event("call.updated", id=f"evt_{n}", call_id=call_id, latency_ms=n))
        if is_published_at_once:
            await until(lambda: is_published(published), "the change to be published")

    def proof(n: int, moment: int) -> TopicProof:
        uses = count(1)

        @contextmanager
        def at_each_use() -> Iterator[None]:
            use = next(uses)
            if use == moment:
                asyncio.run_coroutine_threadsafe(change(n), loop).result(60)
            if use == moment + 4:
                publisher.send(signal.SIGCONT)
            yield

        async def prove() -> TopicProof:
            connection = await connect(
                as_role(database_url, roles.OPERATOR), application_name="callfold-verify"
            )
            try:
                question = TopicQuestion(calls_topic, None, 30)
                return await prove_topic(connection, bootstrap, at_each_use, question, lambda *_: None)
            finally:
                await connection.close()

        return asyncio.run(prove())

    for n in range(3 * MOMENTS):
        if not is_published_at_once:
            publisher.send(signal.SIGSTOP)
        found = await asyncio.to_thread(proof, n, n // 3 + 1)
        publisher.send(signal.SIGCONT)
        assert found.equal, (n, found)
        await until(lambda: is_published(published), "the change to be published")


async def test_while_calls_change_the_topic_is_equal(
    published: Connection,
    start_publisher: StartPublisher,
    pipeline: Pipeline,
    verify: Verify,
    bootstrap: str,
    calls_topic: str,
) -> None:
    start_publisher()
    pipeline.start()
    going_on = True

    async def change() -> None:
        n = 0
        while going_on:
            await pipeline.publish(keyed(calls(n, n + 50)))
            n += 50

    changing = asyncio.create_task(change())
    answers: list[Any] = []

    async def has_changed() -> bool:
        answers.append((await verify("--json")).json)
        assert answers[-1]["equal"], answers[-1]
        return len(answers) >= 5 and len({answer["calls"] for answer in answers}) >= 4

    await until(has_changed, "several answers on different calls")
    wrong = f"{ORGANIZATION}:{UUID(int=1 << 100)}".encode()
    await publish(bootstrap, calls_topic, [(wrong, b"{}", [])])
    (difference,) = (await verify("--json")).json["differences"]
    assert difference["kind"] == "surplus"
    going_on = False
    await changing


async def test_without_a_publisher_there_is_no_answer(verify: Verify) -> None:
    assert "Cannot tell: no publisher has started" in (await verify()).failure


async def test_a_missing_topic_is_named(published: Connection, bootstrap: str, database_url: str) -> None:
    done = await callfold(
        "verify",
        "--topic",
        database_url=as_role(database_url, roles.OPERATOR),
        kafka_bootstrap=bootstrap,
        calls_topic="no-such-topic",
    )
    assert "Kafka has no topic no-such-topic" in done.failure


async def test_an_unreachable_broker_is_named(published: Connection, database_url: str) -> None:
    done = await callfold(
        "verify",
        "--topic",
        database_url=as_role(database_url, roles.OPERATOR),
        kafka_bootstrap="127.0.0.1:1",
    )
    assert done.failure == "Kafka can't be reached at 127.0.0.1:1: connection refused."


async def test_a_temporary_directory_that_cannot_be_used_is_named(
    published: Connection, verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/no-such-directory")
    assert (await verify()).status == 0  # few records are sorted in memory
    monkeypatch.setattr(sorted_runs, "RUN_ENTRIES", 2)
    failure = (await verify()).failure
    assert "cannot be sorted in a temporary file: no such file or directory. Set TMPDIR" in failure


async def test_options_that_make_no_sense_are_refused(verify: Verify) -> None:
    assert "--calls cannot be combined with --topic" in (await verify("--calls", "5")).failure
    assert "--wait needs --topic" in (await callfold("verify", "--wait", "5")).failure
