"""Calls: the list, one call, and its deletion; and the one route that also serves stats and trends."""

import logging
import math
from datetime import datetime
from decimal import Decimal
from http import HTTPStatus
from typing import Annotated, Final
from uuid import UUID

import asyncpg
import msgspec
from asyncpg import Record
from fastapi import APIRouter, Depends, Path, Request, Response

from services.api import documentation, models
from services.api.counts import CELLS
from services.api.credentials import AnyCaller, Caller
from services.api.database import Connection, Databases
from services.api.encoding import answer, number
from services.api.errors import no_such_call, unavailable
from services.api.filters import CallsQuery, Filters, calls_query, filters_of, no_query
from services.api.replica import is_deleted, wait_until_deleted
from services.api.stats import stats
from services.api.trends import trends
from shared import logs
from shared.count import NO_DIRECTION, local_day
from shared.delete import delete

_FIELDS: Final = tuple(models.Call.model_fields)
_COLUMNS: Final = ", ".join(_FIELDS)

# `day` decides; `created_at`, a day wider on both sides than any time zone moves a day, bounds the index.
LIST: Final = f"""
SELECT total.calls AS total, page.*
FROM (SELECT coalesce(sum(calls), 0)::bigint AS calls FROM {CELLS}) AS total
LEFT JOIN (
    SELECT {_COLUMNS}
    FROM calls
    WHERE organization_id = $1 AND livemode = $2
        AND ($3::date IS NULL OR day >= $3 AND created_at >= ($3::date - 1)::timestamp AT TIME ZONE 'UTC')
        AND ($4::date IS NULL OR day <= $4 AND created_at < ($4::date + 2)::timestamp AT TIME ZONE 'UTC')
        AND ($5::text IS NULL OR status = $5)
        AND ($6::text IS NULL OR coalesce(direction, $8::text) = $6)
        AND ($7::uuid IS NULL OR phone_number_id = $7)
    ORDER BY created_at DESC, id DESC
    LIMIT $9 OFFSET $10
) AS page ON true
ORDER BY page.created_at DESC, page.id DESC
"""  # noqa: S608 - made of constants

# Events in the fold's order, which compares ids letter by letter, whatever the database's collation.
DETAIL: Final = f"""
SELECT {_COLUMNS}, events.*
FROM calls, LATERAL (
    SELECT
        coalesce(array_agg(id), ARRAY[]::text[]) AS event_ids,
        coalesce(array_agg(type), ARRAY[]::text[]) AS event_types,
        coalesce(array_agg(occurred_at), ARRAY[]::timestamptz[]) AS event_times,
        coalesce(array_agg(payload), ARRAY[]::text[]) AS event_payloads
    FROM (
        SELECT call_events.id, type, occurred_at, payload
        FROM call_events
        WHERE call_events.organization_id = $1 AND call_id = $3
        ORDER BY occurred_at, call_events.id COLLATE "C"
    ) AS ordered
) AS events
WHERE calls.organization_id = $1 AND livemode = $2 AND calls.id = $3
"""  # noqa: S608 - made of constants

_DELETE_TRIES: Final = 5

CallId = Annotated[
    UUID,
    Path(alias="id", description="The call's id.", examples=["0b8f6c1e-7a52-5c55-8d3a-0a4b8f1c2d3e"]),
]

router = APIRouter(tags=["calls"])

log = logging.getLogger("callfold.api")


@router.get("/calls", **documentation.GET_CALLS)
async def get_calls(
    request: Request, caller: AnyCaller, query: Annotated[CallsQuery, Depends(calls_query)]
) -> Response:
    """The list of calls, newest first; with `action=stats` the status breakdown; with `action=trends` the
    daily counts. All three take the same filters, and their numbers agree at any moment: with each other
    and with the calls."""
    databases: Databases = request.app.state.databases
    now: datetime = request.app.state.clock()
    filters = filters_of(caller, query)
    async with databases.reading.connection() as connection:
        if query.action == "stats":
            return answer(await stats(connection, filters, caller.zone))
        if query.action == "trends":
            today = local_day(now, caller.zone)
            return answer(await trends(connection, filters, caller.zone, today))
        return answer(await calls(connection, filters, query.page, query.limit))


