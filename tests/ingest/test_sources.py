"""Ingest reads the deliveries of sources, from the topic of deliveries and from topics of their own."""

from uuid import UUID, uuid4

import pytest

from services.ops.repair.redrive import redrive
from shared.calls.event import call_uuid
from shared.database.connection import Connection
from shared.kafka.topic import ensure_topic
from tests.support.events import NOON
from tests.support.pipeline import Pipeline
from tests.support.processes import publish, until
from tests.support.sources import add_source, deliveries, records, sample, scenario

ORGANIZATION = "SELECT serves FROM sources"


@pytest.fixture
async def deliveries_topic(bootstrap: str) -> str:
    """A topic of deliveries for this test."""
    name = f"call-deliveries-{uuid4().hex[:12]}"
    await ensure_topic(bootstrap, name, 2)
    return name


CALLS = "SELECT count(*) FROM calls"
QUARANTINED = "SELECT count(*) FROM quarantined_records"


async def _counts(database: Connection, statement: str, expected: int) -> bool:
    found: int = await database.fetchval(statement)
    return found == expected


async def test_a_new_source_takes_effect_without_a_restart(
    pipeline: Pipeline, database: Connection, deliveries_topic: str
) -> None:
    ingest = pipeline.start(deliveries_topic=deliveries_topic, sources_interval_seconds="0.2")
    call = scenario("twilio_outbound_answered")
    source_id = await add_source(database, call[0])
    requests = [one for one in call if one.source.dialect == "twilio"]
    await publish(pipeline.bootstrap, deliveries_topic, deliveries(source_id, requests))

    async def is_complete() -> bool:
        status: str = await database.fetchval("SELECT status FROM calls WHERE recording_url <> ''")
        return status == "completed"

    await until(is_complete, "the call to be stored")
    row = await database.fetchrow("SELECT external_id, duration, direction FROM calls")
    assert row is not None
    assert tuple(row) == ("CA27d140f79913a52b465193523be5da7c", 93, "outbound")
    await pipeline.assert_proved()
    assert ingest.stop() == 0


async def test_a_source_with_a_topic_of_its_own(
    pipeline: Pipeline, database: Connection, bootstrap: str
) -> None:
    topic = f"prices-{uuid4().hex[:8]}"
    await ensure_topic(bootstrap, topic, 1)
    price = sample("twilio/late_price")
    await add_source(database, price, topic=topic)
    await publish(bootstrap, topic, records([price]))
    pipeline.start(sources_interval_seconds="0.2")

    await until(lambda: _counts(database, CALLS, 1), "the price to be stored")
    organization_id = await database.fetchval(ORGANIZATION)
    row = await database.fetchrow("SELECT id, cost FROM calls")
    assert row is not None
    assert row["id"] == call_uuid(organization_id, "CAfdcdcc7f2eef90afd9694b4236b28520")
    assert float(row["cost"]) == 1.3
    await pipeline.assert_proved()


async def test_a_delivery_that_cannot_be_read_is_quarantined_with_its_source(
    pipeline: Pipeline, database: Connection, deliveries_topic: str
) -> None:
    one = sample("twilio/outbound_busy")
    source_id = await add_source(database, one)
    broken = one._replace(
        delivery=type(one.delivery)(
            b"CallSid=CA1&AccountSid=AC50c250fb11fff13190b6f5333b1e2ad2&CallStatus=odd&CallbackSource=x",
            one.delivery.received_at,
            one.delivery.headers,
            "POST",
            "/",
        )
    )
    await publish(
        pipeline.bootstrap,
        deliveries_topic,
        [*deliveries(source_id, [broken]), *deliveries(uuid4(), [one]), (None, b"{}", ())],
    )
    pipeline.start(deliveries_topic=deliveries_topic, sources_interval_seconds="0.2")

    await until(lambda: _counts(database, QUARANTINED, 3), "the deliveries to be quarantined")
    found = {
        row["reason"]: row["source_id"]
        for row in await database.fetch("SELECT reason, source_id FROM quarantined_records")
    }
    assert found["CallStatus: 'odd' is not a status that Twilio documents."] == source_id
    assert "The header callfold-source names no source." in found
    assert "The header callfold-source is missing or no UUID; the record is not a delivery." in found
    assert await _counts(database, CALLS, 0)


