"""Pages of the list: the statements that read them. Each examines a bounded number of calls."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple, get_args
from zoneinfo import ZoneInfo

from asyncpg import Record

from services.api.calls.cursor import Place
from services.api.calls.list_query import BY_INDEX, BY_SCAN, MATCHING, CallFilters, Order, Sort
from services.api.database.databases import Connection
from services.api.figures.calls_per_day import TOTAL, days_of, place, runs, total_sql
from services.api.figures.cell_filters import AccessPath
from services.api.http.errors import ApiError, invalid_parameter, too_many_calls
from shared.calls.local_time import local_day
from shared.calls.shown_call import SHOWN_FIELDS
from shared.database.statement import Statement

OFFSET_AT_ONCE_MAX: Final = 1_000
"""Up to this offset, skipping calls costs less than finding the day in which the page begins."""
SHORT_TRANSCRIPT_BYTES: Final = 16 * 1024
"""Transcripts up to this size are read with their calls, longer ones separately."""

_SPARE: Final = timedelta(days=1)
"""Margin on both sides of a cursor's day: the organization may be changing its time zone."""

COLUMNS: Final = ", ".join(SHOWN_FIELDS)

_DIRECTIONS: Final[dict[Order, str]] = {"desc": "DESC", "asc": "ASC"}
_BEYOND: Final[dict[Order, str]] = {"desc": "<", "asc": ">"}
_MISSING: Final[dict[Order, str]] = {"desc": "-1", "asc": "'Infinity'"}
"""The sort key of calls without a value, so that they come last; no value is below 0."""

COUNT: Final = Statement(f"""
SELECT count(*) FROM (SELECT FROM calls WHERE {MATCHING} LIMIT :calls_max) AS counted
""")

# PostgreSQL knows the size of a transcript without reading it.
READ: Final = f"""
{", ".join(field for field in SHOWN_FIELDS if field != "transcript")},
    CASE WHEN octet_length(transcript) <= {SHORT_TRANSCRIPT_BYTES} THEN transcript END AS transcript,
    coalesce(octet_length(transcript), 0) AS transcript_bytes
"""
"""The columns that are read of each call: `COLUMNS`, but transcripts only if they are short."""


def ordered_by_time(order: Order) -> str:
    """The list's order, to follow ORDER BY."""
    return f"created_at {_DIRECTIONS[order]}, id {_DIRECTIONS[order]}"


def _page(order: Order) -> str:
    """The inner LIMIT bounds how many calls the filters examine. The last of these is returned even if it
    does not match, to show that the bound was reached.

    A filter preserves the order. A second ORDER BY outside would hide the outer LIMIT from the planner of the
    inner query, which would then sort all calls.
    """
    ordered = ordered_by_time(order)
    return f"""
        SELECT {READ}, looked_at, 0::numeric AS value FROM (
            SELECT *, row_number() OVER () AS looked_at FROM (
                SELECT {COLUMNS}, laws FROM calls
                WHERE {BY_INDEX}
                    AND (:after_time::timestamptz IS NULL
                        OR (created_at, id) {_BEYOND[order]} (:after_time, :after_id::uuid))
                ORDER BY {ordered} LIMIT :calls_looked_at
            ) AS found
        ) AS found
        WHERE {BY_SCAN} OR looked_at = :calls_looked_at
        LIMIT :limit OFFSET :offset
    """


def _page_with_total(order: Order, by_phone_number: bool) -> str:
    direction = _DIRECTIONS[order]
    return f"""
        SELECT total.calls AS total, page.*
        FROM ({total_sql(by_phone_number=by_phone_number)}) AS total
        LEFT JOIN ({_page(order)}) AS page ON true
        ORDER BY page.created_at {direction}, page.id {direction}
    """


def _search(sort: Sort, order: Order) -> str:
    value = "0::numeric" if sort == "created_at" else f"coalesce({sort}::numeric, {_MISSING[order]})"
    direction = _DIRECTIONS[order]
    ordered = f"value {direction}, {ordered_by_time(order)}"
    return f"""
        WITH matching AS MATERIALIZED (SELECT id, created_at, {value} AS value FROM calls WHERE {MATCHING}),
        page AS (
            SELECT id AS found, value FROM matching
            WHERE :after_value::numeric IS NULL
                OR (value, created_at, id) {_BEYOND[order]}
                    (:after_value, :after_time::timestamptz, :after_id::uuid)
            ORDER BY {ordered} LIMIT :limit OFFSET :offset
        )
        SELECT (SELECT count(*) FROM matching) AS total, page.value, {READ}
        FROM (VALUES (1)) AS always
        LEFT JOIN page ON true
        LEFT JOIN calls ON calls.organization_id = :organization_id AND calls.id = page.found
        ORDER BY page.value {direction}, {ordered_by_time(order)}
    """


