"""A consumer of the topic of calls, which rebuilds the calls from the topic alone."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer

from shared.calls.shown_call import SHOWN_FIELDS, shown_call
from shared.database.connection import Connection
from shared.encoding import encode
from tests.support.processes import until


class Told(NamedTuple):
    """One record of the topic."""

    key: str
    call: dict[str, Any] | None
    headers: dict[str, str]


class TopicOfCalls:
    """A consumer of committed records, with the records in their order, and the last one of each key."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self.told: list[Told] = []
        self.calls: dict[str, dict[str, Any]] = {}

    async def read(self) -> None:
        """Reads the new records."""
        for records in (await self._consumer.getmany(timeout_ms=50)).values():
            for record in records:
                headers = {name: value.decode() for name, value in record.headers}
                call = None if record.value is None else json.loads(record.value)
                self.told.append(Told(record.key.decode(), call, headers))
                if call is None:
                    self.calls.pop(record.key.decode(), None)
                else:
                    self.calls[record.key.decode()] = call

    async def equals(self, database: Connection) -> bool:
        """Whether the topic has exactly the stored calls, in the state that the API shows."""
        await self.read()
        return self.calls == await stored_calls(database)

    async def until_equal(self, database: Connection) -> None:
        """Returns when the topic has exactly the stored calls."""
        await until(lambda: self.equals(database), "the topic to have the stored calls")

    def revisions(self, key: str) -> list[int | None]:
        """The revisions of a call in the order of the topic; None for a deletion."""
        return [
            int(told.headers["revision"]) if told.call is not None else None
            for told in self.told
            if told.key == key
        ]


async def stored_calls(database: Connection) -> dict[str, dict[str, Any]]:
    """The stored calls, as the topic must have them."""
    rows = await database.fetch(f"SELECT {', '.join(SHOWN_FIELDS)} FROM calls")  # noqa: S608
    return {f"{row['organization_id']}:{row['id']}": json.loads(encode(shown_call(row))) for row in rows}


@asynccontextmanager
async def topic_of_calls(bootstrap: str, topic: str) -> AsyncIterator[TopicOfCalls]:
    """A consumer of the whole topic for the duration of the block."""
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",
    )
    await consumer.start()
    try:
        yield TopicOfCalls(consumer)
    finally:
        async with asyncio.timeout(5):
            await consumer.stop()
