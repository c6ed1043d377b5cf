"""Trends: the counts of each hour, day, week or month."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from itertools import groupby
from typing import Annotated, Final, NamedTuple
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Request, Response

from services.api.access.credentials import MayReadFigures, Principal
from services.api.database.databases import Connection
from services.api.figures import documentation, formulas
from services.api.figures.answer_cache import ApiWithAnswers, Computed, Earlier, answered
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
    spans_with,
)
from services.api.figures.stats_query import ROWS_MAX, ROWS_WITH_DISTRIBUTIONS_MAX, TrendsQuery
from services.api.figures.sums import NO_CALLS, Distribution, GroupBy, Part, Sums, TooManyParts, sums_by_part
from services.api.http.errors import ApiError, invalid_parameter
from services.api.http.query import read_query
from shared.calls.local_time import local_day
from shared.encoding import encode

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
        request,
        principal,
        ("trends", asked),
        lambda connection, earlier: trends(connection, asked, principal.zone, earlier),
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


async def trends(
    connection: Connection, asked: TrendsAsked, zone: ZoneInfo, earlier: Earlier | None = None
) -> Computed:
    """The requested counts, from one snapshot. Raises the 400 `ApiError` for too many rows."""
    if asked.group_by or asked.previous:
        body = _body(asked, zone, await _rows_of_groups(connection, asked, zone))
        return Computed(body)
    spans = intervals(asked.span, asked.interval, asked.week_start)
    if earlier is None:
        kept, new, days = {}, spans, None
    else:
        kept, new = dict(earlier.parts), spans_with(spans, earlier.changed_days)
        days = [day for each in new for day in each.each_day()]
    if new:
        sums = await _sums_by_part(connection, asked, asked.span, days)
        for start, moments in groupby(_moments(asked, zone, new, sums), key=lambda moment: moment.start):
            kept[start] = encode([_row(asked, None, moment, sums, None) for moment in moments])[1:-1]
    return Computed(_body(asked, zone, b",".join([kept[each.start] for each in spans])), kept)


async def _rows_of_groups(connection: Connection, asked: TrendsAsked, zone: ZoneInfo) -> bytes:
    """The JSON of all rows, separated by commas. Raises the 400 `ApiError` for too many rows."""
    parts = await _sums_by_part(connection, asked, asked.span)
    before = await _sums_by_part(connection, asked, asked.previous) if asked.previous else None
    groups = _groups(parts) if asked.group_by else [None]
    spans = intervals(asked.span, asked.interval, asked.week_start)
    moments = list(_moments(asked, zone, spans, parts))
    if len(groups) * len(moments) > _rows_max(asked):
        raise _too_many_rows(asked)

    def rows() -> bytes:
        return encode([_row(asked, group, moment, parts, before) for group in groups for moment in moments])

    # Building 20,000 rows takes a good part of a second; in a thread, other requests are answered meanwhile.
    # A year of days is built faster than a switch of threads.
    few = len(groups) * len(moments) <= ROWS_AT_ONCE
    return (rows() if few else await asyncio.to_thread(rows))[1:-1]


def _body(asked: TrendsAsked, zone: ZoneInfo, rows: bytes) -> bytes:
    """The JSON of the answer with these rows."""
    about = {
        "interval": asked.interval,
        "start_date": asked.span.start,
        "end_date": asked.span.end,
        "time_zone": zone.key,
    }
    return b'{"data":[' + rows + b"]," + encode(about)[1:]


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


async def _sums_by_part(
    connection: Connection, asked: TrendsAsked, span: Span, days: Sequence[date] | None = None
) -> dict[Part, Sums]:
    """The sums of a span in the intervals of the requested span. With `days`, only of these days."""
    try:
        return await sums_by_part(
            connection,
            replace(asked.filters, start_date=span.start, end_date=span.end),
            asked.interval,
            asked.group_by,
            asked.distributions,
            week_start=asked.week_start,
            days_after=(asked.span.start - span.start).days,
            most=_rows_max(asked),
            days=days,
        )
    except TooManyParts:
        raise _too_many_rows(asked) from None


def _groups(parts: Mapping[Part, Sums]) -> list[str | None]:
    """The groups, ordered by calls, the most first, then by name."""
    calls: Counter[str | None] = Counter()
    for part, sums in parts.items():
        calls[part.group] += sums.calls
    return sorted(calls, key=lambda group: (-calls[group], group))


def _moments(
    asked: TrendsAsked, zone: ZoneInfo, spans: Iterable[Span], parts: Iterable[Part]
) -> Iterator[_Moment]:
    """Every hour or interval of these spans, in order."""
    hours: dict[date, int] = {}
    if asked.interval == "hour":
        for part in parts:
            hours[part.start] = max(hours.get(part.start, 0), (part.hour or 0) + 1)
    for start, end in spans:
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
