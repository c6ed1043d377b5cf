"""Quarantine: where a record goes that can't become an event, with its bytes and the reason.

It holds no more than the calls themselves may: nothing of a deleted call, nothing older than its organization
keeps. Such a record is stored without its content, as a fact: where it came from, and which rule it breaks.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from typing import Final
from uuid import UUID, uuid5

from aiokafka import ConsumerRecord as Record

from shared.calls.named_call import NamedCall, named_call
from shared.calls.retention import kept_since
from shared.calls.zones import time_zone
from shared.database.connection import AnyConnection, Connection
from shared.database.locks import CALL_LOCKS, LOCK_BUCKETS

NO_TIMESTAMP: Final = -1
"""Kafka's, of a record without one."""
_NAMESPACE: Final = UUID("0f1b4f0e-6b0a-5c55-9d0c-3a1f6f3a7c11")

OF_DELETED_CALL: Final = "its call is deleted"
OF_DELETED_ORGANIZATION: Final = "its organization is deleted"
OLDER_THAN_KEPT: Final = "it is older than is kept"
OF_SEVERAL_ORGANIZATIONS: Final = "it names several organizations"
HAS_CONTENT: Final = "(key IS NOT NULL OR value IS NOT NULL OR cardinality(header_names) > 0)"
"""The condition, in SQL, that a quarantined record is stored with its content."""


@dataclass(frozen=True)
class BadRecord:
    """A record with the rule that it breaks, in a sentence; and the rule alone, without anything of the
    record, where the sentence has more."""

    record: Record
    reason: str
    rule: str | None = None

    @property
    def id(self) -> UUID:
        """One for each record of each topic that ever had this name: the time tells a topic made anew. Lines
        of a file have no time: the value tells another file of the same name."""
        record = self.record
        place = f"{record.topic}/{record.partition}/{record.offset}/{record.timestamp}"
        if record.timestamp == NO_TIMESTAMP:
            place += f"/{sha256(record.value or b'').hexdigest()}"
        return uuid5(_NAMESPACE, place)

    @cached_property
    def named(self) -> NamedCall:
        """The call that it names."""
        return named_call(self.record.key, self.record.value)


def readable(name: str) -> str:
    """A header's name as text that a database takes: what is none is written as `\\xff`."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace").replace("\0", "\\0")


async def hold_calls(connection: Connection, keys: Iterable[tuple[UUID, UUID]]) -> None:
    """Keeps deletes of these calls (organization and call) waiting until the caller's transaction ends. A
    delete that was first is committed afterwards, and the next statement sees its tombstone.

    To be called before the transaction locks any row."""
    if buckets := sorted({_bucket(*key) for key in keys}):
        await connection.execute(_HOLD, CALL_LOCKS, buckets)


async def hold_call_alone(connection: AnyConnection, organization_id: UUID, call_id: UUID) -> None:
    """The same for the delete itself: until the caller's transaction ends, nobody else holds the call."""
    await connection.execute(_HOLD_ALONE, CALL_LOCKS, _bucket(organization_id, call_id))


def _bucket(organization_id: UUID, call_id: UUID) -> int:
    return (organization_id.int ^ call_id.int) % LOCK_BUCKETS


async def write_quarantine(connection: Connection, bad_records: Sequence[BadRecord], now: datetime) -> None:
    """Stores the records within the caller's transaction, which holds their calls (`hold_calls`). A record
    that is stored already stays as it is. At `now` (aware) it is judged how old a record may be."""
    named = [bad.named for bad in bad_records]
    began = [
        retained_from(one, produced_at(bad.record.timestamp), now)
        for one, bad in zip(named, bad_records, strict=True)
    ]
    refusals = await _refusals(connection, named, began, now)
    await connection.executemany(
        _INSERT,
        [_row(bad, at, now, refusal) for bad, at, refusal in zip(bad_records, began, refusals, strict=True)],
    )


def _row(bad: BadRecord, began: datetime, now: datetime, refusal: str | None) -> tuple[object, ...]:
    """A record's row; with a `refusal`, without content, and retained from now on."""
    record = bad.record
    place = (bad.id, record.topic, record.partition, record.offset, produced_at(record.timestamp))
    if refusal is not None:
        content: tuple[object, ...] = (None, None, [], [])
        reason = f"{bad.rule or bad.reason}; stored without content, because {refusal}"
    else:
        names = [readable(name) for name, _ in record.headers]
        content = (record.key, record.value, names, [value for _, value in record.headers])
        reason = bad.reason
    return (
        *place,
        *content,
        reason.replace("\0", "\\0"),
        bad.named.organization_id,
        bad.named.call_id,
        began if refusal is None else now,
    )


