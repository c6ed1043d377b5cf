"""One call: its detail with its first events, and its deletion."""

import logging
from http import HTTPStatus
from typing import Final
from uuid import UUID

import asyncpg
from fastapi import APIRouter, Depends, Request, Response

from services.api.access.credentials import MayDeleteCalls, MayReadCalls, Principal
from services.api.calls import documentation
from services.api.calls.events import EVENTS_MAX, PAGE, RECORDINGS, event
from services.api.calls.pages import COLUMNS
from services.api.calls.recording import recording_of, web_link
from services.api.calls.replica import is_deleted, wait_until_deleted
from services.api.calls.running_api import Api
from services.api.database.databases import Connection, Database, changing
from services.api.http.conditional import conditional, etag_of
from services.api.http.error_codes import ErrorCode
from services.api.http.errors import no_such_call, unavailable
from services.api.http.paths import CallId
from services.api.http.query import no_query
from shared.calls.shown_call import shown_call
from shared.database.statement import Statement
from shared.encoding import encode
from shared.monitoring import logs
from shared.store.delete import delete

DETAIL: Final = Statement(f"""
SELECT {COLUMNS}, version AS events_total, events.*, recordings.*
FROM calls, LATERAL (
    SELECT
        coalesce(array_agg(id), ARRAY[]::text[]) AS recording_ids,
        coalesce(array_agg(occurred_at), ARRAY[]::timestamptz[]) AS recording_times,
        coalesce(array_agg(payload), ARRAY[]::text[]) AS recording_payloads
    FROM ({RECORDINGS}) AS ordered
) AS recordings, LATERAL (
    SELECT
        coalesce(array_agg(id), ARRAY[]::text[]) AS event_ids,
        coalesce(array_agg(type), ARRAY[]::text[]) AS event_types,
        coalesce(array_agg(occurred_at), ARRAY[]::timestamptz[]) AS event_times,
        coalesce(array_agg(payload), ARRAY[]::text[]) AS event_payloads
    FROM ({PAGE}) AS ordered
) AS events
WHERE calls.organization_id = :organization_id AND livemode = :livemode AND calls.id = :call_id
""")

_DELETE_TRIES: Final = 5

router = APIRouter(tags=["calls"])

log = logging.getLogger("callfold.api")


@router.get("/calls/{id:call}", dependencies=[Depends(no_query)], **documentation.GET_CALL)
async def get_call(request: Request, principal: MayReadCalls, call_id: CallId) -> Response:
    """Returns one call with its events, ordered by time, and its recordings. It contains at most the first
    1,000 events, or the first 4 MiB; `GET /calls/{id}/events` returns all."""
    logs.about(call_id=call_id)
    api = Api.of(request)
    async with api.databases.reading.snapshot(principal.organization_id) as connection:
        found = await call(connection, principal, call_id)
    body = encode(found)
    return conditional(request, body, etag_of(body))


@router.delete("/calls/{id:call}", dependencies=[Depends(no_query)], **documentation.DELETE_CALL)
async def delete_call(request: Request, principal: MayDeleteCalls, call_id: CallId) -> Response:
    """Permanently deletes a call with its events, recording link and transcript. Late or replayed events do
    not bring it back. After 204 or 404, list, detail, stats and trends no longer include the call. The code
    `REPLICA_BEHIND` means that the call is deleted, but a replica may still show it for a moment."""
    logs.about(call_id=call_id)
    api = Api.of(request)
    found = await _delete(api.databases.primary, principal, call_id)
    if found:
        log.info("deleted a call")
    gone = found or (
        api.databases.has_replica and await is_deleted(api.databases.primary, principal, call_id)
    )
    if gone and api.databases.has_replica:
        await wait_until_deleted(api.databases.reading, principal, call_id)
    if not found:
        raise no_such_call()
    return Response(status_code=HTTPStatus.NO_CONTENT)


async def _delete(primary: Database, principal: Principal, call_id: UUID) -> bool:
    """Deletes the call, and retries after a deadlock or serialization failure; false if there is no such
    call. Raises the 503 `ApiError`."""
    async with primary.connection() as connection:
        for _ in range(_DELETE_TRIES):
            try:
                async with changing(connection, principal.organization_id):
                    return await delete(
                        connection,
                        principal.organization_id,
                        call_id,
                        livemode=principal.livemode,
                        actor=principal.actor,
                    )
            except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError):
                continue
    log.warning("a call was not deleted: every try collided with another writer")
    sentence = "The call was not deleted, because other writers keep changing it; retry in a moment."
    raise unavailable(ErrorCode.DATABASE_UNAVAILABLE, sentence)


async def call(connection: Connection, principal: Principal, call_id: UUID) -> dict[str, object]:
    """One call with its first events and its recordings, from one snapshot. Raises the 404 `ApiError`."""
    row = await DETAIL.fetchrow(
        connection,
        organization_id=principal.organization_id,
        livemode=principal.livemode,
        call_id=call_id,
        limit=EVENTS_MAX,
        offset=0,
    )
    if row is None:
        raise no_such_call()
    described = shown_call(row)
    events = zip(row["event_ids"], row["event_types"], row["event_times"], row["event_payloads"], strict=True)
    recordings = zip(row["recording_ids"], row["recording_times"], row["recording_payloads"], strict=True)
    return {
        **described,
        "recording": {"url": web_link(row["recording_url"])} if described["recording_url"] else None,
        "recordings": [recording_of(*each) for each in recordings],
        "events": [event(*each) for each in events],
        "events_total": row["events_total"],
    }
