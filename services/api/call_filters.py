"""Which calls a list or an export is of: its query parameters, and the parameters of its statements."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Annotated, Final, Literal, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from services.api.credentials import Principal
from services.api.errors import invalid_parameter
from services.api.filters import CellsQuery, Filters, as_day, check_phone_number, is_day
from services.api.query import one_of
from shared.event import Status, call_uuid
from shared.zones import find_time_zone

LIMIT_MAX: Final = 100
PAGE_MAX: Final = 1_000_000_000
OFFSET_MAX: Final = 100_000_000_000

NUMBER_SEPARATORS: Final = " +-./()"
"""What people write between a number's digits; a search by digits passes over it."""
_NO_SEPARATORS: Final = str.maketrans("", "", NUMBER_SEPARATORS)

_is_instant = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
).fullmatch
_is_ascii = re.compile(r"[!-~]+").fullmatch
_ZONE: Final = r"^[A-Za-z][A-Za-z0-9_+\-]*(/[A-Za-z0-9_+\-]+)*$"
_is_zone = re.compile(_ZONE[1:-1]).fullmatch
_is_part = re.compile(r"[0-9]{3,64}").fullmatch


def _day_or_instant(text: object) -> date:
    """A day, or an instant in UTC. In a query, a `+` that is not escaped arrives as a space."""
    written = text.replace(" ", "+") if isinstance(text, str) else ""
    if not _is_instant(written):
        if is_day(written):
            return as_day(written)
        raise ValueError("must be a day written as YYYY-MM-DD, or an instant such as 2026-11-01T08:00:00Z")
    try:
        return datetime.fromisoformat(written.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("must be an instant that the calendar has") from None


def storable_text(text: str) -> str:
    """A text that PostgreSQL can store. Raises ValueError with the rule."""
    if not text or "\0" in text:
        raise ValueError("must be a text, not empty and without null characters")
    return text


def _number(number: str) -> str:
    """A number as it is stored, where its `+` was not escaped, and so arrived as a space, too."""
    number = re.sub("^ ", "+", storable_text(number))
    if number.endswith("*") and not _is_ascii(number[:-1]):
        raise ValueError("must have letters, digits or signs of ASCII before its last *")
    return number


def _number_part(part: str) -> str:
    digits = part.translate(_NO_SEPARATORS)
    if not _is_part(digits):
        raise ValueError("must be at least 3 digits of a number, and at most 64")
    return digits


def _zone(name: object) -> ZoneInfo:
    """The time zone of this IANA name. Raises ValueError with the rule."""
    zone = find_time_zone(name) if isinstance(name, str) and _is_zone(name) else None
    if zone is None:
        raise ValueError("must be a time zone by its IANA name, such as Europe/Berlin")
    return zone


def _flag(text: object) -> bool:
    if text not in ("true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


DayOrInstant = Annotated[date | datetime, BeforeValidator(_day_or_instant)]
Flag = Annotated[bool, BeforeValidator(_flag), WithJsonSchema({"type": "boolean"})]
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
Order = Literal["desc", "asc"]
Sort = Literal["created_at", "duration", "cost"]

_NUMBER_EXAMPLES: Final = ["+4930901820", "+4930*"]


class FiltersQuery(CellsQuery):
    """Which calls can be asked for: what the list and the export have in common."""

    start_date: DayOrInstant | SkipJsonSchema[None] = Field(
        None,
        description="Only calls created on this day or later, in the organization's time zone; or at this "
        "instant (RFC 3339, with an offset) or later. Instants are for lists and exports alone. Trends begin "
        "with it; without it, `interval` says how many days they have.",
        examples=["2026-11-01", "2026-11-01T08:00:00Z"],
    )
    end_date: DayOrInstant | SkipJsonSchema[None] = Field(
        None,
        description="Only calls created on this day or earlier, in the organization's time zone; or before "
        "this instant. Trends end with it; without it, today.",
        examples=["2026-11-30", "2026-11-01T09:00:00Z"],
    )
    from_date: DayOrInstant | SkipJsonSchema[None] = Field(None, description="The same as `start_date`.")
    to_date: DayOrInstant | SkipJsonSchema[None] = Field(None, description="The same as `end_date`.")
    endpoint_id: UUID | SkipJsonSchema[None] = Field(None, description="Only calls of this endpoint.")
    from_number: Number | SkipJsonSchema[None] = Field(
        None,
        description="Only calls from this number, letter by letter; with a * at its end, from numbers that "
        "begin so. A + at its begin may be sent as it is.",
        examples=_NUMBER_EXAMPLES,
    )
    to_number: Number | SkipJsonSchema[None] = Field(
        None, description="Only calls to this number, as with `from_number`.", examples=_NUMBER_EXAMPLES
    )
    number: NumberPart | SkipJsonSchema[None] = Field(
        None,
        description="Only calls from or to a number with these digits (3 or more) anywhere in it. Spaces and "
        f"any of `{NUMBER_SEPARATORS.strip()}` are passed over on both sides.",
        examples=["901820"],
    )
    external_id: Text256 | SkipJsonSchema[None] = Field(
        None,
        description="Only the call that its source gave this id, be it a UUID or not.",
        examples=["3848276298220188511@atlanta.example.com"],
    )
    hangup_cause: Text256 | SkipJsonSchema[None] = Field(
        None, description="Only calls that ended for this cause, letter by letter.", examples=["USER_BUSY"]
    )
    min_duration: Seconds | SkipJsonSchema[None] = Field(
        None, description="Only calls of at least so many seconds."
    )
    max_duration: Seconds | SkipJsonSchema[None] = Field(
        None, description="Only calls of at most so many seconds; none whose duration is not known."
    )
    has_recording: Flag | SkipJsonSchema[None] = Field(
        None, description="`true`: only calls with a recording; `false`: only those without."
    )
    has_transcript: Flag | SkipJsonSchema[None] = Field(
        None, description="`true`: only calls with a transcript; `false`: only those without."
    )
    order: Order = Field("desc", description="`desc`: the newest, longest or dearest first; `asc`: last.")


class ExportQuery(FiltersQuery):
    """What `GET /calls/export` can be asked."""

    format: Literal["csv", "ndjson"] = Field(
        "csv", description="`csv`: with a header, by RFC 4180; `ndjson`: a JSON object a line."
    )
    time_zone: Zone | SkipJsonSchema[None] = Field(
        None,
        description="The time zone to write `created_at`, `answered_at` and `completed_at` in, by its IANA "
        "name: with its offset from UTC. Without it they are in UTC. The days of `start_date` and `end_date` "
        "stay those of the organization's time zone.",
        examples=["Europe/Berlin"],
    )
    bom: Flag = Field(
        False,
        description="With `format=csv`: `true` puts a byte-order mark before the header. Spreadsheets take "
        "it as the sign of UTF-8.",
    )


class CallsQuery(FiltersQuery):
    """What `GET /calls` can be asked."""

    action: Literal["stats", "trends"] | SkipJsonSchema[None] = Field(
        None,
        description="What to answer: absent, the list of calls; `stats`, the status breakdown; `trends`, the "
        "daily counts.",
    )
    page: Annotated[int, Field(ge=1, le=PAGE_MAX)] | SkipJsonSchema[None] = Field(
        None,
        description="Which page of the list: 1 without this. Stats and trends have no pages.",
    )
    offset: Annotated[int, Field(ge=0, le=OFFSET_MAX)] | SkipJsonSchema[None] = Field(
        None,
        description="In place of `page`: how many calls of the list to pass over.",
    )
    cursor: Annotated[str, Field(max_length=512)] | SkipJsonSchema[None] = Field(
        None,
        description="In place of `page`: the `next_cursor` of the page before, with the same filters and "
        "order. Calls that come or go meanwhile make it neither pass over a call nor answer one twice.",
    )
    limit: int = Field(
        20, ge=1, le=LIMIT_MAX, description="How many calls a page has. Stats and trends have no pages."
    )
    sort: Sort = Field(
        "created_at",
        description="What the list is ordered by; calls without a duration or cost come last. Where "
        "that is the same, it is ordered by `created_at`, then by `id`.",
    )
    total: Flag = Field(True, description="`false`: `total` and `total_pages` are null, which may be faster.")


class CallFilters(NamedTuple):
    """Which calls are asked for: the parameters $1 to $23 of every such statement, of which the first 7 are
    `Filters`. None: all."""

    organization_id: UUID
    livemode: bool
    start_date: date | None
    end_date: date | None
    status: list[Status] | None
    direction: str | None
    phone_number_id: UUID | None
    created_from: datetime | None
    created_before: datetime | None
    id: UUID | None
    endpoint_id: UUID | None
    from_number: str | None
    from_first: str | None
    from_after: str | None
    to_number: str | None
    to_first: str | None
    to_after: str | None
    number_part: str | None
    hangup_cause: str | None
    min_duration: int | None
    max_duration: int | None
    has_recording: bool | None
    has_transcript: bool | None

    @classmethod
    def of_cells(cls, filters: Filters) -> "CallFilters":
        """Filters of what the counts know alone."""
        return cls(*filters, *(None,) * (len(cls._fields) - len(Filters._fields)))

    @property
    def cells(self) -> Filters:
        """The part of them that the counts know."""
        return Filters._make(self[: len(Filters._fields)])

    @property
    def is_of_cells(self) -> bool:
        """Whether that is all of them."""
        return all(value is None for value in self[len(Filters._fields) :])

    @property
    def is_searched(self) -> bool:
        """Whether no index has such calls in the order of time."""
        return any(getattr(self, name) is not None for name in ("id", "from_first", "to_first", *_LOOKED_AT))

    @property
    def by_span(self) -> "CallFilters":
        """Only what bounds the calls in time, and their phone number."""
        return self._only(("phone_number_id",))

    def by_each_index(self) -> Iterator["CallFilters"]:
        """Only what bounds them in time, with what one index knows; for each such index."""
        for names in _BY_INDEX:
            if getattr(self, names[0]) is not None:
                yield self._only(names)

    def _only(self, names: Sequence[str]) -> "CallFilters":
        kept = {*_OF_SPAN, *names}
        return CallFilters._make(
            value if name in kept else None for name, value in zip(self._fields, self, strict=True)
        )


_OF_SPAN: Final = (
    "organization_id",
    "livemode",
    "start_date",
    "end_date",
    "created_from",
    "created_before",
)
_BY_INDEX: Final = (
    ("id",),
    ("from_number",),
    ("to_number",),
    ("endpoint_id",),
    ("from_first", "from_after"),
    ("to_first", "to_after"),
)
_LOOKED_AT: Final = (
    "number_part",
    "hangup_cause",
    "min_duration",
    "max_duration",
    "has_recording",
    "has_transcript",
)


def call_filters_of(principal: Principal, query: FiltersQuery) -> CallFilters:
    """What a principal may see, narrowed to what the query asks for. Raises the 400 `ApiError`."""
    start = one_of("start_date", query.start_date, "from_date", query.from_date)
    end = one_of("end_date", query.end_date, "to_date", query.to_date)
    if start and end and isinstance(start, datetime) == isinstance(end, datetime) and start > end:
        raise invalid_parameter("start_date", "must not be after end_date")
    check_phone_number(query.phone_number_id)
    organization_id = principal.organization_id
    return CallFilters(
        organization_id,
        principal.livemode,
        None if isinstance(start, datetime) else start,
        None if isinstance(end, datetime) else end,
        sorted(set(query.status)) if query.status else None,
        query.direction,
        query.phone_number_id,
        start if isinstance(start, datetime) else None,
        end if isinstance(end, datetime) else None,
        call_uuid(organization_id, query.external_id) if query.external_id is not None else None,
        query.endpoint_id,
        *_number_or_span(query.from_number),
        *_number_or_span(query.to_number),
        query.number,
        query.hangup_cause,
        query.min_duration,
        query.max_duration,
        query.has_recording,
        query.has_transcript,
    )


def _number_or_span(number: str | None) -> tuple[str | None, str | None, str | None]:
    """A number; or, of those that begin with a prefix, the first in the order of their bytes, and the first
    after them."""
    if number is None or not number.endswith("*"):
        return number, None, None
    prefix = number[:-1]
    return None, prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1)