def retained_from(named: NamedCall, produced: datetime | None, now: datetime) -> datetime:
    """When a record's retention began: at its event's own time, else the record's, and no later than now."""
    return min(named.timestamp or produced or now, now)


async def _refusals(
    connection: Connection, named: Sequence[NamedCall], began: Sequence[datetime], now: datetime
) -> list[str | None]:
    """Why each record is stored without content; None where it is stored with it."""
    deleted = await read_deleted(connection, [key for one in named for key in one.tombstones])
    since = await _kept_since(connection, named, now)
    refusals: list[str | None] = []
    for one, at in zip(named, began, strict=True):
        kept = since.get(one.organization_id)
        if len(one.organizations) > 1:
            refusals.append(OF_SEVERAL_ORGANIZATIONS)
        elif not deleted.isdisjoint(one.keys):
            refusals.append(OF_DELETED_CALL)
        elif not deleted.isdisjoint(one.tombstones):
            refusals.append(OF_DELETED_ORGANIZATION)
        else:
            refusals.append(OLDER_THAN_KEPT if kept is not None and at < kept else None)
    return refusals


async def read_deleted(connection: Connection, keys: Iterable[tuple[UUID, UUID]]) -> set[tuple[UUID, UUID]]:
    """Those of these calls (organization and call) that have a tombstone."""
    distinct = sorted(set(keys))
    if not distinct:
        return set()
    rows = await connection.fetch(_READ_DELETED, *zip(*distinct, strict=True))
    return {(organization_id, call_id) for organization_id, call_id in rows}


async def _kept_since(
    connection: Connection, named: Iterable[NamedCall], now: datetime
) -> dict[UUID | None, datetime]:
    """Since when the named organizations keep what they have, of those that have a retention; and, under
    None, since when records are kept that name no organization."""
    owners = {one.organization_id for one in named}
    rows = await connection.fetch(_READ_RETENTIONS, [owner for owner in owners if owner is not None])
    since: dict[UUID | None, datetime] = {
        owner: kept_since(now, time_zone(zone), days) for owner, zone, days in rows
    }
    if None in owners and (strictest := await strictest_kept_since(connection, now)) is not None:
        since[None] = strictest
    return since


async def strictest_kept_since(connection: Connection, now: datetime) -> datetime | None:
    """Since when records are kept that name no organization. They may be of any, and so are kept no longer
    than the organization with the shortest retention keeps its own; None where no organization has one."""
    rows = await connection.fetch(_READ_STRICTEST)
    return max((kept_since(now, time_zone(zone), days) for zone, days in rows), default=None)


def produced_at(timestamp_ms: int) -> datetime | None:
    """A record's timestamp; None where it has none, or one that no calendar has. 0 is that of a producer
    without a clock."""
    if timestamp_ms <= 0:
        return None
    try:
        return datetime.fromtimestamp(timestamp_ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return None


_HOLD: Final = "SELECT pg_advisory_xact_lock_shared($1, bucket) FROM unnest($2::integer[]) AS bucket"

_HOLD_ALONE: Final = "SELECT pg_advisory_xact_lock($1, $2)"

_INSERT: Final = """
INSERT INTO quarantined_records
    (id, topic, partition, "offset", produced_at, key, value, header_names, header_values, reason,
     organization_id, call_id, retained_from)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
ON CONFLICT (id) DO NOTHING
"""

_READ_DELETED: Final = """
SELECT organization_id, call_id FROM deleted_calls
JOIN unnest($1::uuid[], $2::uuid[]) AS key(organization_id, call_id) USING (organization_id, call_id)
"""

_READ_RETENTIONS: Final = """
SELECT id, time_zone, retention_days FROM organizations
WHERE retention_days IS NOT NULL AND id = ANY($1::uuid[])
"""

_READ_STRICTEST: Final = """
SELECT time_zone, min(retention_days) FROM organizations WHERE retention_days IS NOT NULL GROUP BY time_zone
"""
