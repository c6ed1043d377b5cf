"""Redrive: retries quarantined records as if they arrived now."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from aiokafka import ConsumerRecord

from services.ingest.arrivals import refused_records, sort_out
from services.ops.repair.retry_overtaken import until_not_overtaken
from shared.calls.named_call import named_call
from shared.database.connection import REFUSAL_TYPES, Connection
from shared.in_halves import in_halves
from shared.store.batch import Overtaken, TooLarge, read_known, write
from shared.store.changes import changes, group
from shared.store.quarantine import hold_calls


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


async def redrive(connection: Connection, ids: Sequence[UUID], now: datetime) -> Redriven:
    """Retries these quarantined records, if they still exist. The transaction that stores a record also
    removes it from the quarantine. A record that is still invalid stays, with the reason that holds at `now`
    (aware). A record without a value stays unchanged: it is stored without content, or never had any. Raises
    asyncpg's errors, and Failure after too many conflicts with other writers."""

    async def attempt(some: Sequence[UUID]) -> Redriven:
        try:
            return await until_not_overtaken(lambda: _redrive_once(connection, some, now))
        except REFUSAL_TYPES as refusal:
            if len(some) > 1:
                raise
            await connection.execute(_STILL_QUARANTINED, some, [f"PostgreSQL refuses it: {refusal}"])
            return Redriven(1, 0, 1)

    return sum(await in_halves(ids, attempt, (TooLarge, *REFUSAL_TYPES)), Redriven())


async def _redrive_once(connection: Connection, ids: Sequence[UUID], now: datetime) -> Redriven:
    without_value = await connection.fetchval(_HOW_MANY_WITHOUT_VALUE, ids)
    rows = await connection.fetch(_READ, ids)
    records = [_record(row) for row in rows]
    arrivals, bad_records = await sort_out(records, now)
    organizations, touched = await read_known(connection, group(event for _, event in arrivals))
    batch = changes(touched, organizations, now=now, create_organizations=False)
    bad_records += refused_records(arrivals, batch.refused)
    reasons = {id(bad.record): bad.reason for bad in bad_records}
    accepted = [row["id"] for row, record in zip(rows, records, strict=True) if id(record) not in reasons]
    still_quarantined = {
        row["id"]: reasons[id(record)]
        for row, record in zip(rows, records, strict=True)
        if id(record) in reasons
    }
    async with connection.transaction():
        await hold_calls(
            connection, [key for one in records for key in named_call(one.key, one.value).tombstones]
        )
        if len(await connection.fetch(_LOCK, [row["id"] for row in rows])) < len(rows):
            raise Overtaken("a record was discarded or accepted meanwhile")
        await write(connection, batch, [])
        await connection.execute(_ACCEPTED, accepted)
        await connection.execute(
            _STILL_QUARANTINED, list(still_quarantined), list(still_quarantined.values())
        )
    return Redriven(len(rows) + without_value, len(accepted), len(still_quarantined) + without_value)


def _record(row: Any) -> ConsumerRecord:
    """The record as it arrived, as far as the quarantine keeps it."""
    headers = tuple(zip(row["header_names"], row["header_values"], strict=True))
    place = row["topic"], row["partition"], row["offset"]
    return ConsumerRecord(*place, -1, 0, row["key"], row["value"], None, -1, -1, headers)


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
UPDATE quarantined_records AS bad SET reason = now.reason
FROM unnest($1::uuid[], $2::text[]) AS now(id, reason)
WHERE bad.id = now.id AND bad.reason <> now.reason
"""