@router.get("/calls/{id}", dependencies=[Depends(no_query)], **documentation.GET_CALL)
async def get_call(request: Request, caller: AnyCaller, call_id: CallId) -> Response:
    """One call with its events in order of time, and its recording."""
    logs.about(call_id=call_id)
    databases: Databases = request.app.state.databases
    async with databases.reading.connection() as connection:
        return answer(await call(connection, caller, call_id))


@router.delete("/calls/{id}", dependencies=[Depends(no_query)], **documentation.DELETE_CALL)
async def delete_call(request: Request, caller: AnyCaller, call_id: CallId) -> Response:
    """Deletes a call with its events, recording link and transcript, for good: events of it that come
    later don't bring it back. When this answers 204 or 404, list, detail, stats and trends already agree;
    the code `REPLICA_BEHIND` says that the call is deleted, and that they will in a moment."""
    logs.about(call_id=call_id)
    databases: Databases = request.app.state.databases
    async with databases.primary.connection() as connection:
        found = await _delete(connection, caller, call_id)
        if found:
            log.info("deleted a call")
        gone = found or (databases.has_replica and await is_deleted(connection, caller, call_id))
    if gone and databases.has_replica:
        await wait_until_deleted(databases.reading, caller, call_id)
    if not found:
        raise no_such_call()
    return Response(status_code=HTTPStatus.NO_CONTENT)


async def _delete(connection: Connection, caller: Caller, call_id: UUID) -> bool:
    """Deletes the call, again where that collides with others; false when there is none. Raises the 503
    `ApiError`."""
    for _ in range(_DELETE_TRIES):
        try:
            return await delete(
                connection,
                caller.organization_id,
                call_id,
                livemode=caller.livemode,
                actor=f"API key {caller.key_id}",
            )
        except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError):
            continue
    log.warning("a call that changes too fast was not deleted")
    raise unavailable("DATABASE_UNAVAILABLE", "This call is changing too fast; try again in a moment.")


async def calls(connection: Connection, filters: Filters, page: int, limit: int) -> dict[str, object]:
    """One page of the asked calls and their exact total, of one snapshot."""
    offset = (page - 1) * limit
    rows = await connection.fetch(LIST, *filters, NO_DIRECTION, limit, offset)
    total: int = rows[0]["total"]
    return {
        "data": [_call(row) for row in rows if row["id"] is not None],
        "total": total,
        "page": page,
        "limit": limit,
        "total_pages": math.ceil(total / limit),
    }


async def call(connection: Connection, caller: Caller, call_id: UUID) -> dict[str, object]:
    """One call with its events and recording, of one snapshot. Raises the 404 `ApiError`."""
    row = await connection.fetchrow(DETAIL, caller.organization_id, caller.livemode, call_id)
    if row is None:
        raise no_such_call()
    url = row["recording_url"]
    events = zip(row["event_ids"], row["event_types"], row["event_times"], row["event_payloads"], strict=True)
    return {
        **_call(row),
        "recording": {"url": url} if url is not None else None,
        "events": [_event(*event) for event in events],
    }


def _call(row: Record) -> dict[str, object]:
    described: dict[str, object] = {field: row[field] for field in _FIELDS}
    cost: Decimal | None = row["cost"]
    described["cost"] = None if cost is None else number(cost)
    return described


class _Payload(msgspec.Struct):
    """What of an event's record no column has; `data` letter by letter."""

    livemode: bool | None = True
    data: msgspec.Raw = msgspec.Raw(b"{}")


_decode_payload = msgspec.json.Decoder(_Payload).decode


def _event(id_: str, type_: str, timestamp: datetime, payload: str) -> dict[str, object]:
    said = _decode_payload(payload)
    return {
        "id": id_,
        "type": type_,
        "timestamp": timestamp,
        "livemode": said.livemode is not False,
        "data": {} if bytes(said.data) == b"null" else said.data,
    }
