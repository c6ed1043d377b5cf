"""Concurrency: the most calls that were in progress at once, found among the calls themselves.

A call is in progress from its answer until just before its end. Looked at are the calls of the asked days and
of the day before, some of which reach into them; how many those are, the counts know beforehand.
"""

from datetime import date
from typing import Final
from zoneinfo import ZoneInfo

from services.api.database import Connection
from services.api.days import TOTAL
from services.api.errors import too_many_calls
from services.api.filters import Filters
from services.api.intervals import Span, begin_of, end_of
from shared.count import NO_DIRECTION

CALLS_MAX: Final = 200_000
"""How many calls are looked at at most."""

# Of calls that begin or end at one instant only the difference is seen: who ends makes room for who begins.
PEAK: Final = """
SELECT at, in_progress
FROM (
    SELECT at, sum(sum(by)) OVER (ORDER BY at)::bigint AS in_progress
    FROM calls, LATERAL (
        VALUES (greatest(answered_at, $8), 1), (coalesce(completed_at, 'infinity'), -1)
    ) AS change (at, by)
    WHERE organization_id = $1 AND livemode = $2
        AND day BETWEEN $3 AND $4
        AND created_at >= ($3::date - 1)::timestamp AT TIME ZONE 'UTC'
        AND created_at < ($4::date + 2)::timestamp AT TIME ZONE 'UTC'
        AND ($5::text[] IS NULL OR status = ANY ($5))
        AND ($6::text IS NULL OR coalesce(direction, $10::text) = $6)
        AND ($7::uuid IS NULL OR phone_number_id = $7)
        AND coalesce(completed_at, 'infinity') > greatest(answered_at, $8::timestamptz)
        AND answered_at < $9::timestamptz AND at < $9
    GROUP BY at
) AS moments
ORDER BY in_progress DESC, at
LIMIT 1
"""


async def peak_concurrency(
    connection: Connection, filters: Filters, span: Span, zone: ZoneInfo
) -> dict[str, object]:
    """The most of the asked calls that were in progress at once within the span, and when they first were.
    Raises the 400 `ApiError` for more than `CALLS_MAX` calls."""
    day_before = date.fromordinal(max(span.start.toordinal() - 1, 1))
    looked_at = filters._replace(start_date=day_before, end_date=span.end)
    of_days = looked_at._replace(status=None, direction=None)  # which no index knows: all are looked at
    calls = await connection.fetchval(TOTAL[of_days.phone_number_id is not None], *of_days)
    if calls > CALLS_MAX:
        raise too_many_calls(
            f"{calls:,} calls are in this span and the day before; narrow it with start_date and end_date to "
            f"at most {CALLS_MAX:,}, for include=peak_concurrency looks at each.",
            CALLS_MAX,
        )
    begin, end = begin_of(span.start, zone), end_of(span.end, zone)
    peak = await connection.fetchrow(PEAK, *looked_at, begin, end, NO_DIRECTION)
    return {"calls": peak["in_progress"], "at": peak["at"]} if peak else {"calls": 0, "at": None}