_SORTS: Final[tuple[Sort, ...]] = get_args(Sort)
PAGE: Final = {order: Statement(_page(order)) for order in _DIRECTIONS}
"""A page by time. Parameters: those of `CallFilters`, the place to continue from, and the bounds."""
PAGE_WITH_TOTAL: Final = {
    (order, by_phone_number): Statement(_page_with_total(order, by_phone_number))
    for order in _DIRECTIONS
    for by_phone_number in TOTAL
}
"""The same with the total from the counts, for filters that the counts have as dimensions; by the order, and
by whether it is of one phone number."""
SEARCH: Final = {(sort, order): Statement(_search(sort, order)) for sort in _SORTS for order in _DIRECTIONS}
"""A page of a search, with the total. Parameters: those of `PAGE`; the place also has a value."""


class Page(NamedTuple):
    """The requested page of a list."""

    limit: int
    offset: int = 0
    after: Place | None = None
    """The call after which the page begins, instead of an offset."""
    sort: Sort = "created_at"
    order: Order = "desc"
    total: bool = True
    search_calls: int = 200_000
    """How many calls may be examined for filters that no index or count serves."""


class Found(NamedTuple):
    """The calls of a page, and the next one if it exists; the total if it was requested."""

    rows: Sequence[Record]
    total: int | None


async def read_page(connection: Connection, filters: CallFilters, page: Page, zone: ZoneInfo) -> Found:
    """A page of the requested calls, from the connection's snapshot: `READ`, and the sort key `value`.

    Raises the 400 `ApiError` if more than `search_calls` calls would have to be examined, and asyncpg's
    errors.
    """
    if _is_search(filters, page.sort):
        return await _searched(connection, filters, page)
    if not filters.is_counted:
        return await _found_by_index(connection, filters, page)
    if _scans(filters) or page.offset > OFFSET_AT_ONCE_MAX:
        return await _found_by_days(connection, filters, page, zone)
    if not page.total:
        return Found(await _read(connection, filters, page), None)
    statement = PAGE_WITH_TOTAL[page.order, filters.cells.phone_number_id is not None]
    rows = await statement.fetch(connection, **_parameters(filters, page))
    return Found([row for row in rows if row["id"] is not None], rows[0]["total"])


def _is_search(filters: CallFilters, sort: Sort) -> bool:
    """Whether no index has the requested calls in the requested order."""
    paths = [condition.path for condition in filters.conditions]
    return (
        sort != "created_at"
        or any(path in (AccessPath.KEY, AccessPath.MANY) for path in paths)
        or sum(path in (AccessPath.FEW_BY_TIME, AccessPath.MANY_BY_TIME) for path in paths) > 1
        or (_scans(filters) and not filters.is_counted)
    )


def _scans(filters: CallFilters) -> bool:
    """Whether a filter has no index, so that other calls lie between the requested ones."""
    return any(condition.path is AccessPath.SCAN for condition in filters.conditions)


async def _found_by_index(connection: Connection, filters: CallFilters, page: Page) -> Found:
    """A page of calls that an index has in the list's order, but that the counts do not count separately."""
    if page.offset > page.search_calls:
        rule = f"must be at most {page.search_calls} with these filters; use cursor to read further"
        raise invalid_parameter("offset", rule)
    rows = await _read(connection, filters, page)
    if not page.total:
        return Found(rows, None)
    total = await _count(connection, filters, page.search_calls)
    if total > page.search_calls:
        raise too_many_calls(
            f"More than {page.search_calls:,} calls match; narrow the list with start_date and end_date, or "
            "send total=false.",
            page.search_calls,
        )
    return Found(rows, total)


