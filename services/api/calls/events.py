"""The events of one call: the first ones in its detail, all of them in pages."""

from datetime import datetime
from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field

from services.api.access.credentials import MayReadCalls
from services.api.calls import documentation
from services.api.calls.running_api import Api
from services.api.http.conditional import conditional, etag_of
from services.api.http.errors import no_such_call
from services.api.http.paths import CallId
from services.api.http.query import query_parameters, read_query
from shared.database.statement import Statement
from shared.encoding import encode
from shared.monitoring import logs

EVENTS_MAX: Final = 1000
"""The most events that an answer has."""
EVENTS_BYTES_MAX: Final = 4 * 2**20
"""The most bytes that these events have together; a single event has up to 1 MiB."""


def _page(asked: str = "") -> str:
    """Events in the fold's order, which compares ids byte by byte, independently of the database's collation.
    PostgreSQL knows their sizes without reading values that TOAST stores outside the row."""
    return f"""
        SELECT id, type, occurred_at, callfold_payload(payload, type, organization_id, call_id) AS payload
        FROM (
            SELECT *, sum(octet_length(payload)) OVER (
                ORDER BY occurred_at, id COLLATE "C" ROWS UNBOUNDED PRECEDING
            ) AS bytes
            FROM (
                SELECT organization_id, call_id, id, type, occurred_at, payload
                FROM call_events
                WHERE organization_id = :organization_id AND call_id = :call_id {asked}
                ORDER BY occurred_at, id COLLATE "C"
                LIMIT :limit OFFSET :offset
            ) AS asked
        ) AS measured
        WHERE bytes <= {EVENTS_BYTES_MAX}
        ORDER BY occurred_at, id COLLATE "C"
    """


PAGE: Final = _page()
"""At most `limit` events of a call, from `offset`. The first one always fits into `EVENTS_BYTES_MAX`."""

RECORDINGS: Final = _page("AND type = 'recording.ready'")
"""The same for the events `recording.ready`."""

EVENTS: Final = Statement(f"""
SELECT version AS total, page.*
FROM calls LEFT JOIN LATERAL ({PAGE}) AS page ON true
WHERE calls.organization_id = :organization_id AND livemode = :livemode AND calls.id = :call_id
ORDER BY page.occurred_at, page.id COLLATE "C"
""")


class EventsQuery(BaseModel):
    """The query parameters of `GET /calls/{id}/events`."""

    offset: int = Field(0, ge=0, le=1_000_000, description="How many of the call's events to skip.")
    limit: int = Field(100, ge=1, le=EVENTS_MAX, description="The most events that a page has.")


async def events_query(request: Request) -> EventsQuery:
    """The dependency that reads the query. Raises the 400 `ApiError`."""
    return read_query(request, EventsQuery)


router = APIRouter(tags=["calls"])


@router.get(
    "/calls/{id}/events",
    openapi_extra={"parameters": query_parameters(EventsQuery)},
    **documentation.GET_EVENTS,
)
async def get_events(
    request: Request,
    principal: MayReadCalls,
    call_id: CallId,
    query: Annotated[EventsQuery, Depends(events_query)],
) -> Response:
    """Returns all events of a call, ordered by time, in pages. A page ends early when its events are large;
    `next_offset` is the offset of the next page."""
    logs.about(call_id=call_id)
    api = Api.of(request)
    async with api.databases.reading.snapshot(principal.organization_id) as connection:
        rows = await EVENTS.fetch(
            connection,
            organization_id=principal.organization_id,
            livemode=principal.livemode,
            call_id=call_id,
            limit=query.limit,
            offset=query.offset,
        )
    if not rows:
        raise no_such_call()
    total = rows[0]["total"]
    data = [event(*list(row.values())[1:]) for row in rows if row["id"] is not None]
    end = query.offset + len(data)
    body = encode(
        {
            "data": data,
            "total": total,
            "offset": query.offset,
            "limit": query.limit,
            "next_offset": end if data and end < total else None,
        }
    )
    return conditional(request, body, etag_of(body))


def event(id_: str, type_: str, timestamp: datetime, payload: str) -> dict[str, object]:
    """An event of an answer, from a row of `PAGE`."""
    said = _decode_payload(payload)
    return {
        "id": id_,
        "type": type_,
        "timestamp": timestamp,
        "livemode": said.livemode is not False,
        "data": {} if bytes(said.data) == b"null" else said.data,
    }


class _Payload(msgspec.Struct):
    """The fields of an event's record that have no column; `data` verbatim."""

    livemode: bool | None = True
    data: msgspec.Raw = msgspec.Raw(b"{}")


_decode_payload = msgspec.json.Decoder(_Payload).decode
