"""Quarantined records tried again, as if they came now."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import asyncpg
from aiokafka import ConsumerRecord

from services.ingest.arrivals import sort_out
from services.ops.overtaken import until_not_overtaken
from shared.changes import TouchedCall, changes, group
from shared.database import Connection
from shared.store import TooLarge, read_known, write


async def redrive(
    connection: Connection, rows: Sequence[Any], now: datetime, *, create_organizations: bool = True
) -> int:
    """Tries these rows of the quarantine again; how many were let in. They leave the quarantine in the
    transaction that stores them; what is still bad stays, with the reason that holds at `now` (aware).
    Raises asyncpg's errors, and `Overtaken` when others are faster again and again."""
    try:
        return await until_not_overtaken(
            lambda: _redrive_once(connection, rows, now, create_organizations=create_organizations)
        )
    except (TooLarge, asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, ValueError) as refusal:
        if len(rows) == 1:
            await connection.execute(_STILL_BAD, [rows[0]["id"]], [f"PostgreSQL refuses it: {refusal}"])
            return 0
    half = len(rows) // 2
    first = await redrive(connection, rows[:half], now, create_organizations=create_organizations)
    return first + await redrive(connection, rows[half:], now, create_organizations=create_organizations)


async def _redrive_once(
    connection: Connection, rows: Sequence[Any], now: datetime, *, create_organizations: bool
) -> int:
    records = [_record(row) for row in rows]
    arrivals, bad_records = await sort_out(records, now)
    by_call = group(arrivals)
    organizations, known = await read_known(connection, list(by_call))
    touched = [TouchedCall(*pair) for pair in zip(by_call.values(), known, strict=True)]
    batch = changes(touched, organizations, now=now, create_organizations=create_organizations)
    record_of = {id(event): record for record, event in arrivals}
    reasons = {id(bad.record): bad.reason for bad in bad_records}
    reasons |= {id(record_of[id(event)]): reason for event, reason in batch.refused}
    let_in = [row["id"] for row, record in zip(rows, records, strict=True) if id(record) not in reasons]
    still_bad = {
        row["id"]: reasons[id(record)]
        for row, record in zip(rows, records, strict=True)
        if id(record) in reasons
    }
    async with connection.transaction():
        await write(connection, batch, [])
        await connection.execute(_LET_IN, let_in)
        await connection.execute(_STILL_BAD, list(still_bad), list(still_bad.values()))
    return len(let_in)


def _record(row: Any) -> ConsumerRecord:
    """The record as it came, as far as it was kept."""
    headers = tuple(zip(row["header_names"], row["header_values"], strict=True))
    place = row["topic"], row["partition"], row["offset"]
    return ConsumerRecord(*place, -1, 0, row["key"], row["value"], None, -1, -1, headers)


_LET_IN: Final = "DELETE FROM quarantined_records WHERE id = ANY($1::uuid[])"

_STILL_BAD: Final = """
UPDATE quarantined_records AS bad SET reason = now.reason
FROM unnest($1::uuid[], $2::text[]) AS now(id, reason)
WHERE bad.id = now.id AND bad.reason <> now.reason
"""
