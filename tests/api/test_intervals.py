"""The hours, days, weeks and months of trends."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.figures.intervals import (
    SPANS,
    Interval,
    Span,
    WeekStart,
    hour_starts,
    intervals,
    previous,
    same_hours,
    span,
)
from services.api.http.errors import ApiError
from shared.calls.local_time import local_hour
from shared.calls.zones import time_zone, zone_names

TODAY = date(2026, 11, 24)
ASKED: list[tuple[Interval, str | None, str | None, str, str]] = [
    ("day", None, None, "2026-10-26", "2026-11-24"),
    ("day", "2026-11-01", None, "2026-11-01", "2026-11-24"),
    ("day", "2025-11-24", None, "2025-11-24", "2026-11-24"),
    ("day", "2026-12-24", None, "2026-12-24", "2026-12-24"),
    ("day", "9999-12-31", None, "9999-12-31", "9999-12-31"),
    ("day", None, "2026-01-05", "2025-12-07", "2026-01-05"),
    ("day", "2026-11-24", "2026-11-24", "2026-11-24", "2026-11-24"),
    ("day", "2025-11-24", "2026-11-24", "2025-11-24", "2026-11-24"),  # 366 days
    ("day", "9999-12-01", "9999-12-31", "9999-12-01", "9999-12-31"),
    ("day", "0001-01-01", "0001-12-31", "0001-01-01", "0001-12-31"),
    ("hour", None, None, "2026-11-18", "2026-11-24"),
    ("hour", "2026-10-25", None, "2026-10-25", "2026-11-24"),
    ("week", None, None, "2026-09-02", "2026-11-24"),
    ("month", None, None, "2025-11-24", "2026-11-24"),
    ("month", "2017-01-01", "2026-12-31", "2017-01-01", "2026-12-31"),
]
IMPOSSIBLE: list[tuple[Interval, str | None, str | None, str]] = [
    ("day", "2025-11-23", "2026-11-24", "start_date must be less than 366 days before end_date."),
    ("day", "0001-01-01", "9999-12-31", "start_date must be less than 366 days before end_date."),
    (
        "day",
        "2025-11-23",
        None,
        "start_date must be less than 366 days before today, the default of end_date.",
    ),
    (
        "day",
        None,
        "0001-01-01",
        "end_date leaves no room for the default of 30 days; send start_date as well.",
    ),
    (
        "hour",
        "2026-10-24",
        None,
        "start_date must be less than 31 days before today, the default of end_date.",
    ),
    ("hour", "9999-12-30", None, "interval can be hour only for days from 0001-01-03 to 9999-12-29."),
    ("hour", "0001-01-02", "0001-01-03", "interval can be hour only for days from 0001-01-03 to 9999-12-29."),
    ("week", "2025-11-23", "2026-11-24", "start_date must be less than 366 days before end_date."),
    ("month", "2016-11-16", "2026-11-24", "start_date must be less than 3660 days before end_date."),
]


def day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None


@pytest.mark.parametrize(("interval", "start", "end", "first", "last"), ASKED)
def test_the_days_of_trends(
    interval: Interval, start: str | None, end: str | None, first: str, last: str
) -> None:
    assert span(day(start), day(end), TODAY, interval) == (day(first), day(last))


@pytest.mark.parametrize(("interval", "start", "end", "sentence"), IMPOSSIBLE)
def test_days_that_trends_cannot_have(
    interval: Interval, start: str | None, end: str | None, sentence: str
) -> None:
    with pytest.raises(ApiError) as raised:
        span(day(start), day(end), TODAY, interval)
    assert (raised.value.status, raised.value.sentence) == (400, sentence)


def test_the_span_before_has_as_many_days() -> None:
    assert previous(Span(date(2026, 3, 1), date(2026, 3, 31))) == (date(2026, 1, 29), date(2026, 2, 28))
    assert previous(Span(date(1, 1, 2), date(1, 1, 2))) == (date(1, 1, 1), date(1, 1, 1))
    with pytest.raises(ApiError) as raised:
        previous(Span(date(1, 1, 2), date(1, 1, 3)))
    assert raised.value.sentence == (
        "start_date is too early for compare=previous, which needs 2 days before it."
    )
    assert previous(Span(date(1, 1, 4), date(1, 1, 4)), "hour") == (date(1, 1, 3), date(1, 1, 3))
    with pytest.raises(ApiError):
        previous(Span(date(1, 1, 4), date(1, 1, 5)), "hour")


def test_weeks_begin_on_monday_and_months_on_their_first_and_both_are_clipped() -> None:
    asked = Span(date(2026, 10, 29), date(2026, 11, 10))

    assert list(intervals(asked, "week")) == [
        (date(2026, 10, 29), date(2026, 11, 1)),
        (date(2026, 11, 2), date(2026, 11, 8)),
        (date(2026, 11, 9), date(2026, 11, 10)),
    ]
    assert list(intervals(asked, "month")) == [
        (date(2026, 10, 29), date(2026, 10, 31)),
        (date(2026, 11, 1), date(2026, 11, 10)),
    ]


def test_weeks_may_begin_on_sunday_also_over_the_end_of_a_year() -> None:
    asked = Span(date(2026, 12, 23), date(2027, 1, 4))

    assert list(intervals(asked, "week", "sunday")) == [
        (date(2026, 12, 23), date(2026, 12, 26)),
        (date(2026, 12, 27), date(2027, 1, 2)),
        (date(2027, 1, 3), date(2027, 1, 4)),
    ]


WEEKS: dict[WeekStart, tuple[int, int]] = {"monday": (0, 6), "sunday": (6, 5)}
"""The weekdays of a week's first and last day."""


