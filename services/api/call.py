"""One call: its detail with its events, and its deletion."""

import logging
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Final
from uuid import UUID

import asyncpg
import msgspec
from fastapi import APIRouter, Depends, Path, Request, Response

from services.api import documentation
from services.api.calls import COLUMNS, call_of
from services.api.credentials import Caller, Reader, Writer
from services.api.database import Connection, Database, Databases, changing
from services.api.encoding import answer
from services.api.errors import no_such_call, unavailable
from services.api.filters import no_query
from services.api.replica import is_deleted, wait_until_deleted
from shared import logs
from shared.delete import delete

# Events in the fold's order, which compares ids letter by letter, whatever the database's collation.
DETAIL: Final = f"""
SELECT {COLUMNS}, events.*
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


@router.get("/calls/{id}", dependencies=[Depends(no_query)], **documentation.GET_CALL)
async def get_call(request: Request, caller: Reader, call_id: CallId) -> Response:
    """One call with its events in order of time, and its recording."""
    logs.about(call_id=call_id)
    databases: Databases = request.app.state.databases
    async with databases.reading.snapshot(caller.organization_id) as connection:
        return answer(await call(connection, caller, call_id))


@router.delete("/calls/{id}", dependencies=[Depends(no_query)], **documentation.DELETE_CALL)
async def delete_call(request: Request, caller: Writer, call_id: CallId) -> Response:
    """Deletes a call with its events, recording link and transcript, for good: events of it that come
    later don't bring it back. When this answers 204 or 404, list, detail, stats and trends already agree;
    the code `REPLICA_BEHIND` says that the call is deleted, and that they will in a moment."""
    logs.about(call_id=call_id)
    databases: Databases = request.app.state.databases
    found = await _delete(databases.primary, caller, call_id)
    if found:
        log.info("deleted a call")
    gone = found or (databases.has_replica and await is_deleted(databases.primary, caller, call_id))
    if gone and databases.has_replica:
        await wait_until_deleted(databases.reading, caller, call_id)
    if not found:
        raise no_such_call()
    return Response(status_code=HTTPStatus.NO_CONTENT)


async def _delete(primary: Database, caller: Caller, call_id: UUID) -> bool:
    """Deletes the call, again where that collides with others; false when there is none. Raises the 503
    `ApiError`."""
    async with primary.connection() as connection:
        for _ in range(_DELETE_TRIES):
            try:
                async with changing(connection, caller.organization_id):
                    return await delete(
                        connection,
                        caller.organization_id,
                        call_id,
                        livemode=caller.livemode,
                        actor=caller.actor,
                    )
            except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError):
                continue
    log.warning("a call that changes too fast was not deleted")
    raise unavailable("DATABASE_UNAVAILABLE", "This call is changing too fast; try again in a moment.")


async def call(connection: Connection, caller: Caller, call_id: UUID) -> dict[str, object]:
    """One call with its events and recording, of one snapshot. Raises the 404 `ApiError`."""
    row = await connection.fetchrow(DETAIL, caller.organization_id, caller.livemode, call_id)
    if row is None:
        raise no_such_call()
    url = row["recording_url"]
    events = zip(row["event_ids"], row["event_types"], row["event_times"], row["event_payloads"], strict=True)
    return {
        **call_of(row),
        "recording": {"url": url} if url is not None else None,
        "events": [_event(*event) for event in events],
    }


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
