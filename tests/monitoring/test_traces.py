"""Traces of ingest, as a collector receives them: one event followed from its Kafka headers to the
commits."""

import time
from uuid import UUID

from shared.database.connection import Connection
from tests.ingest.test_faults import transaction_held_open
from tests.support.collector import Collector, Span, traced, traceparent
from tests.support.events import CALL, ORGANIZATION, value
from tests.support.ingesting import GROUP, call
from tests.support.pipeline import Pipeline
from tests.support.processes import Record, until

NUMBER = "+4930123456"


def of_trace(spans: list[Span], n: int) -> Span:
    """The only span of the n-th trace."""
    (span,) = [span for span in spans if span.trace_id == f"{n:032x}"]
    return span


async def test_an_event_is_followed_from_its_header_to_the_commits(
    pipeline: Pipeline, topic: str, database: Connection, collector: Collector
) -> None:
    event = value("call.initiated", from_number=NUMBER, transcript="a secret")
    await pipeline.publish([value("call.ringing", id="r"), traced(7, event)])
    published = time.time_ns()
    async with transaction_held_open(database):
        ingest = pipeline.start(traces_url=collector.url)
        await until(lambda: database.fetchval(WAITS_FOR_LOCK), "ingest to be in its transaction")
        before_commit = time.time_ns()
        assert not collector.named(f"process {topic}")
    await until(lambda: collector.has(f"process {topic}"), "the span of the event")
    assert await database.fetchval("SELECT count(*) FROM call_events") == 2, "the span came after the commit"

    (span,) = collector.named(f"process {topic}")
    assert (span.trace_id, span.parent_id, span.kind) == (f"{7:032x}", f"{7:016x}", "CONSUMER")
    assert published < span.start < before_commit < span.end < time.time_ns()
    assert span.events == ["transaction committed", "offsets committed"]
    assert not span.failed
    partition = span.attributes.pop("messaging.destination.partition.id")
    assert int(partition) in range(4)
    assert span.attributes == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": topic,
        "messaging.kafka.offset": 1,
        "messaging.consumer.group.name": f"{GROUP}-{topic}",
        "callfold.organization_id": str(ORGANIZATION),
        "callfold.call_id": str(CALL),
        "callfold.event_type": "call.initiated",
        "callfold.outcome": "stored",
    }

    await until(lambda: collector.has("store"), "the spans of the batch")
    (batch,) = collector.named(f"{topic} process")
    assert span.links == [(batch.trace_id, batch.id)]
    assert batch.attributes["messaging.batch.message_count"] == 2
    (store,) = collector.named("store")
    (attempt,) = collector.named("try")
    below = {one.name: one.parent_id for one in collector.spans if one.trace_id == batch.trace_id}
    assert (below["parse"], below["store"], below["try"]) == (batch.id, batch.id, store.id)
    assert below["read"] == below["fold"] == below["write"] == attempt.id
    assert below["commit offsets"] == store.id
    (written,) = collector.named("write")
    assert written.start < before_commit < written.end <= span.end
    assert {one.service for one in collector.spans} == {"callfold-ingest"}
    assert not [one for one in collector.spans if NUMBER in one.text or "secret" in one.text]
    assert ingest.stop() == 0


WAITS_FOR_LOCK = (
    "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND (relation = 'daily_call_deltas'::regclass "
    "OR locktype = 'transactionid'))"
)


