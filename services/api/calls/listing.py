"""The list of calls. Its route also serves stats and trends."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from asyncpg import Record
from fastapi import APIRouter, Depends, Request, Response

from services.api.access.credentials import AnyPrincipal, require
from services.api.calls import documentation
from services.api.calls.cursor import Place, cursor, place_of
from services.api.calls.list_query import CallFilters, CallsQuery, Order, Sort, call_filters_of
from services.api.calls.pages import SHORT_TRANSCRIPT_BYTES, Page, read_page
from services.api.calls.running_api import Api
from services.api.database.databases import Connection
from services.api.figures.stats import get_stats
from services.api.figures.stats_query import StatsByAction, StatsQuery, TrendsByAction, TrendsQuery
from services.api.figures.trends import get_trends
from services.api.http.answers import answer
from services.api.http.errors import invalid_parameter
from services.api.http.query import read_query
from shared.calls.shown_call import shown_call
from shared.database.statement import Statement

TRANSCRIPTS_BYTES_MAX: Final = 4 * 1024 * 1024
"""The most bytes of transcripts on a page; later transcripts are left out."""

TRANSCRIPTS: Final = Statement("""
SELECT id, transcript FROM calls WHERE organization_id = :organization_id AND id = ANY (:call_ids::uuid[])
""")

router = APIRouter(tags=["calls"])

_QUERIES: Final[Mapping[str | None, type[CallsQuery | StatsQuery | TrendsQuery]]] = {
    None: CallsQuery,
    "stats": StatsByAction,
    "trends": TrendsByAction,
}


def _other_action(name: str, action: str | None) -> str:
    """The rule that a parameter of another action breaks."""
    if action is None:
        return "applies only to action=stats and action=trends, not to the list of calls"
    if name in CallsQuery.model_fields:
        return f"applies only to the list of calls, not to action={action}"
    return f"does not apply to action={action}"


async def query_by_action(request: Request) -> CallsQuery | StatsQuery | TrendsQuery:
    """The dependency that reads the query by its action. Raises the 400 `ApiError`."""
    action = request.query_params.get("action")
    model = _QUERIES.get(action, CallsQuery)
    for name in request.query_params if action is None or action in _QUERIES else ():
        if name not in model.model_fields and any(name in other.model_fields for other in _QUERIES.values()):
            raise invalid_parameter(name, _other_action(name, action))
    return read_query(request, model)


@router.get("/calls", **documentation.GET_CALLS)
async def get_calls(
    request: Request,
    principal: AnyPrincipal,
    query: Annotated[CallsQuery | StatsQuery | TrendsQuery, Depends(query_by_action)],
) -> Response:
    """Returns the list of calls, newest first. With `action=stats` it returns the status breakdown, with
    `action=trends` the daily counts. Stats and trends accept the filters that are dimensions of the counts.
    At every moment their numbers agree with each other and with the calls."""
    require(principal, "calls:read" if isinstance(query, CallsQuery) else "analytics:read")
    if isinstance(query, StatsQuery):
        return await get_stats(request, principal, query)
    if isinstance(query, TrendsQuery):
        return await get_trends(request, principal, query)
    api = Api.of(request)
    filters = call_filters_of(principal, query)
    page = _page_of(query, filters, api.search_calls)
    async with api.databases.reading.snapshot(principal.organization_id) as connection:
        return answer(await calls(connection, filters, page, principal.zone))


async def calls(
    connection: Connection, filters: CallFilters, page: Page, zone: ZoneInfo
) -> dict[str, object]:
    """One page of the requested calls and their exact total, from one snapshot. Raises what `read_page`
    raises."""
    found = await read_page(connection, filters, page, zone)
    rows = found.rows[: page.limit]
    transcripts, left_out = await _transcripts(connection, filters.cells.organization_id, rows)
    following = None
    if len(found.rows) > page.limit:
        last = Place(rows[-1]["value"], rows[-1]["created_at"], rows[-1]["id"])
        following = cursor(last, question(filters, page.sort, page.order))
    return {
        "data": [
            shown_call(row) | ({"transcript": transcripts[row["id"]]} if row["id"] in transcripts else {})
            for row in rows
        ],
        "total": found.total,
        "page": None if page.after else page.offset // page.limit + 1,
        "offset": None if page.after else page.offset,
        "limit": page.limit,
        "total_pages": None if found.total is None else math.ceil(found.total / page.limit),
        "next_cursor": following,
        "transcripts_left_out": left_out,
    }


def _page_of(query: CallsQuery, filters: CallFilters, search_calls: int) -> Page:
    """The requested page. Raises the 400 `ApiError` for two places at once, or for another list's cursor."""
    places = [name for name in ("page", "offset", "cursor") if getattr(query, name) is not None]
    if len(places) > 1:
        raise invalid_parameter(places[1], f"cannot be combined with {places[0]}; send only one of them")
    offset = query.offset or ((query.page or 1) - 1) * query.limit
    after = None
    if query.cursor is not None:
        after = place_of(query.cursor, question(filters, query.sort, query.order))
    return Page(query.limit, offset, after, query.sort, query.order, query.total, search_calls)


def question(filters: CallFilters, sort: Sort, order: Order) -> tuple[object, ...]:
    """The filters and the order that a cursor is bound to."""
    given = {name: value for name, value in filters.parameters.items() if value is not None}
    return (given, sort, order)


async def _transcripts(
    connection: Connection, organization_id: UUID, rows: Sequence[Record]
) -> tuple[dict[UUID, str], list[UUID]]:
    """The long transcripts of a page by call, as many as fit; and the calls whose transcripts are left
    out."""
    fitting: list[UUID] = []
    left_out: list[UUID] = []
    bytes_ = 0
    for row in rows:
        bytes_ += row["transcript_bytes"]
        if row["transcript_bytes"] > SHORT_TRANSCRIPT_BYTES:
            (fitting if bytes_ <= TRANSCRIPTS_BYTES_MAX else left_out).append(row["id"])
    if not fitting:
        return {}, left_out
    read = await TRANSCRIPTS.fetch(connection, organization_id=organization_id, call_ids=fitting)
    return {row["id"]: row["transcript"] for row in read}, left_out
