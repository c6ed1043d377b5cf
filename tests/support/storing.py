"""Batches for the store, read and not yet written."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from aiokafka import ConsumerRecord

from services.ingest.arrivals import Arrival, refused_records
from shared.calls.event import Event
from shared.database.connection import Connection
from shared.store.batch import STORED_BYTES_MAX, read_known, write
from shared.store.by_shard import ShardOf
from shared.store.changes import Changes, changes, group
from shared.store.quarantine import BadRecord
from tests.support.events import NOON


def record(value: bytes | None = b"", offset: int = 0) -> Any:
    return ConsumerRecord(
        "topic", 0, offset, 0, 0, b"key", value, None, 0, len(value or b""), (("name", b"said"),)
    )


def arrivals(*events: Event) -> Sequence[Arrival]:
    return [(record(event.payload.encode(), offset=n), event) for n, event in enumerate(events)]


async def prepared(connection: Connection, *events: Event) -> Changes:
    """A batch that has been read and folded, but not written."""
    organizations, touched = await read_known(connection, group(events))
    return changes(touched, organizations)


async def store(
    connection: Connection,
    arrivals: Sequence[Arrival],
    bad_records: Sequence[BadRecord],
    *,
    now: datetime,
    create_organizations: bool = True,
    stored_bytes_max: int = STORED_BYTES_MAX,
    shard_of: ShardOf | None = None,
) -> Changes:
    """Reads, folds and writes a batch, as ingest's lane does."""
    arrived = group(event for _, event in arrivals)
    organizations, touched = await read_known(
        connection, arrived, stored_bytes_max=stored_bytes_max, shard_of=shard_of
    )
    batch = changes(touched, organizations, now=now, create_organizations=create_organizations)
    bad = [*bad_records, *refused_records(arrivals, batch.refused)]
    await write(connection, batch, bad, now=now, compact_payloads=True, shard_of=shard_of)
    return batch


async def stored(connection: Connection, *events: Event, now: datetime = NOON) -> Changes:
    """Stores a batch at this time."""
    return await store(connection, arrivals(*events), [], now=now)


async def waits_for_a_lock(connection: Connection) -> bool:
    """Whether any session on the server waits for a lock."""
    return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"))