@given(st.dates(), st.integers(1, 400), st.sampled_from(list(SPANS)), st.sampled_from(list(WEEKS)))
def test_intervals_are_the_span_in_parts(
    start: date, days: int, interval: Interval, week_start: WeekStart
) -> None:
    asked = Span(start, date.fromordinal(min(start.toordinal() + days - 1, date.max.toordinal())))

    parts = list(intervals(asked, interval, week_start))

    assert (parts[0].start, parts[-1].end) == asked
    assert all(after.start - before.end == timedelta(days=1) for before, after in pairwise(parts))
    if interval == "week":
        first, last = WEEKS[week_start]
        assert all(part.start.weekday() == first for part in parts[1:])
        assert all(part.end.weekday() == last for part in parts[:-1])
    if interval == "month":
        assert all(part.start.day == 1 for part in parts[1:])
        assert all(part.start.month == part.end.month for part in parts)


HOURS = [
    # time zone, day, number of hours, the first hour, the last hour
    ("UTC", "2026-11-24", 24, "2026-11-24T00:00:00+00:00", "2026-11-24T23:00:00+00:00"),
    ("Europe/Berlin", "2026-11-24", 24, "2026-11-24T00:00:00+01:00", "2026-11-24T23:00:00+01:00"),
    ("Europe/Berlin", "2026-03-29", 23, "2026-03-29T00:00:00+01:00", "2026-03-29T23:00:00+02:00"),
    ("Europe/Berlin", "2026-10-25", 25, "2026-10-25T00:00:00+02:00", "2026-10-25T23:00:00+01:00"),
    # The clock is set back by half an hour, so that the last hour is half an hour; and set forward.
    ("Australia/Lord_Howe", "2026-04-05", 25, "2026-04-05T00:00:00+11:00", "2026-04-05T23:30:00+10:30"),
    ("Australia/Lord_Howe", "2026-10-04", 24, "2026-10-04T00:00:00+10:30", "2026-10-04T23:30:00+11:00"),
    # The clock skips midnight; skips a whole day; is set back over midnight.
    ("America/Sao_Paulo", "2018-11-04", 23, "2018-11-04T01:00:00-02:00", "2018-11-04T23:00:00-02:00"),
    ("Pacific/Apia", "2011-12-30", 0, "", ""),
    ("America/St_Johns", "1990-10-27", 25, "1990-10-27T00:00:00-02:30", "1990-10-28T00:00:00-02:30"),
    # An offset with seconds, which RFC 3339 cannot express.
    ("Europe/Berlin", "1890-01-01", 24, "1889-12-31T23:06:32+00:00", "1890-01-01T22:06:32+00:00"),
]


