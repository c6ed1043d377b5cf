"""The route of the stream of changes."""

from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request, Response

from services.api.access.credentials import MayReadCalls, principal_again
from services.api.figures.cell_filters import StateQuery
from services.api.http.errors import invalid_parameter
from services.api.http.query import read_query
from services.api.stream import documentation
from services.api.stream.event_stream import EventStream
from services.api.stream.position import Position, position_of
from services.api.stream.stream_filters import wanted_by
from services.api.stream.streams import ApiWithStreams, Asked

SCOPES: Final = ("calls:read",)

router = APIRouter(tags=["calls"])


async def state_query(request: Request) -> StateQuery:
    """The dependency that reads the query of `GET /calls/stream`. Raises the 400 `ApiError`."""
    return read_query(request, StateQuery)


@router.get("/calls/stream", **documentation.STREAM_CALLS)
async def stream_calls(
    request: Request, principal: MayReadCalls, query: Annotated[StateQuery, Depends(state_query)]
) -> Response:
    """Sends each change of the organization's calls as it happens, as server-sent events
    (`text/event-stream`). The answer has no end.

    - `call.changed`: `data` is the call, as in the list. Several quick changes may appear as one.
    - `call.deleted`: `data` has the `id` and the `organization_id` of a call that was deleted.
    - `reset`: changes were missed. List the calls again.

    Each event has an `id`. When the stream ends, request it again with the last `id` in `Last-Event-ID`: the
    changes since then come first. Any API process can continue a stream.

    Filters apply to the present state of a call. A call that leaves the filter is not announced. Deletions
    are always sent.

    A stream ends when its client reads too slowly, its credentials are no longer valid, or the API restarts.
    """
    asked = Asked(
        principal=principal,
        again=partial(principal_again, request, SCOPES),
        wanted=wanted_by(query),
        last=_last_position(request),
    )
    return EventStream(ApiWithStreams.of(request).streams, asked)


def _last_position(request: Request) -> Position | None:
    """The position at which an earlier stream of the client ended. Raises the 400 `ApiError`."""
    given = request.headers.getlist("last-event-id")
    if len(given) > 1:
        raise invalid_parameter("Last-Event-ID", "must be sent only once")
    # An EventSource that has received no id yet may send an empty one.
    if not given or not given[0]:
        return None
    try:
        return position_of(given[0])
    except ValueError:
        raise invalid_parameter("Last-Event-ID", "must be the id of an event of this stream") from None