async def test_a_span_says_what_became_of_its_record(
    pipeline: Pipeline, topic: str, database: Connection, collector: Collector
) -> None:
    gone = UUID(int=9)
    await database.execute("INSERT INTO organizations (id, name) VALUES ($1, '')", ORGANIZATION)
    await database.execute("INSERT INTO deleted_calls VALUES ($1, $2)", ORGANIZATION, gone)
    await database.execute("ALTER TABLE calls ADD CONSTRAINT no_anonymous CHECK (from_number <> 'anonymous')")
    stranger = UUID(int=3)
    records = [
        traced(1, value("call.initiated", from_number=NUMBER)),
        traced(2, value("call.initiated", from_number=NUMBER)),
        traced(3, value("call.ringing", call_id=gone)),
        traced(4, value(f"call.{NUMBER}")),
        traced(5, f"{NUMBER}?".encode()),
        traced(6, value("call.ringing", organization_id=stranger)),
        traced(7, value("call.ringing", call_id=UUID(int=4), from_number="anonymous")),
        traced(8, value("call.ringing", id="8")),
    ]
    await pipeline.publish(records)
    pipeline.start(traces_url=collector.url, unknown_organizations="quarantine")
    await until(lambda: collector.has(f"process {topic}", 8), "all spans")
    spans = collector.named(f"process {topic}")
    assert [of_trace(spans, n).attributes["callfold.outcome"] for n in range(1, 9)] == [
        "stored",
        "duplicate",
        "deleted",
        "quarantined",
        "quarantined",
        "quarantined",
        "quarantined",
        "stored",
    ]
    assert [of_trace(spans, n).description for n in range(1, 9)] == [
        "",
        "",
        "",
        "type: is not one of call.initiated, call.ringing, call.answered, call.completed, call.failed, "
        "call.updated, recording.ready, transcript.ready",
        "the value is not JSON: invalid character (byte 0)",
        f"organization_id: there is no organization {stranger}",
        "PostgreSQL refuses it",
        "",
    ]
    assert [of_trace(spans, n).failed for n in range(1, 9)] == [False] * 3 + [True] * 4 + [False]
    assert await database.fetchval("SELECT count(*) FROM quarantined_records") == 4
    refusals = [one.attributes["error.type"] for one in collector.named("try") if one.failed]
    assert set(refusals) == {"CheckViolationError"}
    assert not [one for one in collector.spans if NUMBER[1:] in one.text or "anonymous" in one.text]

    again = [traced(11, value("call.initiated", from_number=NUMBER)), traced(12, value("call.ringing"))]
    await pipeline.publish(again)
    await until(lambda: collector.has(f"process {topic}", 10), "the spans of what was published again")
    spans = collector.named(f"process {topic}")
    assert [of_trace(spans, n).attributes["callfold.outcome"] for n in (11, 12)] == [
        "duplicate",
        "conflicting",
    ]
    assert not of_trace(spans, 12).failed


UNFOLLOWED: list[bytes | None] = [
    None,
    b"",
    b"\xff\xfe\x00",
    b"hello",
    traceparent(1, flags="00").encode(),
    traceparent(1, flags="zz").encode(),
    traceparent(1).encode() + b"-more",
    b"ff" + traceparent(1).encode()[2:],
    traceparent(0).encode(),
    traceparent(1).upper().encode() + b"\n\n",
    b"00-" + b"1" * 100_000,
    "00-\u0661".encode(),
]


async def test_only_what_is_sampled_and_well_formed_is_followed(
    pipeline: Pipeline, topic: str, database: Connection, collector: Collector
) -> None:
    hostile: list[Record] = [
        (CALL.bytes, value("call.ringing", id=str(n)), (("traceparent", header),))
        for n, header in enumerate(UNFOLLOWED)
    ]
    state = ("tracestate", b"\xc3\xbc=" + b"x" * 10_000)
    key, body, headers = traced(5, value("call.ringing", id="last"))
    await pipeline.publish([*hostile, (key, body, (state, *headers, *headers))])
    ingest = pipeline.start(traces_url=collector.url)
    await until(lambda: collector.has(f"process {topic}"), "the span of the last event")
    assert [span.trace_id for span in collector.named(f"process {topic}")] == [f"{5:032x}"]
    assert await database.fetchval("SELECT count(*) FROM call_events") == len(UNFOLLOWED) + 1

    await pipeline.publish(call(1))
    await pipeline.consumed()
    assert ingest.stop() == 0
    assert len(collector.named(f"{topic} process")) == 1, "a batch without a traced record has no trace"
    assert not ingest.said("opentelemetry"), "the library reports nothing of them"


async def test_a_batch_that_is_begun_again_shows_its_tries(
    pipeline: Pipeline, topic: str, database: Connection, collector: Collector
) -> None:
    """Another process creates its organization between the read and the write."""
    await pipeline.publish([traced(1, value("call.initiated"))])
    async with database.transaction():
        await database.execute("INSERT INTO organizations (id, name) VALUES ($1, 'Acme')", ORGANIZATION)
        pipeline.start(traces_url=collector.url)
        await until(lambda: database.fetchval(WAITS_FOR_LOCK), "ingest to wait for the other's end")
    await until(lambda: collector.has("store"), "the spans of the batch")
    first, second = sorted(collector.named("try"), key=lambda span: span.start)
    assert (first.failed, first.attributes) == (True, {"error.type": "Overtaken"})
    assert (second.failed, second.attributes) == (False, {})
    assert [span.parent_id for span in collector.named("read")] == [first.id, second.id]
    (span,) = collector.named(f"process {topic}")
    assert (span.attributes["callfold.outcome"], span.failed) == ("stored", False)
