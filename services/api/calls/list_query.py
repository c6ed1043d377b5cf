"""Which calls a list or an export is of.

`FiltersQuery` is the one table of the filters. A row has the name, the type and the documentation of a query
parameter, and its conditions. The SQL of a condition names the parameters of the statements. Its access path
says which index serves it, and so how many calls a question may look at.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import cached_property
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from services.api.access.credentials import Principal
from services.api.calls.parameter_types import (
    NUMBER_SEPARATORS,
    DayOrInstant,
    Flag,
    Number,
    NumberPart,
    Seconds,
    Text256,
    Zone,
)
from services.api.figures.cell_filters import (
    AccessPath,
    CellsQuery,
    Condition,
    Filters,
    check_phone_number,
    conditions_of,
)
from services.api.http.errors import invalid_parameter
from services.api.http.query import one_of
from shared.calls.event import call_uuid

LIMIT_MAX: Final = 100
PAGE_MAX: Final = 1_000_000_000
OFFSET_MAX: Final = 100_000_000_000
Order = Literal["desc", "asc"]
Sort = Literal["created_at", "duration", "cost"]

_NUMBER_EXAMPLES: Final = ["+4930901820", "+4930*"]


@dataclass(frozen=True)
class ReadAs:
    """How a query parameter becomes the parameters of its conditions, where it is not the only one itself."""

    parameters: Callable[[UUID, Any], Mapping[str, object]]
    """From the organization and the value."""


def _day_or_instant_as(day: str, instant: str) -> ReadAs:
    return ReadAs(lambda _, value: {instant if isinstance(value, datetime) else day: value})


def _number_or_span_as(number: str, first: str, after: str) -> ReadAs:
    """A number; or, of those that begin with a prefix, the first in the order of their bytes, and the first
    after them."""

    def parameters(_: UUID, value: str) -> Mapping[str, object]:
        if not value.endswith("*"):
            return {number: value}
        prefix = value[:-1]
        return {first: prefix, after: prefix[:-1] + chr(ord(prefix[-1]) + 1)}

    return ReadAs(parameters)


def _has_part(column: str) -> str:
    return f"position(:number_part IN translate({column}, '{NUMBER_SEPARATORS}', '')) > 0"


# `day` decides; `created_at`, a day wider on both sides than any time zone moves a day, bounds the index.
_FROM_DAY: Final = (
    "day >= :start_date AND created_at >= (:start_date::date - 1)::timestamp AT TIME ZONE 'UTC'"
)
_TO_DAY: Final = "day <= :end_date AND created_at < (:end_date::date + 2)::timestamp AT TIME ZONE 'UTC'"
# Numbers that begin with a prefix are a span of the order of bytes, in which their indexes are.
_FROM_PREFIX: Final = "from_number ~>=~ :from_first AND from_number ~<~ :from_after"
_TO_PREFIX: Final = "to_number ~>=~ :to_first AND to_number ~<~ :to_after"


class FiltersQuery(CellsQuery):
    """Which calls can be asked for: what the list and the export have in common."""

    start_date: Annotated[
        DayOrInstant | SkipJsonSchema[None],
        Condition("date", _FROM_DAY, AccessPath.SPAN),
        Condition("timestamptz", "created_at >= :created_from", AccessPath.SPAN),
        _day_or_instant_as("start_date", "created_from"),
    ] = Field(
        None,
        description="Only calls created on this day or later, in the organization's time zone; or at this "
        "instant (RFC 3339, with an offset) or later. Instants are for lists and exports alone. Trends begin "
        "with it; without it, `interval` says how many days they have.",
        examples=["2026-11-01", "2026-11-01T08:00:00Z"],
    )
    end_date: Annotated[
        DayOrInstant | SkipJsonSchema[None],
        Condition("date", _TO_DAY, AccessPath.SPAN),
        Condition("timestamptz", "created_at < :created_before", AccessPath.SPAN),
        _day_or_instant_as("end_date", "created_before"),
    ] = Field(
        None,
        description="Only calls created on this day or earlier, in the organization's time zone; or before "
        "this instant. Trends end with it; without it, today.",
        examples=["2026-11-30", "2026-11-01T09:00:00Z"],
    )
    from_date: DayOrInstant | SkipJsonSchema[None] = Field(None, description="The same as `start_date`.")
    to_date: DayOrInstant | SkipJsonSchema[None] = Field(None, description="The same as `end_date`.")
    endpoint_id: Annotated[
        UUID | SkipJsonSchema[None], Condition("uuid", "endpoint_id = :endpoint_id", AccessPath.MANY_BY_TIME)
    ] = Field(None, description="Only calls of this endpoint.")
    from_number: Annotated[
        Number | SkipJsonSchema[None],
        Condition("text", "from_number = :from_number", AccessPath.FEW_BY_TIME),
        Condition("text", _FROM_PREFIX, AccessPath.MANY),
        _number_or_span_as("from_number", "from_first", "from_after"),
    ] = Field(
        None,
        description="Only calls from exactly this number; with a * at its end, from numbers that begin with "
        "it. A leading + needs no escape.",
        examples=_NUMBER_EXAMPLES,
    )
    to_number: Annotated[
        Number | SkipJsonSchema[None],
        Condition("text", "to_number = :to_number", AccessPath.FEW_BY_TIME),
        Condition("text", _TO_PREFIX, AccessPath.MANY),
        _number_or_span_as("to_number", "to_first", "to_after"),
    ] = Field(
        None, description="Only calls to this number, as with `from_number`.", examples=_NUMBER_EXAMPLES
    )
    number: Annotated[
        NumberPart | SkipJsonSchema[None],
        Condition("text", f"{_has_part('from_number')} OR {_has_part('to_number')}"),
    ] = Field(
        None,
        description="Only calls from or to a number with these digits (3 or more) anywhere in it. Spaces and "
        f"any of `{NUMBER_SEPARATORS.strip()}` are passed over on both sides.",
        examples=["901820"],
    )
    external_id: Annotated[
        Text256 | SkipJsonSchema[None],
        Condition("uuid", "id = :id", AccessPath.KEY),
        ReadAs(lambda organization_id, value: {"id": call_uuid(organization_id, value)}),
    ] = Field(
        None,
        description="Only the call that its source gave this id. It need not be a UUID.",
        examples=["3848276298220188511@atlanta.example.com"],
    )
    hangup_cause: Annotated[
        Text256 | SkipJsonSchema[None], Condition("text", "hangup_cause = :hangup_cause")
    ] = Field(None, description="Only calls that ended for exactly this cause.", examples=["USER_BUSY"])
    min_duration: Annotated[
        Seconds | SkipJsonSchema[None], Condition("integer", "duration >= :min_duration")
    ] = Field(None, description="Only calls of at least this many seconds.")
    max_duration: Annotated[
        Seconds | SkipJsonSchema[None], Condition("integer", "duration <= :max_duration")
    ] = Field(None, description="Only calls of at most this many seconds, and of known duration.")
    has_recording: Annotated[
        Flag | SkipJsonSchema[None],
        Condition("boolean", "coalesce(recording_url <> '', false) = :has_recording"),
    ] = Field(None, description="`true`: only calls with a recording; `false`: only those without.")
    has_transcript: Annotated[
        Flag | SkipJsonSchema[None],
        Condition("boolean", "coalesce(transcript <> '', false) = :has_transcript"),
    ] = Field(None, description="`true`: only calls with a transcript; `false`: only those without.")
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


def _reading_of(metadata: Sequence[object]) -> ReadAs | None:
    """How a field with these annotations is read; None for a field without conditions."""
    for each in metadata:
        if isinstance(each, ReadAs):
            return each
    conditions = [each for each in metadata if isinstance(each, Condition)]
    if not conditions:
        return None
    ((parameter,),) = (each.parameters for each in conditions)
    return ReadAs(lambda _, value: {parameter: value})


_READINGS: Final = {
    name: reading
    for name, row in FiltersQuery.model_fields.items()
    if (reading := _reading_of(row.metadata)) is not None
}
CONDITIONS: Final = tuple(conditions_of(FiltersQuery))
_INDEXED: Final = " AND ".join(str(each) for each in CONDITIONS if each.path is not AccessPath.SCAN)
BY_INDEX: Final = f"organization_id = :organization_id AND livemode = :livemode AND {_INDEXED}"
"""What an index knows of the asked calls."""
BY_SCAN: Final = " AND ".join(str(each) for each in CONDITIONS if each.path is AccessPath.SCAN)
"""What PostgreSQL looks for in each call."""
MATCHING: Final = f"{BY_INDEX} AND {BY_SCAN}"
"""The asked calls, to follow WHERE; its parameters are those of `CallFilters`."""

_SPAN: Final = {name for each in CONDITIONS if each.path is AccessPath.SPAN for name in each.parameters}
_NO_FILTERS: Final = dict.fromkeys(name for each in CONDITIONS for name in each.parameters)


@dataclass(frozen=True)
class CallFilters:
    """Which calls are asked for."""

    cells: Filters
    """The part that the counts know."""
    beyond: Mapping[str, object] = field(default_factory=dict)
    """Values of the other parameters of `CONDITIONS`, by name: only those that are given."""

    @property
    def parameters(self) -> dict[str, Any]:
        """The values of the parameters of `MATCHING`, by name."""
        return {**_NO_FILTERS, **self.cells.parameters, **self.beyond}

    @property
    def is_of_cells(self) -> bool:
        """Whether the counts know all of it."""
        return not self.beyond

    @cached_property
    def conditions(self) -> Sequence[Condition]:
        """The conditions that narrow the calls."""
        parameters = self.parameters
        return [each for each in CONDITIONS if parameters[each.parameters[0]] is not None]

    @property
    def has_instants(self) -> bool:
        """Whether the calls are bounded within a day, of which the counts know nothing."""
        return not _SPAN.isdisjoint(self.beyond)

    def within(self, first: date, last: date) -> "CallFilters":
        """The same filters for these days."""
        return replace(self, cells=replace(self.cells, start_date=first, end_date=last))

    @property
    def by_span(self) -> "CallFilters":
        """Only what bounds the calls in time, and their phone number."""
        return self._only(self.cells.phone_number_id)

    def by_each_index(self) -> Iterator["CallFilters"]:
        """Only what bounds them in time, with what one index knows; for each such index, the narrowest
        first. What the counts know is left to them."""
        indexed = [each for each in self.conditions if each.path < AccessPath.SPAN]
        for condition in sorted(indexed, key=lambda each: each.path):
            if condition.parameters[0] in self.beyond:
                yield self._only(None, condition.parameters)

    def _only(self, phone_number_id: UUID | None, names: Collection[str] = ()) -> "CallFilters":
        kept = {*_SPAN, *names}
        cells = replace(self.cells, status=None, direction=None, phone_number_id=phone_number_id)
        return CallFilters(cells, {name: value for name, value in self.beyond.items() if name in kept})


def call_filters_of(principal: Principal, query: FiltersQuery) -> CallFilters:
    """What a principal may see, narrowed to what the query asks for. Raises the 400 `ApiError`."""
    start = one_of("start_date", query.start_date, "from_date", query.from_date)
    end = one_of("end_date", query.end_date, "to_date", query.to_date)
    if start and end and isinstance(start, datetime) == isinstance(end, datetime) and start > end:
        raise invalid_parameter("start_date", "must not be after end_date")
    check_phone_number(query.phone_number_id)
    cells = Filters(
        principal.organization_id,
        principal.livemode,
        None if isinstance(start, datetime) else start,
        None if isinstance(end, datetime) else end,
        query.status,
        query.direction,
        query.phone_number_id,
    )
    given = {**vars(query), "start_date": start, "end_date": end}
    beyond: dict[str, object] = {}
    for name, reading in _READINGS.items():
        if given[name] is not None:
            beyond |= reading.parameters(principal.organization_id, given[name])
    return CallFilters(cells, {name: value for name, value in beyond.items() if name not in cells.parameters})
