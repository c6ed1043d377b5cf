"""Instants: reads the times of telephony systems. Every function returns an aware time in UTC.

`1970-01-01`, 0, "null" and an empty text mean that there is no time: the functions return None for them. They
raise Quarantined for a text that is not a time.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal, DecimalException
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from shared.calls.event import COUNT_MAX
from shared.sources.outcome import Quarantined
from shared.sources.record import text

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS_MAX: Final = 253_402_300_799
_EARLIEST: Final = _EPOCH + timedelta(days=1)
_SECOND: Final = 1_000_000
_MILLISECONDS_FROM: Final = 100_000_000_000
"""As seconds, the year 5138. As milliseconds, 1973."""


def epoch_seconds(value: Any, name: str) -> datetime | None:
    """An instant from seconds since 1970: a number or its text, with up to six decimals."""
    return _since_epoch(value, name, 1)


def epoch_milliseconds(value: Any, name: str) -> datetime | None:
    """An instant from milliseconds since 1970."""
    return _since_epoch(value, name, 1_000)


def epoch_microseconds(value: Any, name: str) -> datetime | None:
    """An instant from microseconds since 1970."""
    return _since_epoch(value, name, 1_000_000)


def epoch(value: Any, name: str) -> datetime | None:
    """An instant from seconds or milliseconds since 1970, by the size of the number: for a system that
    documents no unit."""
    given = text(value)
    try:
        is_large = given is not None and Decimal(given) >= _MILLISECONDS_FROM
    except DecimalException:
        is_large = False
    return _since_epoch(value, name, 1_000 if is_large else 1)


def iso(value: Any, name: str, zone: ZoneInfo | None = None) -> datetime | None:
    """An instant from an ISO 8601 text. A text without an offset is local time in `zone`, which is UTC by
    default. In the hour that a clock change repeats, the first of the two instants is meant."""
    given = text(value)
    if given is None:
        return None
    try:
        parsed = datetime.fromisoformat(given)
    except ValueError:
        raise Quarantined(f"{name}: {given[:60]!r} is not an ISO 8601 time.") from None
    return _real(parsed, zone, name)


def local_iso(value: Any, name: str, zone: ZoneInfo | None) -> datetime | None:
    """The same, but a text without an offset needs `zone`. Raises Quarantined if there is no zone."""
    given = text(value)
    if given is not None and zone is None and not _has_offset(given):
        raise Quarantined(f"{name}: {given[:60]!r} has no zone; the source needs the setting time_zone.")
    return iso(given, name, zone)


def wall_clock(instant: datetime | None, name: str, zone: ZoneInfo | None) -> datetime | None:
    """The instant at which the clocks in `zone` show the time that `instant` has in UTC. Connectors send a
    column without a zone in this way. Raises Quarantined if there is no zone."""
    if instant is None:
        return None
    if zone is None:
        raise Quarantined(f"{name}: the column has no zone; the source needs the setting time_zone.")
    return _real(instant.replace(tzinfo=None), zone, name)


def rfc_2822(value: Any, name: str) -> datetime | None:
    """An instant from a text such as `Tue, 10 Nov 2026 09:15:58 +0000`. Without an offset it is UTC."""
    given = text(value)
    if given is None:
        return None
    try:
        parsed = _rfc_2822(given)
    except (ValueError, IndexError, TypeError, OverflowError):
        raise Quarantined(f"{name}: {given[:60]!r} is not an RFC 2822 time.") from None
    return _real(parsed, None, name)


def local(value: Any, form: str, name: str, zone: ZoneInfo | None) -> datetime | None:
    """An instant from a text in the form of `datetime.strptime`, local in `zone`. Raises Quarantined if there
    is no zone."""
    given = text(value)
    if given is None:
        return None
    if zone is None:
        raise Quarantined(f"{name}: {given[:60]!r} has no zone; the source needs the setting time_zone.")
    try:
        parsed = datetime.strptime(given, form)  # noqa: DTZ007 (its zone follows)
    except ValueError:
        raise Quarantined(f"{name}: {given[:60]!r} is not a time of the form {form}.") from None
    return _real(parsed, zone, name)


def needed_instant(instant: datetime | None, name: str) -> datetime:
    """The instant of a record that cannot be placed without it. Raises Quarantined for None."""
    if instant is None:
        raise Quarantined(f"{name}: the time is missing.")
    return instant


def earlier(instant: datetime, seconds: int | None) -> datetime:
    """The instant this many seconds before, but not before 1970."""
    try:
        return max(instant - timedelta(seconds=seconds or 0), _EPOCH)
    except OverflowError:
        return instant


def later(instant: datetime, seconds: int | None) -> datetime:
    """The instant this many seconds after; the same instant where the calendar would end."""
    return earlier(instant, -(seconds or 0))


def seconds_between(begin: datetime | None, end: datetime | None) -> int | None:
    """The whole seconds from one instant to a later one, rounded down. None if one is missing, if they are in
    the wrong order, or if a duration cannot be that long."""
    if begin is None or end is None or end < begin:
        return None
    seconds = int((end - begin) // timedelta(seconds=1))
    return seconds if seconds <= COUNT_MAX else None


@lru_cache(maxsize=1_000)
def _rfc_2822(given: str) -> datetime:
    return parsedate_to_datetime(given)


def _since_epoch(value: Any, name: str, units_per_second: int) -> datetime | None:
    if type(value) is int:
        microseconds = value * (_SECOND // units_per_second)
    elif type(value) is str and len(value) <= 20 and value.isdecimal():
        microseconds = int(value) * (_SECOND // units_per_second)
    else:
        given = text(value)
        if given is None:
            return None
        try:
            exact = Decimal(given) * (_SECOND // units_per_second)
            if not exact.is_finite() or abs(exact) > _SECONDS_MAX * _SECOND:
                raise Quarantined(f"{name}: {given[:60]!r} is not a time since 1970.")
            microseconds = int(exact)
        except DecimalException:
            raise Quarantined(f"{name}: {given[:60]!r} is not a time since 1970.") from None
    if microseconds == 0:
        return None
    if not 0 < microseconds <= _SECONDS_MAX * _SECOND:
        raise Quarantined(f"{name}: {str(value)[:60]!r} is not a time since 1970.")
    return _EPOCH + timedelta(microseconds=microseconds)


def _has_offset(given: str) -> bool:
    time = given[10:]
    return time[-1:] in ("Z", "z") or "+" in time or "-" in time


def _real(parsed: datetime, zone: ZoneInfo | None, name: str) -> datetime | None:
    try:
        instant = (parsed if parsed.tzinfo else parsed.replace(tzinfo=zone or UTC)).astimezone(UTC)
    except (OverflowError, ValueError):
        raise Quarantined(f"{name}: the time is outside the calendar.") from None
    return instant if instant >= _EARLIEST else None
