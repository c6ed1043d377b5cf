"""Test rows as ingest would have written them: calls folded from events, with their counts."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

from shared.api_keys import SCOPES, key_hash, key_hint, new_key
from shared.calls import zones
from shared.calls.event import Event, Status, read
from shared.calls.fold import fold
from shared.calls.local_time import local_hour
from shared.calls.stored_payload import stored_payload
from shared.counts.cell import CALL_COLUMNS, TOTAL, Cell, Measures, call_row, counted
from shared.counts.counted_sql import CELL, COUNTED, MEASURES
from shared.database.connection import Connection


class Tenant(NamedTuple):
    """An organization with a key per mode."""

    id: UUID
    zone: ZoneInfo
    key: str
    test_key: str


async def webhook(database: Connection, organization_id: UUID, webhook_id: UUID | None = None) -> UUID:
    """A webhook for live calls, whose secrets no key decrypts, with a delivery that waits. Returns its id."""
    webhook_id = webhook_id or uuid4()
    await database.execute(
        "INSERT INTO webhooks (organization_id, id, livemode, url, types, secrets) "
        "VALUES ($1, $2, true, 'https://example.com/callfold', '{call.completed}', '')",
        organization_id,
        webhook_id,
    )
    await database.execute(
        "INSERT INTO webhook_messages (organization_id, id, type, body) "
        "VALUES ($1, 'msg_1', 'webhook.test', '')",
        organization_id,
    )
    await database.execute(
        "INSERT INTO webhook_deliveries "
        "(organization_id, webhook_id, message_id, attempts, attempted_at, answer_status, error) "
        "VALUES ($1, $2, 'msg_1', 1, now(), 500, 'It has answered 500.')",
        organization_id,
        webhook_id,
    )
    return webhook_id


async def tenant(database: Connection, time_zone: str = "UTC", organization_id: UUID | None = None) -> Tenant:
    """A new organization with its keys."""
    organization_id = organization_id or uuid4()
    await database.execute(
        "INSERT INTO organizations (id, name, time_zone, zone_rules) VALUES ($1, 'Acme', $2, $3)",
        organization_id,
        time_zone,
        zones.zone_rules(time_zone),
    )
    live, test = await key(database, organization_id, True), await key(database, organization_id, False)
    return Tenant(organization_id, zones.time_zone(time_zone), live, test)


async def key(
    database: Connection,
    organization_id: UUID,
    livemode: bool = True,
    *,
    revoked: bool = False,
    text: str = "",
    scopes: Sequence[str] = SCOPES,
    expires_at: datetime | None = None,
    networks: Sequence[str] | None = None,
) -> str:
    """A key of an organization; with `text`, this one."""
    made = text or new_key(livemode)
    await database.execute(
        "INSERT INTO api_keys (organization_id, id, livemode, key_hash, hint, revoked_at, scopes, "
        "expires_at, allowed_networks) VALUES ($1, $2, $3, $4, $5, CASE WHEN $6 THEN now() END, $7, $8, $9)",
        organization_id,
        uuid4(),
        livemode,
        key_hash(made),
        key_hint(made),
        revoked,
        scopes,
        expires_at,
        networks,
    )
    return made


_EVENTS_TO: dict[Status, tuple[str, ...]] = {
    "initiated": (),
    "ringing": ("call.ringing",),
    "in_progress": ("call.answered",),
    "completed": ("call.answered", "call.completed"),
    "failed": ("call.failed",),
    "busy": ("call.failed",),
    "no_answer": ("call.failed",),
    "canceled": ("call.failed",),
}


async def call(
    database: Connection,
    tenant: Tenant,
    created_at: str = "2026-11-24T10:00:00Z",
    status: Status = "completed",
    *,
    call_id: str | None = None,
    livemode: bool = True,
    applied: bool = False,
    **data: Any,
) -> UUID:
    """A call with this status, initiated at this time with this data, with an event one second later.
    `applied`: its count is already in `daily_call_counts`, not among the deltas."""
    start = datetime.fromisoformat(created_at)
    name = call_id or str(uuid4())
    last = len(_EVENTS_TO[status])
    events = [event(tenant, name, start, "call.initiated", livemode=livemode, **data)]
    for after, type_ in enumerate(_EVENTS_TO[status], 1):
        said: dict[str, Any] = {"status": status} if after == last else {}
        events.append(event(tenant, name, start + timedelta(seconds=after), type_, livemode=livemode, **said))
    return await store(database, tenant, events, applied=applied)


def event(
    tenant: Tenant,
    call_id: str,
    timestamp: datetime,
    type_: str,
    *,
    event_id: str | None = None,
    livemode: bool | None = True,
    **data: Any,
) -> Event:
    """An event, as published and read."""
    value: dict[str, Any] = {
        "id": event_id or f"evt_{uuid4().hex}",
        "type": type_,
        "organization_id": str(tenant.id),
        "call_id": call_id,
        "timestamp": timestamp.isoformat(),
        "livemode": livemode,
        "data": data,
    }
    return read(json.dumps(value, default=str).encode(), datetime.now(UTC) + timedelta(days=36_500))


async def store(database: Connection, tenant: Tenant, events: list[Event], *, applied: bool = False) -> UUID:
    """Stores the call that these events fold to, with its count."""
    made = fold(events)
    count = counted(made, tenant.zone)
    async with database.transaction():
        await database.executemany(
            "INSERT INTO call_events (organization_id, call_id, id, type, occurred_at, payload) "
            "VALUES ($1, $2, $3, $4, $5, $6)",
            [(e.organization_id, e.call_id, e.id, e.type, e.timestamp, stored_payload(e)) for e in events],
        )
        row = call_row(made, local_hour(made.created_at, tenant.zone))
        await database.execute(
            f"INSERT INTO calls ({', '.join(CALL_COLUMNS)}) VALUES ({_parameters(len(row))})",  # noqa: S608
            *row,
        )
        if applied:
            await _apply(database, *count.cell, *count.measures)
            await database.execute("SELECT callfold_counts_repaired($1)", tenant.id)
        else:
            await _delta(database, *count.cell, *count.measures)
    return made.id


async def apply_deltas(database: Connection) -> None:
    """Applies the deltas, as the aggregator does."""
    async with database.transaction():
        for row in await database.fetch(f"DELETE FROM daily_call_deltas RETURNING {CELL}, {MEASURES}"):  # noqa: S608
            await _apply(database, *row)


async def _apply(database: Connection, *row: object) -> None:
    await _add(database, "daily_call_counts", dict(zip(_COLUMNS, row, strict=True)), Cell._fields)
    total = {name: value for name, value in zip(_COLUMNS, row, strict=True) if name != "phone_number_id"}
    await _add(database, "daily_call_totals", total, TOTAL)


async def _add(database: Connection, table: str, row: dict[str, object], key: Sequence[str]) -> None:
    await database.execute(
        f"INSERT INTO {table} AS kept ({', '.join(row)}) VALUES ({_parameters(len(row))}) "  # noqa: S608
        f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {_ADDED}",
        *row.values(),
    )


async def _delta(database: Connection, *row: object) -> None:
    await database.execute(
        f"INSERT INTO daily_call_deltas ({CELL}, {MEASURES}) VALUES ({_parameters(len(row))})",  # noqa: S608
        *row,
    )


_COLUMNS = (*Cell._fields, *Measures._fields)
_ADDED = ", ".join(f"{name} = kept.{name} + excluded.{name}" for name in Measures._fields)


def _parameters(number: int) -> str:
    return ", ".join(f"${position}" for position in range(1, number + 1))


async def recount(database: Connection) -> dict[tuple[object, ...], tuple[object, ...]]:
    """The cells whose counts and deltas differ from a recount of the calls."""
    cell = len(Cell._fields)
    return {
        tuple(row)[:cell]: tuple(row)[cell:]
        for row in await database.fetch(
            f"""
            SELECT {CELL}, {", ".join(f"sum({name})" for name in Measures._fields)}
            FROM (
                SELECT {CELL}, {MEASURES} FROM daily_call_counts
                UNION ALL
                SELECT {CELL}, {MEASURES} FROM daily_call_deltas
                UNION ALL
                SELECT {CELL}, {", ".join(f"-{name}" for name in Measures._fields)}
                FROM (SELECT {COUNTED} FROM calls) AS call
            ) AS parts
            GROUP BY {CELL}
            """  # noqa: S608
        )
        if any(tuple(row)[cell:])
    }


async def distributed(database: Connection, table: str = "calls") -> None:
    """Makes the database look like one whose table Citus distributes."""
    await database.execute("CREATE TABLE pg_dist_partition (logicalrelid regclass)")
    await database.execute("INSERT INTO pg_dist_partition VALUES ($1::text::regclass)", table)
    await database.execute("GRANT SELECT ON pg_dist_partition TO PUBLIC")
