"""Types of the query parameters of lists and exports: the accepted text, and the value that it becomes."""

import re
from datetime import UTC, date, datetime
from typing import Annotated, Final
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from services.api.figures.cell_filters import as_day, is_day
from shared.calls.hangup import CAUSES
from shared.calls.zones import find_time_zone

NUMBER_SEPARATORS: Final = " +-./()"
"""Characters that people write between a number's digits; a search by digits ignores them."""
_NO_SEPARATORS: Final = str.maketrans("", "", NUMBER_SEPARATORS)

_is_instant = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
).fullmatch
_is_ascii = re.compile(r"[!-~]+").fullmatch
_ZONE: Final = r"^[A-Za-z][A-Za-z0-9_+\-]*(/[A-Za-z0-9_+\-]+)*$"
_is_zone = re.compile(_ZONE[1:-1]).fullmatch
_is_part = re.compile(r"[0-9]{3,64}").fullmatch


def _day_or_instant(text: object) -> date:
    """A day, or a timestamp in UTC. In a query, an unescaped `+` arrives as a space."""
    written = text.replace(" ", "+") if isinstance(text, str) else ""
    if not _is_instant(written):
        if is_day(written):
            return as_day(written)
        raise ValueError("must be a date (YYYY-MM-DD) or an RFC 3339 timestamp such as 2026-11-01T08:00:00Z")
    try:
        return datetime.fromisoformat(written.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("must be a timestamp that exists, in the years 1 to 9999") from None


def storable_text(text: str) -> str:
    """A text that PostgreSQL can store. Raises ValueError with the rule."""
    if not text or "\0" in text:
        raise ValueError("must not be empty or contain null characters")
    return text


def _number(number: str) -> str:
    """A number as it is stored. An unescaped leading `+` arrived as a space and is restored."""
    number = re.sub("^ ", "+", storable_text(number))
    if number.endswith("*") and not _is_ascii(number[:-1]):
        raise ValueError(
            "must have at least one character before its final *, and only printable ASCII without spaces"
        )
    return number


def _number_part(part: str) -> str:
    digits = part.translate(_NO_SEPARATORS)
    if not _is_part(digits):
        raise ValueError("must have 3 to 64 digits, and beside them only spaces and + - . / ( )")
    return digits


def _zone(name: object) -> ZoneInfo:
    """The time zone of this IANA name. Raises ValueError with the rule."""
    zone = find_time_zone(name) if isinstance(name, str) and _is_zone(name) else None
    if zone is None:
        raise ValueError("must be an IANA time zone name such as Europe/Berlin")
    return zone


def _cause(name: object) -> str:
    if not isinstance(name, str) or name not in CAUSES:
        raise ValueError(
            "must be a name that hangup_causes of stats can have, such as USER_BUSY, NONE or OTHER"
        )
    return name


def _flag(text: object) -> bool:
    if text not in ("true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


DayOrInstant = Annotated[date | datetime, BeforeValidator(_day_or_instant)]
Flag = Annotated[bool, BeforeValidator(_flag), WithJsonSchema({"type": "boolean"})]
CountedCause = Annotated[
    str, BeforeValidator(_cause), WithJsonSchema({"type": "string", "enum": list(CAUSES)})
]
Zone = Annotated[
    ZoneInfo,
    BeforeValidator(_zone),
    WithJsonSchema({"type": "string", "maxLength": 64, "pattern": _ZONE}),
]
Number = Annotated[
    str,
    Field(max_length=256),
    AfterValidator(_number),
    WithJsonSchema({"type": "string", "maxLength": 256, "pattern": r"^([^\u0000]*[^*\u0000]|[!-~]+\*)$"}),
]
NumberPart = Annotated[
    str,
    AfterValidator(_number_part),
    WithJsonSchema({"type": "string", "pattern": r"^[ +\-./()]*([0-9][ +\-./()]*){3,64}$"}),
]
Text256 = Annotated[
    str,
    Field(max_length=256),
    AfterValidator(storable_text),
    WithJsonSchema({"type": "string", "maxLength": 256, "pattern": r"^[^\u0000]+$"}),
]
Seconds = Annotated[int, Field(ge=0, le=2**31 - 1)]