async def test_a_delivery_that_cannot_name_its_organization_waits_for_another_one(
    pipeline: Pipeline, database: Connection, bootstrap: str
) -> None:
    """A proxy's accounting record of an inbound call names no domain of a customer; its report does."""
    topic = f"proxy-{uuid4().hex[:8]}"
    await ensure_topic(bootstrap, topic, 1)
    nameless, named = sample("kamailio/acc_invite_408_inbound"), sample("kamailio/hook_failure_486")
    await add_source(database, nameless, topic=topic)
    ingest = pipeline.start(sources_interval_seconds="0.2")
    await publish(bootstrap, topic, records([nameless]))
    await until(lambda: _counts(database, QUARANTINED, 1), "the record to wait")
    row = await database.fetchrow("SELECT reason, waits_for FROM quarantined_records")
    assert row is not None
    assert tuple(row) == (
        "no delivery has named the organization of this call yet",
        "a84b4c76e66710",
    )
    await publish(bootstrap, topic, records([named]))
    await until(lambda: _counts(database, QUARANTINED, 0), "the waiting record to be stored")
    assert await database.fetchval("SELECT count(*) FROM call_events") == 2
    await pipeline.assert_proved()
    assert ingest.stop() == 0


async def test_a_value_that_is_mapped_later(
    pipeline: Pipeline, database: Connection, deliveries_topic: str
) -> None:
    one = sample("twilio/outbound_busy")
    source_id = await add_source(database, one)
    mapped = await database.fetchval("SELECT organizations FROM sources")
    await database.execute(
        """UPDATE sources SET organizations = '{"AC0": "00000000-0000-0000-0000-000000000001"}'"""
    )
    pipeline.start(deliveries_topic=deliveries_topic, sources_interval_seconds="0.2")
    await publish(pipeline.bootstrap, deliveries_topic, deliveries(source_id, [one]))
    await until(lambda: _counts(database, QUARANTINED, 1), "the delivery to wait")
    await database.execute("UPDATE sources SET organizations = $1, changed_at = now()", mapped)
    await until(lambda: _counts(database, CALLS, 1), "the delivery to be stored")
    assert await _counts(database, QUARANTINED, 0)
    await pipeline.assert_proved()


async def test_a_domain_that_is_mapped_later(
    pipeline: Pipeline, database: Connection, bootstrap: str
) -> None:
    """The mapped domains are the own ones: a call between two others, and a step of one, are retried."""
    topic = f"proxy-{uuid4().hex[:8]}"
    await ensure_topic(bootstrap, topic, 1)
    begin, step = sample("kamailio/hook_invite_outbound"), sample("kamailio/hook_failure_486")
    await add_source(database, begin, topic=topic)
    mapped = await database.fetchval("SELECT organizations FROM sources")
    await database.execute(
        """UPDATE sources SET settings = '{}',
        organizations = '{"x.example": "00000000-0000-0000-0000-000000000001"}'"""
    )
    pipeline.start(sources_interval_seconds="0.2")
    await publish(bootstrap, topic, records([begin, step]))
    await until(lambda: _counts(database, QUARANTINED, 2), "the records to wait")
    reasons = await database.fetch("SELECT reason FROM quarantined_records ORDER BY reason")
    assert [reason for (reason,) in reasons] == [
        "Neither 'bakery.example' nor 'trunk.example' is an own domain.",
        "no delivery has named the organization of this call yet",
    ]
    await database.execute("UPDATE sources SET organizations = $1, changed_at = now()", mapped)
    await until(lambda: _counts(database, CALLS, 2), "the records to be stored")
    assert await _counts(database, QUARANTINED, 0)
    await pipeline.assert_proved()


async def test_numbers_give_calls_their_id_and_direction(
    pipeline: Pipeline, database: Connection, deliveries_topic: str
) -> None:
    one = sample("twilio/outbound_busy")
    source_id = await add_source(database, one)
    organization_id = await database.fetchval(ORGANIZATION)
    number_id = uuid4()
    await database.execute(
        "INSERT INTO phone_numbers VALUES ($1, '+15550100', $2)", organization_id, number_id
    )
    await publish(pipeline.bootstrap, deliveries_topic, deliveries(source_id, [one]))
    pipeline.start(deliveries_topic=deliveries_topic, sources_interval_seconds="0.2")
    await until(lambda: _counts(database, CALLS, 1), "the call to be stored")
    row = await database.fetchrow("SELECT phone_number_id, direction FROM calls")
    assert row is not None
    assert tuple(row) == (number_id, "outbound")
    await pipeline.assert_proved()


