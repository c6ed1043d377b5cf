"""The receiver, served in this process from a real database to a real broker; its sources and its topic."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import httpx
import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka import ConsumerRecord as Record

from services.ops.sources.sample import Sample, sample_of
from services.receiver.app import Receiver
from shared.database.connection import Connection
from shared.database.roles import RECEIVER
from shared.secret_box import SecretBox, new_key
from shared.settings.receiver import ReceiverSettings
from shared.sources.source import Source
from tests.support.processes import until
from tests.support.repository import ROOT
from tests.support.roles import as_role

SAMPLES: Final = ROOT / "tests" / "sources" / "samples"
KEY: Final = new_key()
"""The key of the tests' secrets."""
NOT_SENT: Final = frozenset({"host", "content-length", "connection", "accept-encoding", "transfer-encoding"})


def sample(name: str) -> Sample:
    """The source and the request of a file below tests/sources/samples."""
    content: dict[str, Any] = json.loads((SAMPLES / name).read_text(), parse_float=str)
    return sample_of(content)


async def add_source(database: Connection, source: Source, *, enabled: bool = True, key: str = KEY) -> None:
    """Stores a source, or replaces it."""
    await database.execute("DELETE FROM sources WHERE id = $1 OR name = $2", source.id, source.name)
    await database.execute(
        "INSERT INTO sources (id, name, dialect, serves, organizations, secrets, settings, url, topic, "
        "enabled) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        source.id,
        source.name,
        source.dialect,
        source.organization,
        msgspec.json.encode(dict(source.organizations)).decode(),
        SecretBox([key]).encrypted(source.secrets),
        msgspec.json.encode(dict(source.settings)).decode(),
        source.url,
        source.topic,
        enabled,
    )


@dataclass(frozen=True)
class Request:
    """A request to a source, as a test sends it."""

    method: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    def to(self, source: Source) -> str:
        """The path and query of this request to the source."""
        return f"/hooks/{source.id}" + (f"?{self.query}" if self.query else "")


def request_of(given: Sample) -> Request:
    """The request that a sample holds, without the headers that a client adds."""
    delivery = given.delivery
    headers = {name: value for name, value in delivery.headers.items() if name not in NOT_SENT}
    return Request(delivery.method, delivery.query, headers, delivery.body or b"")


async def send(client: httpx.AsyncClient, source: Source, request: Request) -> httpx.Response:
    """The answer to this request."""
    return await client.request(
        request.method, request.to(source), headers=dict(request.headers), content=request.body
    )


class Clock:
    """The receiver's clock, which stands still."""

    def __init__(self, now: datetime = datetime(2026, 11, 24, 12, tzinfo=UTC)) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@asynccontextmanager
async def receiving(
    database_url: str,
    bootstrap: str,
    topic: str,
    *,
    clock: Clock | None = None,
    sns: httpx.AsyncBaseTransport | None = None,
    **settings: Any,
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a receiver that is ready. `sns` answers its requests to Amazon SNS."""
    read = ReceiverSettings(
        database_url=as_role(database_url, RECEIVER),
        kafka_bootstrap=bootstrap,
        deliveries_topic=topic,
        **{"secrets_key": KEY, "receiver_sources_seconds": 0.05, **settings},
    )
    receiver = Receiver(read, clock=clock or Clock(), transport=sns)
    app = receiver.application()
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://receiver"
        ) as client,
    ):

        async def ready() -> bool:
            return await receiver.why_waiting() is None

        await until(ready, "the receiver to be ready")
        yield client


async def records(bootstrap: str, topic: str) -> list[Record]:
    """All records of a topic, in the order of their timestamps."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, n) for n in await _partitions(consumer, topic)]
        ends = await consumer.end_offsets(partitions)
        consumer.assign(partitions)
        found: list[Record] = []
        while any([await consumer.position(each) < ends[each] for each in partitions]):
            for some in (await consumer.getmany(timeout_ms=200)).values():
                found += some
        return sorted(found, key=lambda record: record.timestamp)
    finally:
        await consumer.stop()


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    consumer.subscribe([topic])
    found: set[int] = set()

    async def known() -> bool:
        found.update(consumer.partitions_for_topic(topic) or ())
        return bool(found)

    await until(known, "the topic's partitions")
    consumer.unsubscribe()
    return found


def with_secrets(source: Source, change: str) -> Source:
    """The source with every secret changed."""
    return replace(source, secrets={name: f"{value}{change}" for name, value in source.secrets.items()})
