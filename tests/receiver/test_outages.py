"""Kafka or the database is unreachable: no request is lost, and none is answered 2xx too early."""

import logging
import random
import signal
from collections.abc import Callable
from typing import Final
from uuid import uuid4

import httpx
import pytest

from services.ops.embedded.servers import Servers
from services.receiver.app import Receiver
from shared.database.connection import Connection
from shared.kafka.topic import ensure_topic
from shared.settings.receiver import ReceiverSettings
from shared.sources.source import Source
from tests.support.processes import until
from tests.support.receiving import (
    Clock,
    add_source,
    receiving,
    records,
    request_of,
    sample,
    send,
)

GIVEN: Final = sample("twilio/outbound_answered.json")


async def test_while_kafka_does_not_answer_requests_are_answered_503_and_then_taken_again(
    running: Servers,
    database: Connection,
    database_url: str,
    bootstrap: str,
    deliveries: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await add_source(database, GIVEN.source)
    clock = Clock(GIVEN.delivery.received_at)
    async with receiving(
        database_url, bootstrap, deliveries, clock=clock, receiver_kafka_seconds=0.5
    ) as client:
        running.kafka.send(signal.SIGSTOP)
        try:
            answers = [await send(client, GIVEN.source, request_of(GIVEN)) for _ in range(3)]
            assert {answer.status_code for answer in answers} == {503}
            assert {answer.headers["retry-after"] for answer in answers} == {"5"}
            assert (await client.get("/health/ready")).status_code == 503
            assert (await client.get("/health/live")).status_code == 200
        finally:
            running.kafka.send(signal.SIGCONT)

        async def taken() -> bool:
            return (await send(client, GIVEN.source, request_of(GIVEN))).status_code == 200

        await until(taken, "requests to be taken again")
        assert (await client.get("/health/ready")).status_code == 200
    stored = await records(bootstrap, deliveries)
    assert {record.value for record in stored} == {GIVEN.delivery.body}
    own = [record.getMessage() for record in caplog.records if record.name == "callfold.receiver"]
    assert [line.partition(":")[0].partition(" after")[0] for line in own] == [
        "cannot publish to Kafka",
        "publishes to Kafka again",
    ]


async def test_it_starts_without_kafka_and_without_a_topic(
    database: Connection, database_url: str, bootstrap: str, caplog: pytest.LogCaptureFixture
) -> None:
    await add_source(database, GIVEN.source)
    topic = f"later-{uuid4().hex[:8]}"
    for address, reason in (("127.0.0.1:1", "waits for Kafka: "), (bootstrap, f"there is no topic {topic}")):
        settings = ReceiverSettings(
            database_url=database_url,
            kafka_bootstrap=address,
            deliveries_topic=topic,
            receiver_kafka_seconds=1,
        )
        receiver = Receiver(settings)
        app = receiver.application()
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://receiver") as client,
        ):

            async def waits(reason: str = reason, receiver: Receiver = receiver) -> bool:
                return reason in (await receiver.why_waiting() or "")

            await until(waits, reason)
            answer = await send(client, GIVEN.source, request_of(GIVEN))
            assert answer.status_code == 503
            if address == bootstrap:
                await ensure_topic(bootstrap, topic, 1)

                async def ready(receiver: Receiver = receiver) -> bool:
                    return await receiver.why_waiting() is None

                await until(ready, "the topic to be found")


async def test_known_sources_take_requests_while_the_database_cannot_be_read(
    database: Connection,
    database_url: str,
    bootstrap: str,
    deliveries: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await add_source(database, GIVEN.source)
    clock = Clock(GIVEN.delivery.received_at)
    async with receiving(database_url, bootstrap, deliveries, clock=clock) as client:
        await database.execute("REVOKE SELECT ON sources FROM callfold_receiver")

        async def noticed() -> bool:
            return "cannot read the sources" in caplog.text

        await until(noticed, "the outage")
        assert (await send(client, GIVEN.source, request_of(GIVEN))).status_code == 200
        assert (await client.post(f"/hooks/{uuid4()}")).status_code == 404
        assert (await client.get("/health/ready")).status_code == 200
        await database.execute("GRANT SELECT ON sources TO callfold_receiver")
        added = Source(uuid4(), "added", "twilio", secrets=GIVEN.source.secrets, url=GIVEN.source.url)
        await add_source(database, added)

        async def known() -> bool:
            return (await send(client, added, request_of(GIVEN))).status_code == 200

        await until(known, "the new source")
    own = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(own) == 2


async def test_before_the_first_reading_requests_are_answered_503(bootstrap: str, deliveries: str) -> None:
    settings = ReceiverSettings(
        database_url="postgresql://postgres@127.0.0.1:1/none",
        kafka_bootstrap=bootstrap,
        deliveries_topic=deliveries,
    )
    app = Receiver(settings).application()
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://receiver") as client,
    ):
        answer = await send(client, GIVEN.source, request_of(GIVEN))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert (await client.get("/health/ready")).status_code == 503


async def test_a_body_that_the_broker_refuses_is_answered_413_and_harms_no_other(
    invented: Callable[..., Source], database: Connection, database_url: str, bootstrap: str
) -> None:
    topic = f"small-{uuid4().hex[:8]}"
    await ensure_topic(bootstrap, topic, 1, record_bytes_max=100_000)
    source = invented()
    await add_source(database, source)
    noise = random.Random(7).randbytes(200_000)
    async with receiving(database_url, bootstrap, topic) as client:
        assert (await client.post(f"/hooks/{source.id}", content=b"before")).status_code == 200
        for _ in range(2):
            answer = await client.post(f"/hooks/{source.id}", content=noise)
            assert answer.status_code == 413
            assert "max.message.bytes" in answer.json()["error"]
        assert (await client.post(f"/hooks/{source.id}", content=b"after")).status_code == 200
        assert (await client.get("/health/ready")).status_code == 200
        compressible = bytes(5_000_000)
        assert (await client.post(f"/hooks/{source.id}", content=compressible)).status_code == 200
    assert [record.value for record in await records(bootstrap, topic)] == [b"before", b"after", compressible]
