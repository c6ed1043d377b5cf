"""Trends: the daily counts, a row for every day."""

from datetime import date, timedelta
from typing import Final, get_args
from zoneinfo import ZoneInfo

from asyncpg import Record

from services.api.counts import CELLS
from services.api.database import Connection
from services.api.encoding import number
from services.api.errors import invalid_parameter
from services.api.filters import Filters
from shared.event import Status

DAYS: Final = 30
"""How many days are answered when no first one is asked for."""
DAYS_MAX: Final = 366

_STATUSES: Final[tuple[Status, ...]] = get_args(Status)
_PER_STATUS = ",\n    ".join(
    f"coalesce(sum(calls) FILTER (WHERE status = '{status}'), 0)::bigint AS {status}" for status in _STATUSES
)

TRENDS: Final = f"""
SELECT day,
    sum(calls)::bigint AS total,
    sum(answered)::bigint AS answered,
    sum(duration_seconds)::bigint AS duration,
    sum(cost_cents) AS cost,
    {_PER_STATUS}
FROM {CELLS}
GROUP BY day
"""  # noqa: S608 - made of constants


def span(filters: Filters, today: date) -> tuple[date, date]:
    """The first and the last day of the asked trends: as asked; from `start_date` until today; 30 days up to
    `end_date`; or the last 30 days. Raises the 400 `ApiError` for more than 366 days, or for no such days."""
    first, last = filters.start_date, filters.end_date
    last = last or max(today, first or today)
    if first is None:
        try:
            first = last - timedelta(days=DAYS - 1)
        except OverflowError:
            rule = f"leaves no room for {DAYS} days; give start_date, too"
            raise invalid_parameter("end_date", rule) from None
    if (last - first).days >= DAYS_MAX:
        end = "end_date" if filters.end_date else "today, where no end_date is given"
        raise invalid_parameter("start_date", f"must be less than {DAYS_MAX} days before {end}")
    return first, last


async def trends(connection: Connection, filters: Filters, zone: ZoneInfo, today: date) -> dict[str, object]:
    """The daily counts of the asked calls; `today` is the organization's. Raises what `span` raises."""
    first, last = span(filters, today)
    rows = await connection.fetch(TRENDS, *filters._replace(start_date=first, end_date=last))
    counted = {row["day"]: row for row in rows}
    days = (first + timedelta(days=after) for after in range((last - first).days + 1))
    return {
        "data": [_day(day, counted[day]) if day in counted else _day_without_calls(day) for day in days],
        "start_date": first,
        "end_date": last,
        "time_zone": zone.key,
    }


def _day(day: date, row: Record) -> dict[str, object]:
    return {
        "date": day,
        "total": row["total"],
        "by_status": {status: row[status] for status in _STATUSES},
        "answered": row["answered"],
        "duration": row["duration"],
        "cost": number(row["cost"]),
    }


def _day_without_calls(day: date) -> dict[str, object]:
    return {
        "date": day,
        "total": 0,
        "by_status": dict.fromkeys(_STATUSES, 0),
        "answered": 0,
        "duration": 0,
        "cost": 0,
    }
