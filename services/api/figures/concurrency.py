"""Concurrency: the most calls that were in progress at once, found among the calls themselves.

A call is in progress from its answer until just before its end. Three kinds of calls are examined: those of
the requested days, those of the day before, and those of earlier days that may reach into the span. The
counts show which days have such calls: calls that have not ended, answered calls without a duration, and
calls of a day or more.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Final
from zoneinfo import ZoneInfo

from services.api.database.databases import Connection
from services.api.figures.calls_per_day import TOTAL, Day, long_days_of, runs
from services.api.figures.cell_filters import CellsQuery, Filters, conditions_of
from services.api.figures.intervals import Span, begin_of, end_of
from services.api.http.errors import too_many_calls
from shared.database.statement import Statement

CALLS_MAX: Final = 200_000
"""The most calls of the requested days and the day before that are examined; and the same for earlier
days."""
LOOK_BACK_DAYS: Final = 366
"""How many days before the span a call may have been created to be examined."""

_ASKED: Final = f"""
calls.organization_id = :organization_id AND calls.livemode = :livemode
    AND {" AND ".join(map(str, conditions_of(CellsQuery)))}
    AND coalesce(completed_at, 'infinity') > greatest(answered_at, :begin::timestamptz)
    AND answered_at < :end::timestamptz
"""

# Changes at one instant are summed: a call that ends cancels out a call that begins.
# `day` decides. The bounds of `created_at` serve the index; they are wider by more than any time zone offset.
PEAK: Final = Statement(f"""
SELECT at, in_progress
FROM (
    SELECT at, sum(sum(by)) OVER (ORDER BY at)::bigint AS in_progress
    FROM (
        SELECT answered_at, completed_at
        FROM calls
        WHERE {_ASKED}
            AND day BETWEEN :start_date AND :end_date
            AND created_at >= (:start_date::date - 1)::timestamp AT TIME ZONE 'UTC'
            AND created_at < (:end_date::date + 2)::timestamp AT TIME ZONE 'UTC'
        UNION ALL
        SELECT answered_at, completed_at
        FROM unnest(:first_days::date[], :last_days::date[]) AS run (first, last), LATERAL (
            SELECT answered_at, completed_at
            FROM calls
            WHERE {_ASKED}
                AND day BETWEEN run.first AND run.last
                AND created_at >= (run.first - 1)::timestamp AT TIME ZONE 'UTC'
                AND created_at < (run.last + 2)::timestamp AT TIME ZONE 'UTC'
            OFFSET 0 -- else the planner joins, and reads all calls for it
        ) AS of_run
    ) AS talks, LATERAL (
        VALUES (greatest(answered_at, :begin), 1), (coalesce(completed_at, 'infinity'), -1)
    ) AS change (at, by)
    WHERE at < :end
    GROUP BY at
) AS moments
ORDER BY in_progress DESC, at
LIMIT 1
""")
"""Parameters: those of `Filters`, from the day before the span; the first instant of the span, and the first
one after it. Two more are the first and last days of each run of earlier days to examine."""


async def peak_concurrency(
    connection: Connection, filters: Filters, span: Span, zone: ZoneInfo
) -> dict[str, object]:
    """The highest number of requested calls in progress at once within the span, when that first happened,
    and the first day whose calls were examined. Raises the 400 `ApiError` for more than `CALLS_MAX` calls."""
    day_before = _days_before(span.start, 1)
    looked_at = replace(filters, start_date=day_before, end_date=span.end)
    of_days = replace(looked_at, status=None, direction=None)  # no index has these, so all calls are examined
    calls = await TOTAL[of_days.phone_number_id is not None].fetchval(connection, **of_days.parameters)
    if calls > CALLS_MAX:
        raise too_many_calls(
            f"include=peak_concurrency examines each call, and {calls:,} calls are in this span and the day "
            f"before; narrow the span with start_date and end_date to at most {CALLS_MAX:,} calls.",
            CALLS_MAX,
        )
    back_to = _days_before(span.start, LOOK_BACK_DAYS)
    earlier: Sequence[Day] = []
    if back_to < day_before:
        until = _days_before(day_before, 1)
        earlier = await long_days_of(connection, replace(filters, start_date=back_to, end_date=until))
    near, first = _nearest(earlier, back_to)
    together = list(runs(near))
    peak = await PEAK.fetchrow(
        connection,
        **looked_at.parameters,
        begin=begin_of(span.start, zone),
        end=end_of(span.end, zone),
        first_days=[run.first for run in together],
        last_days=[run.last for run in together],
    )
    found = {"calls": peak["in_progress"], "at": peak["at"]} if peak else {"calls": 0, "at": None}
    return {**found, "calls_since": first}


def _nearest(earlier: Sequence[Day], back_to: date) -> tuple[list[Day], date]:
    """The latest of these days that together have at most `CALLS_MAX` calls; and the first day from which on
    all calls are examined. `earlier` begins with the oldest day."""
    near: list[Day] = []
    calls = 0
    for day in reversed(earlier):
        calls += day.calls
        if calls > CALLS_MAX:
            return near, date.fromordinal(day.day.toordinal() + 1)
        near.append(day)
    return near, back_to


def _days_before(day: date, days: int) -> date:
    """The day this many days before, or the calendar's first day."""
    return date.fromordinal(max(day.toordinal() - days, 1))
