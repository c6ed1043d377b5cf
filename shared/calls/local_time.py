"""Local time: the day and the hour at which a call counts, on the calendar of its organization. Pure."""

from datetime import UTC as FIXED_UTC
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

HOURS: Final = 25
"""A day has up to 25 hours when clocks are set back. Any further hours of a longer day count in the last."""


class LocalHour(NamedTuple):
    """When a call counts: the organization's day, and the hour of that day. The hour is counted from the
    day's first instant and not read from the clock, which may be set back or forward. It is null in rows
    written before step 0005; such a call counts in no hour."""

    day: date
    hour: int | None


def local_day(instant: datetime, zone: ZoneInfo) -> date:
    """The day of an (aware) instant on the calendar of a time zone."""
    return instant.astimezone(zone).date()


@lru_cache(maxsize=4096)
def day_begin(day: date, zone: ZoneInfo) -> datetime:
    """The first instant (in UTC) of a day on the calendar of a time zone. If the clock skips midnight or the
    whole day, it is the instant of the skip. Raises OverflowError outside the years 1 to 9999."""
    return datetime.combine(day, time(), zone).astimezone(FIXED_UTC)


def local_hour(instant: datetime, zone: ZoneInfo) -> LocalHour:
    """The day and the hour of an (aware) instant on the calendar of a time zone."""
    day = local_day(instant, zone)
    return LocalHour(day, min((instant - day_begin(day, zone)) // _HOUR, HOURS - 1))


_HOUR: Final = timedelta(hours=1)
