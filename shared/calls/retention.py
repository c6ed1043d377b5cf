"""Retention: the instant since which an organization's calls and events are kept. Pure."""

from datetime import UTC, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from shared.calls.local_time import local_day

RETENTION_DAYS_MAX: Final = 36_500


def kept_since(now: datetime, zone: ZoneInfo, retention_days: int) -> datetime:
    """The instant before which nothing is kept: the start of the organization's day `retention_days` ago.

    `now` is aware; the answer is in UTC.
    """
    day = local_day(now, zone) - timedelta(days=min(retention_days, RETENTION_DAYS_MAX))
    return datetime.combine(day, time(), zone).astimezone(UTC)
