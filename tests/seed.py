"""Rows to test with, as ingest would have written them: calls folded from events, with their counts."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import msgspec

from shared.count import counted
from shared.credentials import SCOPES, key_hash, key_hint, new_key
from shared.database import Connection
from shared.event import Event, Status, read
from shared.fold import fold


class Tenant(NamedTuple):
    """An organization with a key of each mode."""

    id: UUID
    zone: ZoneInfo
    key: str
    test_key: str


async def tenant(database: Connection, time_zone: str = "UTC") -> Tenant:
    """A new organization with its keys."""
    organization_id = uuid4()
    await database.execute(
        "INSERT INTO organizations (id, name, time_zone) VALUES ($1, 'Acme', $2)", organization_id, time_zone
    )
    live, test = await key(database, organization_id, True), await key(database, organization_id, False)
    return Tenant(organization_id, ZoneInfo(time_zone), live, test)


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
    """A call with this status, initiated at this time with this data; an event a second after it.
    `applied`: its count is in `daily_call_counts` already, and not among the deltas."""
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
    """An event as it is published and read."""
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
    """The call that these events make, with its count."""
    made = fold(events)
    count = counted(made, tenant.zone)
    async with database.transaction():
        await database.executemany(
            "INSERT INTO call_events (organization_id, call_id, id, type, occurred_at, payload) "
            "VALUES ($1, $2, $3, $4, $5, $6)",
            [(e.organization_id, e.call_id, e.id, e.type, e.timestamp, e.payload) for e in events],
        )
        row = {**msgspec.structs.asdict(made), "day": count.cell.day}
        await database.execute(
            f"INSERT INTO calls ({', '.join(row)}) VALUES ({_parameters(len(row))})",  # noqa: S608
            *row.values(),
        )
        if applied:
            await _apply(database, *count.cell, *count.measures)
        else:
            await _delta(database, *count.cell, *count.measures)
    return made.id


async def apply_deltas(database: Connection) -> None:
    """What the aggregator does."""
    async with database.transaction():
        for row in await database.fetch("DELETE FROM daily_call_deltas RETURNING *"):
            await _apply(
                database, *(value for name, value in row.items() if name not in ("id", "written_at"))
            )


async def _apply(database: Connection, *row: object) -> None:
    await database.execute(
        f"INSERT INTO daily_call_counts AS counts ({_CELL}, {_MEASURES}) VALUES ({_parameters(12)}) "  # noqa: S608
        f"ON CONFLICT ({_CELL}) DO UPDATE SET {_ADDED}",
        *row,
    )


async def _delta(database: Connection, *row: object) -> None:
    await database.execute(
        f"INSERT INTO daily_call_deltas ({_CELL}, {_MEASURES}) VALUES ({_parameters(12)})",  # noqa: S608
        *row,
    )


_CELL = "organization_id, livemode, day, direction, phone_number_id, status"
_MEASURES = "calls, answered, duration_seconds, cost_cents, latency_ms, latency_calls"
_ADDED = ", ".join(f"{name} = counts.{name} + excluded.{name}" for name in _MEASURES.split(", "))


def _parameters(number: int) -> str:
    return ", ".join(f"${position}" for position in range(1, number + 1))


async def recount(database: Connection) -> dict[tuple[object, ...], tuple[object, ...]]:
    """The invariant's difference: the cells whose counts and deltas are not what the calls make them."""
    return {
        tuple(row)[:6]: tuple(row)[6:]
        for row in await database.fetch(
            f"""
            SELECT {_CELL}, sum(calls) AS calls, sum(answered) AS answered, sum(duration_seconds) AS duration,
                sum(cost_cents) AS cost, sum(latency_ms) AS latency, sum(latency_calls) AS latency_calls
            FROM (
                SELECT {_CELL}, {_MEASURES} FROM daily_call_counts
                UNION ALL
                SELECT {_CELL}, {_MEASURES} FROM daily_call_deltas
                UNION ALL
                SELECT organization_id, livemode, day, coalesce(direction, 'unknown'),
                    coalesce(phone_number_id, '00000000-0000-0000-0000-000000000000'), status,
                    -1, -(answered_at IS NOT NULL)::int, -coalesce(duration, 0), -coalesce(cost, 0),
                    -coalesce(latency_ms, 0), -(latency_ms IS NOT NULL)::int
                FROM calls
            ) AS parts
            GROUP BY {_CELL}
            """  # noqa: S608
        )
        if any(row[measure] != Decimal(0) for measure in range(6, 12))
    }
