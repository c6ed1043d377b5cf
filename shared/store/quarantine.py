"""Quarantine: stores bad records, each with its bytes and the reason.

It obeys the limits of the calls themselves: no content of a deleted call, and none older than its
organization's retention. Such a record is stored without its content: only its position and the rule that it
breaks.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid5

from shared.calls.named_call import NamedCall, named_call
from shared.calls.retention import kept_since
from shared.calls.zones import time_zone
from shared.database.connection import AnyConnection, Connection
from shared.database.held_locks import hold_lock_of_calls, share_locks_of_calls
from shared.database.locks import LOCK_BUCKETS

if TYPE_CHECKING:
    # The API deletes quarantined records, and speaks to no broker.
    from aiokafka import ConsumerRecord as Record

NO_TIMESTAMP: Final = -1
"""Kafka's value for a record without a timestamp."""
_NAMESPACE: Final = UUID("0f1b4f0e-6b0a-5c55-9d0c-3a1f6f3a7c11")

OF_DELETED_CALL: Final = "its call is deleted"
OF_DELETED_ORGANIZATION: Final = "its organization is deleted"
OLDER_THAN_KEPT: Final = "it is older than the retention"
OF_SEVERAL_ORGANIZATIONS: Final = "it names several organizations"
HAS_CONTENT: Final = "(key IS NOT NULL OR value IS NOT NULL OR cardinality(header_names) > 0)"
"""The condition, in SQL, that a quarantined record is stored with its content."""


@dataclass(frozen=True)
class BadRecord:
    """A record with the reason, one sentence. `rule` is the reason without any content of the record, if the
    sentence contains some."""

    record: "Record"
    reason: str
    rule: str | None = None
    source_id: UUID | None = None
    """The source of a delivery; None for a record in callfold's own form."""
    waits_for: str | None = None
    """The call in that source, if another of its deliveries must name the call's organization first."""
    element: int | None = None
    """The number of an element that is kept alone, of a delivery with several."""
    calls: NamedCall | None = None
    """The calls of a delivery, as far as its source names them."""

    @property
    def id(self) -> UUID:
        """The same for each delivery of a record, and unique among all topics that ever had this name: the
        timestamp distinguishes a topic that was created again. Lines of a file have no timestamp: the value
        distinguishes another file of the same name."""
        record = self.record
        place = f"{record.topic}/{record.partition}/{record.offset}/{record.timestamp}"
        if record.timestamp == NO_TIMESTAMP:
            place += f"/{sha256(record.value or b'').hexdigest()}"
        if self.element is not None:
            place += f"/{self.element}"
        return uuid5(_NAMESPACE, place)

    @cached_property
    def named(self) -> NamedCall:
        """The call that the record names. A delivery names only the calls that its source places."""
        if self.source_id is not None:
            return self.calls or NamedCall()
        return named_call(self.record.key, self.record.value)


def readable(name: str) -> str:
    """A header's name as text that PostgreSQL accepts. Bytes that are not UTF-8 are written as `\xff`."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace").replace("\0", "\\0")


async def hold_calls(connection: Connection, keys: Iterable[tuple[UUID, UUID]]) -> None:
    """Makes deletes of these calls (organization and call) wait until the caller's transaction ends. If a
    delete came first, this waits until it commits, and the next statement sees its tombstone.

    Call it before the transaction locks any row."""
    if buckets := sorted({_bucket(*key) for key in keys}):
        await share_locks_of_calls(connection, buckets)


async def hold_call_alone(connection: AnyConnection, organization_id: UUID, call_id: UUID) -> None:
    """The same lock for the delete, held exclusively until the caller's transaction ends."""
    await hold_lock_of_calls(connection, _bucket(organization_id, call_id))


def _bucket(organization_id: UUID, call_id: UUID) -> int:
    return (organization_id.int ^ call_id.int) % LOCK_BUCKETS


async def write_quarantine(connection: Connection, bad_records: Sequence[BadRecord], now: datetime) -> None:
    """Stores the records within the caller's transaction, which holds their calls (`hold_calls`). A record
    stored earlier stays as it is. Retention is judged at `now` (aware)."""
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
    """A record's row. With a `refusal`, it has no content and is retained from now on."""
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
        bad.source_id,
        bad.waits_for if refusal is None else None,
    )


def retained_from(named: NamedCall, produced: datetime | None, now: datetime) -> datetime:
    """When a record's retention began: at its event's timestamp, otherwise the record's, and not later than
    now."""
    return min(named.timestamp or produced or now, now)


async def _refusals(
    connection: Connection, named: Sequence[NamedCall], began: Sequence[datetime], now: datetime
) -> list[str | None]:
    """Why each record is stored without content; None for a record stored with its content."""
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
    """The calls among these (organization and call) that have a tombstone."""
    distinct = sorted(set(keys))
    if not distinct:
        return set()
    rows = await connection.fetch(_READ_DELETED, *zip(*distinct, strict=True))
    return {(organization_id, call_id) for organization_id, call_id in rows}


async def _kept_since(
    connection: Connection, named: Iterable[NamedCall], now: datetime
) -> dict[UUID | None, datetime]:
    """The instant since which each named organization with a retention keeps records. None as a key stands
    for records that name no organization."""
    owners = {one.organization_id for one in named}
    rows = await connection.fetch(_READ_RETENTIONS, [owner for owner in owners if owner is not None])
    since: dict[UUID | None, datetime] = {
        owner: kept_since(now, time_zone(zone), days) for owner, zone, days in rows
    }
    if None in owners and (strictest := await strictest_kept_since(connection, now)) is not None:
        since[None] = strictest
    return since


async def strictest_kept_since(connection: Connection, now: datetime) -> datetime | None:
    """The instant since which records that name no organization are kept. They may belong to any, so the
    shortest retention of all organizations applies. None if no organization has a retention."""
    rows = await connection.fetch(_READ_STRICTEST)
    return max((kept_since(now, time_zone(zone), days) for zone, days in rows), default=None)


def produced_at(timestamp_ms: int) -> datetime | None:
    """A record's timestamp; None if it has none or one outside the calendar. 0 comes from a producer without
    a clock."""
    if timestamp_ms <= 0:
        return None
    try:
        return datetime.fromtimestamp(timestamp_ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return None


_INSERT: Final = """
INSERT INTO quarantined_records
    (id, topic, partition, "offset", produced_at, key, value, header_names, header_values, reason,
     organization_id, call_id, retained_from, source_id, waits_for)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
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
