"""Field values in another notation than the contract's, but with one possible meaning.

Programs write whole numbers as floats, prices in binary floating point, and null as an empty text. Each
function here takes a field's JSON value (numbers with a fraction as `Decimal`) and returns its meaning, or
None for a blank value. It raises `Unreadable` if the value has no meaning or several. Pure.
"""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any, Final
from uuid import UUID

Reader = Callable[[Any], Any]


class Unreadable(ValueError):
    """A value without one clear meaning. The text is the rule that it breaks, without the value."""


def is_blank(value: object) -> bool:
    """Whether a value is null or a blank text."""
    return value is None or (isinstance(value, str) and not value.strip())


def text(length_max: int | None = None) -> Reader:
    """Reads a text of at most `length_max` characters. An integer is read as the text of its digits."""

    def read(value: Any) -> str | None:
        if value is None or value == "":
            return None
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise Unreadable(f"expected text, got {_kind(value)}")
        given = str(value)
        if "\0" in given:
            raise Unreadable("contains a null byte")
        if length_max is not None and len(given) > length_max:
            raise Unreadable(f"expected at most {length_max:,} characters")
        return given

    return read


def count(most: int, rounding: str = ROUND_FLOOR) -> Reader:
    """Reads a whole number from 0 to `most`. A fraction is rounded by this mode of `decimal`."""

    def read(value: Any) -> int | None:
        number = _number(value)
        if number is None:
            return None
        if not 0 <= number <= most:
            raise Unreadable(f"expected a number from 0 to {most:,}")
        return int(number.to_integral_value(rounding))

    return read


def amount(most: Decimal, step: Decimal) -> Reader:
    """Reads an amount from 0 to `most`, rounded half to even to a multiple of `step`."""

    def read(value: Any) -> Decimal | None:
        number = _number(value)
        if number is None:
            return None
        if not 0 <= number <= most:
            raise Unreadable(f"expected an amount from 0 to {most}")
        return abs(number.quantize(step, ROUND_HALF_EVEN))

    return read


def choice(choices: Sequence[str], *aliases: tuple[str, str]) -> Reader:
    """Reads one of these words, in any case, with hyphens, underscores or spaces between its parts."""
    words = {word: word for word in choices} | dict(aliases)

    def read(value: Any) -> str | None:
        if is_blank(value):
            return None
        given = re.sub(r"[-_\s]+", "_", value.strip().lower()) if isinstance(value, str) else None
        if given not in words:
            raise Unreadable(f"is not one of {', '.join(choices)}")
        return words[given]

    return read


def flag(value: Any) -> bool | None:
    """Reads true or false, also written as a text or as 1 or 0."""
    if is_blank(value):
        return None
    given = value.strip().lower() if isinstance(value, str) else value
    if isinstance(given, int) and given in (0, 1):
        return bool(given)
    if given in ("true", "false"):
        return bool(given == "true")
    raise Unreadable("expected true or false")


def uuid(value: Any) -> UUID | None:
    """Reads a UUID in its hyphenated form."""
    if is_blank(value):
        return None
    if not isinstance(value, str) or not is_uuid(value.strip()):
        raise Unreadable("expected a UUID")
    return UUID(value.strip())


UUID_PATTERN: Final = "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
is_uuid: Final = re.compile(UUID_PATTERN).fullmatch


def instant(value: Any) -> datetime | None:
    """Reads a date and time with an offset, in the notation of RFC 3339 or ISO 8601. The offset may lack its
    colon or its minutes. A leap second is read as the first moment of the next minute, as PostgreSQL does."""
    if is_blank(value):
        return None
    if not isinstance(value, str):
        raise Unreadable(f"expected a date and time, got {_kind(value)}")
    found = _INSTANT(value.strip())
    if found is None:
        raise Unreadable("expected a date and time with an offset (RFC 3339)")
    if found["offset"] is None:
        raise Unreadable("expected an offset after the date and time")
    second = int(found["second"])
    if second > _LEAP_SECOND:
        raise Unreadable("expected seconds from 0 to 59, or a leap second")
    try:
        at = datetime.fromisoformat(f"{found['day']}T{found['minute']}:00")
        offset = _offset(found["offset"])
        # Digits beyond microseconds are rounded, as in the usual notation.
        fraction = Decimal(f"0.{found['fraction'] or 0}") * 1_000_000
        micros = timedelta(microseconds=int(fraction.to_integral_value(ROUND_HALF_EVEN)))
        late = timedelta(seconds=second) + (micros if second < _LEAP_SECOND else timedelta())
        return (at + late).replace(tzinfo=offset)
    except (ValueError, OverflowError):
        raise Unreadable("expected a date and time that exists") from None


_LEAP_SECOND: Final = 60
_INSTANT: Final = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)[Tt ](?P<minute>\d\d:\d\d):(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,40}))?"
    r"\s*(?P<offset>[Zz]|UTC|GMT|[+-]\d\d(?::?\d\d)?)?",
    re.ASCII,
).fullmatch


def _offset(written: str) -> timezone:
    if written[0] not in "+-":
        return UTC
    hours, minutes = int(written[1:3]), int(written[3:].removeprefix(":") or 0)
    if minutes > 59:
        raise ValueError(written)
    distance = timedelta(hours=hours, minutes=minutes)
    return timezone(-distance if written[0] == "-" else distance)


def _number(value: Any) -> Decimal | None:
    if is_blank(value):
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise Unreadable(f"expected a number, got {_kind(value)}")
    try:
        number = Decimal(value.strip() if isinstance(value, str) else value)
    except (InvalidOperation, ValueError):
        raise Unreadable("expected a number") from None
    if not number.is_finite():
        raise Unreadable("expected a finite number")
    return number


def _kind(value: object) -> str:
    """The name of a value's JSON type."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    return "a text" if isinstance(value, str) else "a number"