async def test_a_faulty_element_of_a_batch_is_quarantined_alone_and_retried_alone(
    pipeline: Pipeline, database: Connection, bootstrap: str
) -> None:
    """Two elements become events. The third names a value that is mapped later, and comes in then."""
    topic = f"batches-{uuid4().hex[:8]}"
    await ensure_topic(bootstrap, topic, 1)
    batch = sample("envelopes/array_one_broken")
    other = b'{"event":"request","time":"1795514400.5","dlg_callid":"env-2","org":"other","method":"INVITE"}'
    body = (batch.delivery.body or b"").replace(b'{"hello":"world"}', other)
    await add_source(database, batch, topic=topic)
    ingest = pipeline.start(sources_interval_seconds="0.2")
    await publish(bootstrap, topic, [(None, body, ())])
    await until(lambda: _counts(database, CALLS, 1), "two elements to be stored")
    row = await database.fetchrow("SELECT value, reason, organization_id FROM quarantined_records")
    assert row is not None
    assert row["reason"] == "org: 'other' is mapped to no organization of the source."
    assert b"env-2" in row["value"]
    assert b"env-1" not in row["value"]
    await database.execute(
        "UPDATE sources SET changed_at = now(), organizations = organizations || $1::jsonb",
        '{"other": "00000000-0000-0000-0000-000000000002"}',
    )
    await until(lambda: _counts(database, CALLS, 2), "the third element to be stored")
    assert await _counts(database, QUARANTINED, 0)
    await pipeline.assert_proved()
    assert ingest.stop() == 0


async def test_a_source_that_is_disabled_and_enabled_is_read_again(
    pipeline: Pipeline, database: Connection, bootstrap: str
) -> None:
    topic = f"prices-{uuid4().hex[:8]}"
    await ensure_topic(bootstrap, topic, 1)
    price = sample("twilio/late_price")
    await add_source(database, price, topic=topic)
    ingest = pipeline.start(sources_interval_seconds="0.2")
    await publish(bootstrap, topic, records([price]))
    await until(lambda: _counts(database, CALLS, 1), "it to be read")
    await database.execute("UPDATE sources SET enabled = false")
    await until(lambda: ingest.said(f"stops reading the topic {topic}"), "it to be left")
    other = price.delivery._replace(body=(price.delivery.body or b"").replace(b"CAfdc", b"CAabc"))
    await publish(bootstrap, topic, records([price._replace(delivery=other)]))
    await database.execute("UPDATE sources SET enabled = true")
    await until(lambda: _counts(database, CALLS, 2), "it to be read again")
    assert ingest.stop() == 0


async def test_a_faulty_element_stays_when_its_whole_delivery_is_retried(
    pipeline: Pipeline, database: Connection, bootstrap: str
) -> None:
    """A delivery of an unknown dialect is kept whole. Retried later, it gives two events and a faulty
    element."""
    topic = f"batches-{uuid4().hex[:8]}"
    await ensure_topic(bootstrap, topic, 1)
    batch = sample("envelopes/array_one_broken")
    await add_source(database, batch, topic=topic)
    organization_id = UUID("d343affd-3247-52e1-b24e-c3c396b0c1a6")
    await database.execute("INSERT INTO organizations (id, name) VALUES ($1, 'Acme')", organization_id)
    await database.execute("UPDATE sources SET dialect = 'of a later version'")
    ingest = pipeline.start(sources_interval_seconds="0.2")
    await publish(bootstrap, topic, records([batch]))
    await until(lambda: _counts(database, QUARANTINED, 1), "the delivery to be kept whole")
    assert ingest.stop() == 0
    await database.execute("UPDATE sources SET dialect = 'kamailio'")
    id_ = await database.fetchval("SELECT id FROM quarantined_records")
    for _ in range(2):
        assert await redrive(database, [id_], NOON) is not None
    assert await database.fetchval("SELECT count(*) FROM call_events") == 2
    row = await database.fetchrow("SELECT id, value FROM quarantined_records")
    assert row is not None
    assert (row["id"] != id_, row["value"]) == (True, b'{"hello":"world"}')
    await pipeline.assert_proved()