async def _found_by_days(connection: Connection, filters: CallFilters, page: Page, zone: ZoneInfo) -> Found:
    """A page of calls that the counts count: read from the days that have such calls, from the page's first
    day."""
    days = [day for day in await days_of(connection, filters.cells, filters.measured) if day.listed]
    total = sum(day.listed for day in days) if page.total else None
    if page.after is not None:
        reached = local_day(page.after.created_at, zone)
        newest_first = page.order == "desc"
        days = [
            day
            for day in days
            if (day.day <= reached + _SPARE if newest_first else day.day >= reached - _SPARE)
        ]
    if page.order == "desc":
        days.reverse()
    days, offset = place(days, page.offset, zone)
    left = page.search_calls if _scans(filters) else None
    rows: list[Record] = []
    for position, run in enumerate(runs(days)):
        within = filters.within(run.first, run.last)
        asked = page._replace(limit=page.limit - len(rows), offset=offset)
        read = await _read(connection, within, asked, left)
        rows += read
        if len(rows) > page.limit:
            break
        whole = page.after is None or position > 0
        if left is not None:
            if (read and read[-1]["looked_at"] == left) or (whole and len(read) < run.listed - offset):
                raise _too_many_between(page.search_calls)
            left -= run.calls if whole else 0
        offset = 0
    return Found(rows, total)


async def _read(
    connection: Connection, filters: CallFilters, page: Page, look_at: int | None = None
) -> Sequence[Record]:
    return await PAGE[page.order].fetch(connection, **_parameters(filters, page, look_at))


def _parameters(filters: CallFilters, page: Page, look_at: int | None = None) -> dict[str, Any]:
    """The values of the parameters of `PAGE`, which examines at most `look_at` calls."""
    return {
        **filters.parameters,
        "after_time": page.after and page.after.created_at,
        "after_id": page.after and page.after.id,
        "calls_looked_at": look_at,
        "limit": page.limit + 1,
        "offset": page.offset,
    }


async def _searched(connection: Connection, filters: CallFilters, page: Page) -> Found:
    """A page of calls that must be searched for among a bounded number of other calls."""
    narrowed = await _narrowed(connection, filters, page.search_calls)
    if narrowed is None:
        return Found([], 0)
    rows = await SEARCH[page.sort, page.order].fetch(
        connection,
        **narrowed.parameters,
        after_value=page.after and page.after.value,
        after_time=page.after and page.after.created_at,
        after_id=page.after and page.after.id,
        limit=page.limit + 1,
        offset=page.offset,
    )
    return Found([row for row in rows if row["id"] is not None], rows[0]["total"] if page.total else None)


async def _narrowed(connection: Connection, filters: CallFilters, search_calls: int) -> CallFilters | None:
    """The same filters, within the days that have such calls; None if there are no such days. Raises the 400
    `ApiError` if neither an index nor the span leaves few enough calls to examine."""
    if await has_few(connection, filters, search_calls):
        return filters
    if filters.has_instants:
        if await _count(connection, filters.by_span, search_calls) > search_calls:
            raise _too_many_to_search(f"More than {search_calls:,}", search_calls)
        return filters
    days = await days_of(connection, filters.cells)
    listed = [day.day for day in days if day.listed]
    if not listed:
        return None
    first, last = listed[0], listed[-1]
    calls = sum(day.calls for day in days if first <= day.day <= last)
    if calls > search_calls:
        raise _too_many_to_search(f"{calls:,}", search_calls)
    return filters.within(first, last)


async def has_few(connection: Connection, filters: CallFilters, most: int) -> bool:
    """Whether one index alone leaves at most `most` calls. Raises asyncpg's errors."""
    for by_index in filters.by_each_index():
        if await _count(connection, by_index, most) <= most:
            return True
    return False


async def _count(connection: Connection, filters: CallFilters, most: int) -> int:
    """How many calls match, counted up to one more than `most`."""
    calls: int = await COUNT.fetchval(connection, **filters.parameters, calls_max=most + 1)
    return calls


def _too_many_between(search_calls: int) -> ApiError:
    return too_many_calls(
        f"More than {search_calls:,} other calls lie between the calls of this page; narrow the list with "
        "start_date and end_date, which may be timestamps.",
        search_calls,
    )


def _too_many_to_search(calls: str, search_calls: int) -> ApiError:
    return too_many_calls(
        f"{calls} calls are in this span, and these filters or this order must examine each of them; "
        f"narrow the span with start_date and end_date to at most {search_calls:,} calls.",
        search_calls,
    )
