"""Redrive: retries quarantined records as if they arrived now."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from aiokafka import ConsumerRecord

from services.ingest.arrivals import Sorted, refused_records, sort_out
from services.ingest.deliveries import place_all, sort_deliveries
from shared.calls.named_call import named_call
from shared.database.connection import Connection
from shared.secret_box import SecretBox
from shared.store.batch import Overtaken, read_known, write
from shared.store.changes import changes, group
from shared.store.quarantine import NO_TIMESTAMP, BadRecord, hold_calls, retained_from
from shared.store.sources import KnownSources, read_known_sources


@dataclass(frozen=True)
class Redriven:
    """The outcomes of the retried records."""

    retried: int = 0
    accepted: int = 0
    still_quarantined: int = 0

    def __add__(self, other: "Redriven") -> "Redriven":
        return Redriven(
            self.retried + other.retried,
            self.accepted + other.accepted,
            self.still_quarantined + other.still_quarantined,
        )


async def redrive_once(
    connection: Connection,
    ids: Sequence[UUID],
    now: datetime,
    deliveries_topic: str,
    *,
    create_organizations: bool = False,
    known: KnownSources | None = None,
) -> Redriven:
    """Retries these quarantined records, if they still exist. The transaction that stores a record also
    removes it from the quarantine. A record that is still invalid stays, with the reason that holds at `now`
    (aware). A record without a value stays unchanged: it is stored without content, or never had any.
    `known` are the sources, which are read if they are not given.

    Raises Overtaken, TooLarge and asyncpg's errors; nothing is written then."""
    without_value = await connection.fetchval(_HOW_MANY_WITHOUT_VALUE, ids)
    rows = await connection.fetch(_READ, ids)
    records = [_record(row) for row in rows]
    found = await _sorted(connection, rows, records, now, deliveries_topic, known)
    organizations, touched = await read_known(connection, group(event for _, event in found.arrivals))
    batch = changes(touched, organizations, now=now, create_organizations=create_organizations)
    bad_records = [*found.bad_records, *refused_records(found.arrivals, batch.refused, found.origins)]
    bad = {id(one.record): one for one in bad_records}
    # A delivery that was kept whole may have a faulty element, which is kept alone from now on.
    own = set(map(id, records))
    elements = [one for one in bad_records if id(one.record) not in own]
    accepted = [row["id"] for row, record in zip(rows, records, strict=True) if id(record) not in bad]
    still = [
        _still(row, bad[id(record)]) for row, record in zip(rows, records, strict=True) if id(record) in bad
    ]
    held = [
        *(key for one in records for key in named_call(one.key, one.value).tombstones),
        *((event.organization_id, event.call_id) for _, event in found.arrivals),
        *(key for one in elements for key in one.named.tombstones),
    ]
    async with connection.transaction():
        await hold_calls(connection, held)
        if len(await connection.fetch(_LOCK, [row["id"] for row in rows])) < len(rows):
            raise Overtaken("a record was discarded or accepted meanwhile")
        await write(connection, batch, elements, now=now, named=found.named)
        await connection.execute(_ACCEPTED, accepted)
        if still:
            await connection.execute(_STILL_QUARANTINED, *map(list, zip(*still, strict=True)))
    return Redriven(len(rows) + without_value, len(accepted), len(still) + without_value)


def _still(row: Any, bad: BadRecord) -> tuple[object, ...]:
    """The columns of a record that stays, and that its present reason decides."""
    reason = bad.reason.replace("\0", "\\0")
    named = bad.named
    if bad.source_id is None or named.organization_id is None:
        return row["id"], reason, bad.waits_for, row["organization_id"], row["call_id"], row["retained_from"]
    began = retained_from(named, row["produced_at"], row["quarantined_at"])
    return row["id"], reason, bad.waits_for, named.organization_id, named.call_id, began


async def _sorted(
    connection: Connection,
    rows: Sequence[Any],
    records: Sequence[ConsumerRecord],
    now: datetime,
    deliveries_topic: str,
    known: KnownSources | None,
) -> Sorted:
    """The content of these records: events, deliveries, or bad records."""
    pairs = list(zip(rows, records, strict=True))
    arrivals, bad_records = await sort_out([one for row, one in pairs if row["source_id"] is None], now)
    found = Sorted(arrivals, bad_records)
    deliveries = [one for row, one in pairs if row["source_id"] is not None]
    if not deliveries:
        return found
    # No secret is needed: a delivery was verified before it was kept.
    known = known or await read_known_sources(connection, SecretBox([]))
    told = await sort_deliveries(deliveries, known, now, deliveries_topic)
    await place_all(connection, told, now)
    told.arrivals = [*arrivals, *told.arrivals]
    told.bad_records = _once([*bad_records, *told.bad_records])
    return told


def _once(bad_records: Sequence[BadRecord]) -> list[BadRecord]:
    """The first reason of each record."""
    first: dict[int, BadRecord] = {}
    for bad in bad_records:
        first.setdefault(id(bad.record), bad)
    return list(first.values())


def _record(row: Any) -> ConsumerRecord:
    """The record as it arrived, as far as the quarantine keeps it."""
    headers = tuple(zip(row["header_names"], row["header_values"], strict=True))
    place_in_log = row["topic"], row["partition"], row["offset"]
    produced = row["produced_at"]
    timestamp_ms = NO_TIMESTAMP if produced is None else round(produced.timestamp() * 1000)
    return ConsumerRecord(*place_in_log, timestamp_ms, 0, row["key"], row["value"], None, -1, -1, headers)


NO_VALUE: Final = "the record has no value"
"""The reason with which an older version quarantined a tombstone of log compaction. Other rows without a
value record a fact without content."""

_HOW_MANY_WITHOUT_VALUE: Final = f"""
SELECT count(*) FROM quarantined_records
WHERE id = ANY($1::uuid[]) AND value IS NULL AND reason <> '{NO_VALUE}'
"""

_READ: Final = f"""
SELECT * FROM quarantined_records
WHERE id = ANY($1::uuid[]) AND (value IS NOT NULL OR reason = '{NO_VALUE}') ORDER BY id
"""

_LOCK: Final = "SELECT id FROM quarantined_records WHERE id = ANY($1::uuid[]) ORDER BY id FOR UPDATE"

_ACCEPTED: Final = "DELETE FROM quarantined_records WHERE id = ANY($1::uuid[])"

_STILL_QUARANTINED: Final = """
UPDATE quarantined_records AS bad SET reason = now.reason, waits_for = now.waits_for,
    organization_id = now.organization_id, call_id = now.call_id, retained_from = now.retained_from
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::uuid[], $6::timestamptz[])
    AS now(id, reason, waits_for, organization_id, call_id, retained_from)
WHERE bad.id = now.id
"""
