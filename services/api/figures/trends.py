"""Trends: the counts of each hour, day, week or month."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Annotated, Final, NamedTuple
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Request, Response

from services.api.access.credentials import MayReadFigures, Principal
from services.api.database.databases import Connection
from services.api.figures import documentation, formulas
from services.api.figures.answer_cache import ApiWithAnswers, answered
from services.api.figures.cell_filters import Filters, filters_of
from services.api.figures.intervals import (
    Interval,
    Span,
    WeekStart,
    hour_starts,
    intervals,
    previous,
    same_hours,
    span,
)
from services.api.figures.stats_query import ROWS_MAX, ROWS_WITH_DISTRIBUTIONS_MAX, TrendsQuery
from services.api.figures.sums import NO_CALLS, Distribution, GroupBy, Part, Sums, TooManyParts, sums_by_part
from services.api.http.errors import ApiError, invalid_parameter
from services.api.http.query import read_query
from shared.calls.local_time import local_day

ROWS_AT_ONCE: Final = 400

router = APIRouter(tags=["figures"])


class TrendsAsked(NamedTuple):
    """The content of a request for trends."""

    filters: Filters
    """The filters have the days of the span."""
    span: Span
    interval: Interval = "day"
    group_by: GroupBy | None = None
    previous: Span | None = None
    """The span to compare with."""
    distributions: Sequence[Distribution] = ()
    week_start: WeekStart = "monday"


async def trends_query(request: Request) -> TrendsQuery:
    """The dependency that reads the query of trends. Raises the 400 `ApiError`."""
    return read_query(request, TrendsQuery)


@router.get("/calls/trends", **documentation.GET_TRENDS)
async def get_trends(
    request: Request, principal: MayReadFigures, query: Annotated[TrendsQuery, Depends(trends_query)]
) -> Response:
    """Returns the counts of each hour, day, week or month of a span, including those without calls. They are
    exact at the moment of the answer. `GET /calls?action=trends` is equivalent."""
    today = local_day(ApiWithAnswers.of(request).clock(), principal.zone)
    asked = trends_asked(principal, query, today)
    return await answered(
        request, principal, ("trends", asked), lambda connection: trends(connection, asked, principal.zone)
    )


def trends_asked(principal: Principal, query: TrendsQuery, today: date) -> TrendsAsked:
    """The request, limited to what the principal may see; `today` is the organization's. Raises the 400
    `ApiError`."""
    filters = filters_of(principal, query)
    asked = span(filters.start_date, filters.end_date, today, query.interval)
    if query.include and query.interval == "hour":
        raise invalid_parameter(
            "include",
            "cannot be combined with interval=hour; percentiles and hangup causes are counted by the day",
        )
    if query.week_start and query.interval != "week":
        raise invalid_parameter("week_start", "applies only to interval=week")
    return TrendsAsked(
        replace(filters, start_date=asked.start, end_date=asked.end),
        asked,
        query.interval,
        query.group_by,
        previous(asked, query.interval) if query.compare else None,
        query.include,
        query.week_start or "monday",
    )


async def trends(connection: Connection, asked: TrendsAsked, zone: ZoneInfo) -> dict[str, object]:
    """The requested counts, from one snapshot. Raises the 400 `ApiError` for too many rows."""
    parts = await _sums_by_part(connection, asked, asked.span)
    before = await _sums_by_part(connection, asked, asked.previous) if asked.previous else None
    groups = _groups(parts) if asked.group_by else [None]
    moments = list(_moments(asked, zone, parts))
    if len(groups) * len(moments) > _rows_max(asked):
        raise _too_many_rows(asked)

    def rows() -> list[dict[str, object]]:
        return [_row(asked, group, moment, parts, before) for group in groups for moment in moments]

    # Building 20,000 rows takes a good part of a second; in a thread, other requests are answered meanwhile.
    # A year of days is built faster than a switch of threads.
    few = len(groups) * len(moments) <= ROWS_AT_ONCE
    data = rows() if few else await asyncio.to_thread(rows)
    return {
        "data": data,
        "interval": asked.interval,
        "start_date": asked.span.start,
        "end_date": asked.span.end,
        "time_zone": zone.key,
    }


class _Moment(NamedTuple):
    """An hour or another interval, and the fields of its dates."""

    start: date
    hour: int | None
    fields: Mapping[str, object]
    previous_hour: int | None = None
    """The hour of the earlier day to compare with."""

    @property
    def has_previous(self) -> bool:
        """Whether the earlier span has such a moment."""
        return self.hour is None or self.previous_hour is not None


async def _sums_by_part(connection: Connection, asked: TrendsAsked, days: Span) -> dict[Part, Sums]:
    """The sums of these days in the intervals of the requested span."""
    try:
        return await sums_by_part(
            connection,
            replace(asked.filters, start_date=days.start, end_date=days.end),
            asked.interval,
            asked.group_by,
            asked.distributions,
            week_start=asked.week_start,
            days_after=(asked.span.start - days.start).days,
            most=_rows_max(asked),
        )
    except TooManyParts:
        raise _too_many_rows(asked) from None


def _groups(parts: Mapping[Part, Sums]) -> list[str | None]:
    """The groups, ordered by calls, the most first, then by name."""
    calls: Counter[str | None] = Counter()
    for part, sums in parts.items():
        calls[part.group] += sums.calls
    return sorted(calls, key=lambda group: (-calls[group], group))


def _moments(asked: TrendsAsked, zone: ZoneInfo, parts: Iterable[Part]) -> Iterator[_Moment]:
    """Every interval of the span, in order."""
    hours: dict[date, int] = {}
    for part in parts:
        if part.hour is not None:
            hours[part.start] = max(hours.get(part.start, 0), part.hour + 1)
    for start, end in intervals(asked.span, asked.interval, asked.week_start):
        if asked.interval == "hour":
            at_least = hours.get(start, 0)
            starts = hour_starts(start, zone, at_least)
            earlier: Sequence[int | None] = [None] * len(starts)
            if asked.previous:
                earlier = same_hours(start, start - timedelta(days=asked.span.days), zone, at_least)
            for hour, (hour_start, previous_hour) in enumerate(zip(starts, earlier, strict=True)):
                yield _Moment(start, hour, {"date": start, "hour_start": hour_start}, previous_hour)
        elif asked.interval == "day":
            yield _Moment(start, None, {"date": start})
        else:
            yield _Moment(start, None, {"date": start, "start_date": start, "end_date": end})


def _row(
    asked: TrendsAsked,
    group: str | None,
    moment: _Moment,
    parts: Mapping[Part, Sums],
    before: Mapping[Part, Sums] | None,
) -> dict[str, object]:
    part = Part(group, moment.start, moment.hour)
    row = {**moment.fields, **_figures(asked, parts.get(part, NO_CALLS))}
    if asked.group_by:
        row["group"] = group
    if before is not None:
        earlier = before.get(part._replace(hour=moment.previous_hour), NO_CALLS)
        row["previous"] = _figures(asked, earlier) if moment.has_previous else None
    return row


def _figures(asked: TrendsAsked, sums: Sums) -> dict[str, object]:
    if asked.interval == "hour":
        return formulas.of_hour(sums)
    return formulas.of_days(sums, asked.distributions)


def _rows_max(asked: TrendsAsked) -> int:
    return ROWS_WITH_DISTRIBUTIONS_MAX if asked.distributions else ROWS_MAX


def _too_many_rows(asked: TrendsAsked) -> ApiError:
    rule = (
        f"would return more than {_rows_max(asked)} rows; request fewer days, longer intervals or one "
        "phone number"
    )
    return invalid_parameter("group_by", rule)
