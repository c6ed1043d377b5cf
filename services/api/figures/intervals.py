"""Intervals: the hours, days, weeks and months that are the rows of trends. Pure."""

import math
from bisect import bisect_right
from calendar import monthrange
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

from services.api.http.errors import invalid_parameter
from shared.calls.local_time import day_begin

Interval = Literal["hour", "day", "week", "month"]
WeekStart = Literal["monday", "sunday"]


class Days(NamedTuple):
    """How many days trends have at an interval: by default, and at most."""

    unless_asked: int
    most: int


SPANS: Final[dict[Interval, Days]] = {
    "hour": Days(7, 31),
    "day": Days(30, 366),
    "week": Days(84, 366),
    "month": Days(366, 3660),
}
DAYS_WITH_HOURS: Final = (date(1, 1, 3), date(9999, 12, 29))
"""The first and the last day whose hours all exist on the calendar, in every time zone."""

_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)


class Span(NamedTuple):
    """Whole days of the organization's calendar, both inclusive."""

    start: date
    end: date

    @property
    def days(self) -> int:
        return (self.end - self.start).days + 1

    def each_day(self) -> Iterator[date]:
        """Its days, in order."""
        return map(date.fromordinal, range(self.start.toordinal(), self.end.toordinal() + 1))


def span(start: date | None, end: date | None, today: date, interval: Interval = "day") -> Span:
    """The days of the requested trends. Without `end` they end today, or on `start` if that is later; without
    `start` they are the interval's default number of days. Raises the 400 `ApiError` for too many days, or
    for days outside of the calendar."""
    unless_asked, most = SPANS[interval]
    last = end or max(today, start or today)
    if start is None:
        try:
            start = last - timedelta(days=unless_asked - 1)
        except OverflowError:
            rule = f"leaves no room for the default of {unless_asked} days; send start_date as well"
            raise invalid_parameter("end_date", rule) from None
    if (last - start).days >= most:
        until = "end_date" if end else "today, the default of end_date"
        raise invalid_parameter("start_date", f"must be less than {most} days before {until}")
    first_with_hours, last_with_hours = DAYS_WITH_HOURS
    if interval == "hour" and not first_with_hours <= start <= last <= last_with_hours:
        rule = f"can be hour only for days from {first_with_hours} to {last_with_hours}"
        raise invalid_parameter("interval", rule)
    return Span(start, last)


def previous(asked: Span, interval: Interval = "day") -> Span:
    """The same number of days just before. Raises the 400 `ApiError` if they are before the calendar's first
    day, or by the hour before its first day that has all hours."""
    first = DAYS_WITH_HOURS[0] if interval == "hour" else date.min
    if (asked.start - first).days < asked.days:
        rule = f"is too early for compare=previous, which needs {asked.days} days before it"
        raise invalid_parameter("start_date", rule)
    return Span(asked.start - timedelta(days=asked.days), asked.start - _DAY)


@lru_cache(maxsize=32)
def intervals(asked: Span, interval: Interval, week_start: WeekStart = "monday") -> Sequence[Span]:
    """The days, weeks (beginning on `week_start`) or months that overlap the span, in order; the first and
    the last one are clipped to it. For `hour`, these are the days."""
    return tuple(_intervals(asked, interval, week_start))


def _intervals(asked: Span, interval: Interval, week_start: WeekStart) -> Iterator[Span]:
    day, last = asked.start.toordinal(), asked.end.toordinal()
    while day <= last:
        end = min(day + _days_left(date.fromordinal(day), interval, week_start), last)
        yield Span(date.fromordinal(day), date.fromordinal(end))
        day = end + 1


def spans_with(spans: Sequence[Span], days: Collection[date]) -> list[Span]:
    """Those of the spans, which are in order, that contain one of these days."""
    starts = [each.start for each in spans]
    places = ((day, bisect_right(starts, day) - 1) for day in days)
    return sorted({spans[place] for day, place in places if place >= 0 and day <= spans[place].end})


def hour_starts(day: date, zone: ZoneInfo, at_least: int = 0) -> list[datetime]:
    """When each hour of a day begins, in the organization's time zone: 24 hours, or as many as the day has
    when the clock changes. There are `at_least` this many: the counts may have hours that this machine's
    time zone rules do not have."""
    begin = day_begin(day, zone)
    hours = math.ceil((_last_end(day, zone) - begin) / _HOUR)
    return [in_zone(begin + hour * _HOUR, zone) for hour in range(max(hours, at_least))]


def same_hours(day: date, other: date, zone: ZoneInfo, at_least: int = 0) -> list[int | None]:
    """For each hour of `day`, in the order of `hour_starts`, the hour of `other` with the same local time.
    None if the clock of `other` skips it.

    A clock that is set back shows an hour twice. The first occurrence then matches the first, and the second
    the second. If the other day has only one, both match that one.
    """
    of_other: dict[_Reading, list[int]] = {}
    for hour, reading in enumerate(_readings(other, zone)):
        of_other.setdefault(reading, []).append(hour)
    matches: list[int | None] = []
    turns: dict[_Reading, int] = {}
    for reading in _readings(day, zone, at_least):
        turn = turns[reading] = turns.get(reading, 0) + 1
        hours = of_other.get(reading)
        matches.append(hours[min(turn, len(hours)) - 1] if hours else None)
    return matches


_Reading = tuple[int, int]


def _readings(day: date, zone: ZoneInfo, at_least: int = 0) -> Iterator[_Reading]:
    """The local time at the start of each hour of a day: the number of days after `day`, and the hour. The
    days are above 0 only for hours that the day does not have. Minutes are ignored: in some zones the clock
    changes by half an hour."""
    for start in hour_starts(day, zone, at_least):
        local = start.astimezone(zone)
        yield (local.date() - day).days, local.hour


def begin_of(day: date, zone: ZoneInfo) -> datetime:
    """The first instant of a day, in UTC; at the ends of the calendar, its first or last instant."""
    try:
        return day_begin(day, zone)
    except OverflowError:
        return _FIRST if day.year == date.min.year else _LAST


def end_of(day: date, zone: ZoneInfo) -> datetime:
    """The first instant after a day, in UTC; at the end of the calendar, its last instant."""
    return _LAST if day == date.max else begin_of(day + _DAY, zone)


def _last_end(day: date, zone: ZoneInfo) -> datetime:
    """When a day finally ends. If the clock is set back over midnight, the day ends twice."""
    midnights = (datetime.combine(day + _DAY, time(fold=fold), zone) for fold in (0, 1))
    return max(midnight.astimezone(UTC) for midnight in midnights)


def in_zone(instant: datetime, zone: ZoneInfo) -> datetime:
    """An instant in a time zone, if RFC 3339 can express its offset there. Some historical offsets have
    seconds; the instant is then returned unchanged."""
    local = instant.astimezone(zone)
    offset = local.utcoffset()
    return instant if offset is None or offset % _MINUTE else local


def _days_left(day: date, interval: Interval, week_start: WeekStart) -> int:
    """How many days follow this one in its interval."""
    match interval:
        case "week":
            return 6 - (day.weekday() if week_start == "monday" else day.isoweekday() % 7)
        case "month":
            return monthrange(day.year, day.month)[1] - day.day
        case "day" | "hour":
            return 0
