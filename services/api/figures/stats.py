"""Stats: the status breakdown and telephony's figures of any span."""

from calendar import monthrange
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Annotated, Final, NamedTuple
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Request, Response

from services.api.access.credentials import MayReadFigures, Principal
from services.api.database.databases import Connection, with_custom_plans
from services.api.figures import documentation, formulas
from services.api.figures.answer_cache import Computed, Earlier, answered
from services.api.figures.cell_filters import Filters, filters_of
from services.api.figures.concurrency import peak_concurrency
from services.api.figures.intervals import Span, previous
from services.api.figures.stats_query import PEAK_DAYS_MAX, StatsQuery
from services.api.figures.sums import DISTRIBUTIONS, GroupBy, Sums, sums_by_group, sums_by_part, total
from services.api.http.errors import invalid_parameter
from services.api.http.query import read_query
from shared.encoding import encode

router = APIRouter(tags=["figures"])

MONTHS_MAX: Final = 12 * 9999
"""The months of the calendar."""


class StatsAsked(NamedTuple):
    """The content of a request for stats."""

    filters: Filters
    group_by: GroupBy | None = None
    previous: Span | None = None
    """The span to compare with."""
    peak_of: Span | None = None
    """The span whose peak concurrency is requested."""


async def stats_query(request: Request) -> StatsQuery:
    """The dependency that reads the query of stats. Raises the 400 `ApiError`."""
    return read_query(request, StatsQuery)


@router.get("/calls/stats", **documentation.GET_STATS)
async def get_stats(
    request: Request, principal: MayReadFigures, query: Annotated[StatsQuery, Depends(stats_query)]
) -> Response:
    """Returns the status breakdown and the figures of the requested calls, over any span. They are exact at
    the moment of the answer. `GET /calls?action=stats` is equivalent."""
    asked = stats_asked(principal, query)
    return await answered(
        request,
        principal,
        ("stats", asked),
        lambda connection, earlier: stats(connection, asked, principal.zone, earlier),
    )


def stats_asked(principal: Principal, query: StatsQuery) -> StatsAsked:
    """The request, limited to what the principal may see. Raises the 400 `ApiError`."""
    filters = filters_of(principal, query)
    days = Span(filters.start_date, filters.end_date) if filters.start_date and filters.end_date else None
    for name, needs_days in (("compare", query.compare), ("include", query.include)):
        if needs_days and days is None:
            raise invalid_parameter(name, f"can be {needs_days} only with start_date and end_date")
    if query.include and days and days.days > PEAK_DAYS_MAX:
        rule = f"can be {query.include} only for at most {PEAK_DAYS_MAX} days, but the dates span {days.days}"
        raise invalid_parameter("include", rule)
    before = previous(days) if query.compare and days else None
    return StatsAsked(filters, query.group_by, before, days if query.include else None)


async def stats(
    connection: Connection, asked: StatsAsked, zone: ZoneInfo, earlier: Earlier | None = None
) -> Computed:
    """The requested figures, from one snapshot. Raises the 400 `ApiError` if a peak has too many calls to
    examine."""
    months = await _months(connection, asked.filters, earlier)
    if earlier and (asked.group_by or asked.peak_of):
        await with_custom_plans(connection)
    figures = await _figures(connection, asked, zone, months)
    if asked.previous:
        start, end = asked.previous
        before = asked._replace(
            filters=replace(asked.filters, start_date=start, end_date=end),
            peak_of=asked.peak_of and asked.previous,
        )
        months_before = await _months(connection, before.filters)
        figures["previous"] = await _figures(connection, before, zone, months_before)
    body = encode({**figures, "time_zone": zone.key})
    return Computed(body, None if asked.previous else months, depends_on_calls=asked.peak_of is not None)


async def _months(
    connection: Connection, filters: Filters, earlier: Earlier | None = None
) -> Mapping[date, Sums]:
    """The sums of the requested calls by the month of their day. A month begins at its first requested day.
    Months without calls may be missing."""
    if earlier is None:
        kept, days = {}, None
    else:
        changed = {_month_of(day, filters) for day in earlier.changed_days if _is_requested(day, filters)}
        kept = {start: sums for start, sums in earlier.parts.items() if start not in changed}
        days = [day for start in changed for day in Span(start, _end_of_month(start)).each_day()]
    if days is None or days:
        parts = await sums_by_part(
            connection, filters, "month", None, DISTRIBUTIONS, most=MONTHS_MAX, days=days
        )
        kept |= {part.start: sums for part, sums in parts.items()}
    return kept


def _is_requested(day: date, filters: Filters) -> bool:
    return (filters.start_date or date.min) <= day <= (filters.end_date or date.max)


def _month_of(day: date, filters: Filters) -> date:
    """The first requested day of a day's month."""
    return max(day.replace(day=1), filters.start_date or date.min)


def _end_of_month(day: date) -> date:
    return day.replace(day=monthrange(day.year, day.month)[1])


async def _figures(
    connection: Connection, asked: StatsAsked, zone: ZoneInfo, months: Mapping[date, Sums]
) -> dict[str, object]:
    """The figures for the filters' own days only, whose sums are these."""
    figures: dict[str, object] = {
        **formulas.of_stats(total(months.values())),
        "start_date": asked.filters.start_date,
        "end_date": asked.filters.end_date,
    }
    if asked.group_by:
        groups = await sums_by_group(connection, asked.filters, asked.group_by)
        figures["groups"] = [{"group": group, **formulas.of_stats(of_group)} for group, of_group in groups]
    if asked.peak_of:
        figures["peak_concurrency"] = await peak_concurrency(connection, asked.filters, asked.peak_of, zone)
    return figures
