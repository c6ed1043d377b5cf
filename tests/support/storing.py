"""Batches for the store: what is read, and what is not written yet."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from aiokafka import ConsumerRecord

from shared.changes import Arrival, Changes, TouchedCall, changes, group
from shared.database import Connection
from shared.event import Event
from shared.store import read_known, store
from tests.support.events import NOON


def record(value: bytes | None = b"", offset: int = 0) -> Any:
    return ConsumerRecord(
        "topic", 0, offset, 0, 0, b"key", value, None, 0, len(value or b""), (("name", b"said"),)
    )


def arrivals(*events: Event) -> Sequence[Arrival]:
    return [(record(event.payload.encode(), offset=n), event) for n, event in enumerate(events)]


async def prepared(connection: Connection, *events: Event) -> Changes:
    """A batch that is read and folded, and not yet written."""
    by_call = group(arrivals(*events))
    organizations, known = await read_known(connection, list(by_call))
    return changes([TouchedCall(*pair) for pair in zip(by_call.values(), known, strict=True)], organizations)


async def stored(connection: Connection, *events: Event, now: datetime = NOON) -> Changes:
    """A batch that is stored at this time."""
    return await store(connection, arrivals(*events), [], now=now)


async def waits_for_a_lock(connection: Connection) -> bool:
    """Whether anybody on the server does."""
    return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"))