@pytest.mark.parametrize(("zone", "of", "hours", "first", "last"), HOURS)
def test_the_hours_of_a_day(zone: str, of: str, hours: int, first: str, last: str) -> None:
    starts = hour_starts(date.fromisoformat(of), time_zone(zone))

    assert len(starts) == hours
    if starts:
        assert (starts[0].isoformat(), starts[-1].isoformat()) == (first, last)
        instants = [start.astimezone(UTC) for start in starts]
        assert all(after - before == timedelta(hours=1) for before, after in pairwise(instants))


def test_hours_that_are_counted_are_told_also_where_the_day_has_none() -> None:
    assert len(hour_starts(date(2011, 12, 30), time_zone("Pacific/Apia"), at_least=2)) == 2


SAME_HOURS: list[tuple[str, str, str, list[int | None]]] = [
    # time zone, day, earlier day, and for each hour of the day the matching hour of the earlier one
    ("UTC", "2026-11-24", "2026-11-23", list(range(24))),
    ("Europe/Berlin", "2026-03-29", "2026-03-28", [0, 1, *range(3, 24)]),
    ("Europe/Berlin", "2026-03-30", "2026-03-29", [0, 1, None, *range(2, 23)]),
    ("Europe/Berlin", "2026-10-25", "2026-10-24", [0, 1, 2, 2, *range(3, 24)]),
    ("Europe/Berlin", "2026-10-26", "2026-10-25", [0, 1, 2, *range(4, 25)]),
    ("Europe/Berlin", "2026-10-25", "2025-10-26", list(range(25))),
    # The clock changes by half an hour.
    ("Australia/Lord_Howe", "2026-10-04", "2026-10-03", list(range(24))),
    ("Australia/Lord_Howe", "2026-04-05", "2026-04-04", [0, 1, 1, *range(2, 24)]),
    # A day does not exist; midnight is skipped; the last hour is repeated.
    ("Pacific/Apia", "2011-12-31", "2011-12-30", [None] * 24),
    ("Pacific/Apia", "2011-12-30", "2011-12-29", []),
    ("America/Sao_Paulo", "2018-11-05", "2018-11-04", [None, *range(23)]),
    ("America/Sao_Paulo", "2018-02-17", "2018-02-16", [*range(24), 23]),
]


@pytest.mark.parametrize(("zone", "of", "earlier", "hours"), SAME_HOURS)
def test_an_hour_is_compared_with_the_one_in_which_the_clock_shows_the_same(
    zone: str, of: str, earlier: str, hours: list[int | None]
) -> None:
    days = date.fromisoformat(of), date.fromisoformat(earlier)
    assert same_hours(*days, time_zone(zone)) == hours


def test_an_hour_that_a_day_lacks_is_compared_with_none() -> None:
    days = date(2026, 11, 24), date(2026, 11, 23)
    assert same_hours(*days, time_zone("UTC"), at_least=25) == [*range(24), None]


_instants = st.datetimes(
    datetime(1850, 1, 1),  # noqa: DTZ001
    datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)


@given(_instants, st.sampled_from(sorted(zone_names())))
def test_every_instant_is_in_one_of_its_days_hours(instant: datetime, zone: str) -> None:
    when = local_hour(instant, time_zone(zone))
    assert when.hour is not None

    begin = hour_starts(when.day, time_zone(zone))[when.hour].astimezone(UTC)

    assert begin <= instant < begin + timedelta(hours=1) or when.hour == 24
