"""The filters of lists and exports.

`FiltersQuery` is the one table of the filters. A row has the name, the type and the documentation of a query
parameter, and its conditions. The SQL of a condition names the parameters of the statements. Its access path
names the index that serves it, and so decides how many calls a request may examine.
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
    CountedCause,
    DayOrInstant,
    Flag,
    Number,
    NumberPart,
    Seconds,
    Text256,
    Zone,
)
from services.api.figures.calls_per_day import MEASURED, Measured
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
from shared.calls.hangup import CAUSES, NONE, OTHER, spellings_of
from shared.counts.cell import NO_PHONE_NUMBER
from shared.counts.counted_sql import ANSWERED, EFFECTIVE, ENDED, SEIZURE

LIMIT_MAX: Final = 100
PAGE_MAX: Final = 1_000_000_000
OFFSET_MAX: Final = 100_000_000_000
Order = Literal["desc", "asc"]
Sort = Literal["created_at", "duration", "cost"]

_NUMBER_EXAMPLES: Final = ["+4930901820", "+4930*"]


@dataclass(frozen=True)
class ReadAs:
    """How a query parameter becomes the parameters of its conditions, unless it is their only parameter."""

    parameters: Callable[[UUID, Any], Mapping[str, object]]
    """Computes them from the organization and the value."""


def _day_or_instant_as(day: str, instant: str) -> ReadAs:
    return ReadAs(lambda _, value: {instant if isinstance(value, datetime) else day: value})


def _number_or_span_as(number: str, first: str, after: str) -> ReadAs:
    """A number; or for a prefix, the first number that begins with it, in byte order, and the first number
    after those."""

    def parameters(_: UUID, value: str) -> Mapping[str, object]:
        if not value.endswith("*"):
            return {number: value}
        prefix = value[:-1]
        return {first: prefix, after: prefix[:-1] + chr(ord(prefix[-1]) + 1)}

    return ReadAs(parameters)


def _spellings_as(spellings: str, other_than: str) -> ReadAs:
    """The spellings of a cause; for OTHER, those of all other causes."""

    def parameters(_: UUID, cause: str) -> Mapping[str, object]:
        index = CAUSES.index(cause)
        if cause == OTHER:
            return {other_than: spellings_of(set(range(len(CAUSES))) - {index})}
        return {spellings: spellings_of({index})}

    return ReadAs(parameters)


def _has_part(column: str) -> str:
    return f"position(:number_part IN translate({column}, '{NUMBER_SEPARATORS}', '')) > 0"


# `day` decides. The bounds of `created_at` serve the index; they are wider by more than any time zone offset.
_FROM_DAY: Final = (
    "day >= :start_date AND created_at >= (:start_date::date - 1)::timestamp AT TIME ZONE 'UTC'"
)
_TO_DAY: Final = "day <= :end_date AND created_at < (:end_date::date + 2)::timestamp AT TIME ZONE 'UTC'"
# The numbers with a prefix are one range in byte order, which is the order of the indexes.
_FROM_PREFIX: Final = "from_number ~>=~ :from_first AND from_number ~<~ :from_after"
_TO_PREFIX: Final = "to_number ~>=~ :to_first AND to_number ~<~ :to_after"
# NONE is a spelling of itself, so it can stand for an absent cause.
_COUNTED_CAUSE: Final = f"{ENDED} AND coalesce(hangup_cause, '{NONE}')"
_HAS_PHONE_NUMBER: Final = f"coalesce(phone_number_id <> '{NO_PHONE_NUMBER}', false)"


class FiltersQuery(CellsQuery):
    """The filters that the list and the export have in common."""

    start_date: Annotated[
        DayOrInstant | SkipJsonSchema[None],
        Condition("date", _FROM_DAY, AccessPath.SPAN),
        Condition("timestamptz", "created_at >= :created_from", AccessPath.SPAN),
        _day_or_instant_as("start_date", "created_from"),
    ] = Field(
        None,
        description="Only calls created on this day or later, in the organization's time zone. Lists and "
        "exports also accept an RFC 3339 timestamp with an offset: only calls created then or later.",
        examples=["2026-11-01", "2026-11-01T08:00:00Z"],
    )
    end_date: Annotated[
        DayOrInstant | SkipJsonSchema[None],
        Condition("date", _TO_DAY, AccessPath.SPAN),
        Condition("timestamptz", "created_at < :created_before", AccessPath.SPAN),
        _day_or_instant_as("end_date", "created_before"),
    ] = Field(
        None,
        description="Only calls created on this day or earlier, in the organization's time zone. Lists and "
        "exports also accept a timestamp: only calls created before it.",
        examples=["2026-11-30", "2026-11-01T09:00:00Z"],
    )
    from_date: DayOrInstant | SkipJsonSchema[None] = Field(None, description="An alias of `start_date`.")
    to_date: DayOrInstant | SkipJsonSchema[None] = Field(None, description="An alias of `end_date`.")
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
        description="Only calls from exactly this number. With a * at the end, calls from numbers that begin "
        "with it. A leading + needs no escape.",
        examples=_NUMBER_EXAMPLES,
    )
    to_number: Annotated[
        Number | SkipJsonSchema[None],
        Condition("text", "to_number = :to_number", AccessPath.FEW_BY_TIME),
        Condition("text", _TO_PREFIX, AccessPath.MANY),
        _number_or_span_as("to_number", "to_first", "to_after"),
    ] = Field(
        None,
        description="Only calls to this number, with the same syntax as `from_number`.",
        examples=_NUMBER_EXAMPLES,
    )
    number: Annotated[
        NumberPart | SkipJsonSchema[None],
        Condition("text", f"{_has_part('from_number')} OR {_has_part('to_number')}"),
    ] = Field(
        None,
        description="Only calls from or to a number that contains these 3 to 64 digits. Spaces and any of "
        f"`{NUMBER_SEPARATORS.strip()}` are ignored, in the parameter and in the numbers.",
        examples=["901820"],
    )
    external_id: Annotated[
        Text256 | SkipJsonSchema[None],
        Condition("uuid", "id = :id", AccessPath.KEY),
        ReadAs(lambda organization_id, value: {"id": call_uuid(organization_id, value)}),
    ] = Field(
        None,
        description="Only the call with this id of the source, which need not be a UUID.",
        examples=["3848276298220188511@atlanta.example.com"],
    )
    hangup_cause: Annotated[
        Text256 | SkipJsonSchema[None], Condition("text", "hangup_cause = :hangup_cause")
    ] = Field(None, description="Only calls that ended with exactly this cause.", examples=["USER_BUSY"])
    counted_cause: Annotated[
        CountedCause | SkipJsonSchema[None],
        Condition("text[]", f"{_COUNTED_CAUSE} = ANY (:cause_spellings)"),
        Condition("text[]", f"{_COUNTED_CAUSE} <> ALL (:other_cause_spellings)"),
        _spellings_as("cause_spellings", "other_cause_spellings"),
    ] = Field(
        None,
        description="Only ended calls that `hangup_causes` of stats counts under this name, in every "
        "spelling. `NONE`: without a cause. `OTHER`: with a cause that has no such name.",
        examples=["USER_BUSY"],
    )
    answered: Annotated[Flag | SkipJsonSchema[None], Condition("boolean", f"{ANSWERED} = :answered")] = Field(
        None,
        description="`true`: only calls that `answered` of stats counts: they have an `answered_at` or are "
        "completed. `false`: only the others.",
    )
    seizure: Annotated[Flag | SkipJsonSchema[None], Condition("boolean", f"{SEIZURE} = :seizure")] = Field(
        None,
        description="`true`: only calls that `seizures` of stats counts: they have ended or were answered. "
        "`false`: only the others.",
    )
    effective: Annotated[
        Flag | SkipJsonSchema[None],
        Condition("boolean", f"{EFFECTIVE} = :effective"),
    ] = Field(
        None,
        description="`true`: only effective calls, the numerator of `ner`: answered, busy, not answered or "
        "canceled, or failed with a cause that shows a working network. `false`: only the others.",
    )
    has_phone_number: Annotated[
        Flag | SkipJsonSchema[None], Condition("boolean", f"{_HAS_PHONE_NUMBER} = :has_phone_number")
    ] = Field(
        None,
        description="`true`: only calls with a `phone_number_id`. `false`: only calls without one, the group "
        "`none` of `group_by=phone_number`.",
    )
    min_duration: Annotated[
        Seconds | SkipJsonSchema[None], Condition("integer", "duration >= :min_duration")
    ] = Field(
        None, description="Only calls of at least this many seconds. Calls without a duration are excluded."
    )
    max_duration: Annotated[
        Seconds | SkipJsonSchema[None], Condition("integer", "duration <= :max_duration")
    ] = Field(
        None, description="Only calls of at most this many seconds. Calls without a duration are excluded."
    )
    has_recording: Annotated[
        Flag | SkipJsonSchema[None],
        Condition("boolean", "coalesce(recording_url <> '', false) = :has_recording"),
    ] = Field(None, description="`true`: only calls with a recording. `false`: only calls without one.")
    has_transcript: Annotated[
        Flag | SkipJsonSchema[None],
        Condition("boolean", "coalesce(transcript <> '', false) = :has_transcript"),
    ] = Field(None, description="`true`: only calls with a transcript. `false`: only calls without one.")
    order: Order = Field(
        "desc", description="`desc`: the newest, longest or most expensive first. `asc`: the reverse."
    )


class ExportQuery(FiltersQuery):
    """The query parameters of `GET /calls/export`."""

    format: Literal["csv", "ndjson"] = Field(
        "csv", description="`csv`: RFC 4180 with a header line. `ndjson`: one JSON object per line."
    )
    time_zone: Zone | SkipJsonSchema[None] = Field(
        None,
        description="The time zone of `created_at`, `answered_at` and `completed_at` in the file, as an IANA "
        "name; times have its offset from UTC. Default: UTC. `start_date` and `end_date` remain days of "
        "the organization's time zone.",
        examples=["Europe/Berlin"],
    )
    bom: Flag = Field(
        False,
        description="With `format=csv`: `true` writes a byte-order mark before the header, so that "
        "spreadsheets recognize UTF-8.",
    )


class CallsQuery(FiltersQuery):
    """The query parameters of `GET /calls`."""

    action: Literal["stats", "trends"] | SkipJsonSchema[None] = Field(
        None,
        description="`stats`: the status breakdown. `trends`: the counts of each interval from `start_date` "
        "(default: depends on `interval`) to `end_date` (default: today). Without it: the list of calls.",
    )
    page: Annotated[int, Field(ge=1, le=PAGE_MAX)] | SkipJsonSchema[None] = Field(
        None,
        description="Page number of the list, from 1. Default: 1. Stats and trends have no pages.",
    )
    offset: Annotated[int, Field(ge=0, le=OFFSET_MAX)] | SkipJsonSchema[None] = Field(
        None,
        description="Instead of `page`: how many calls of the list to skip.",
    )
    cursor: Annotated[str, Field(max_length=512)] | SkipJsonSchema[None] = Field(
        None,
        description="Instead of `page`: the `next_cursor` of the previous page, with the same filters and "
        "order. Calls that are added or removed meanwhile cause no gap and no repetition.",
    )
    limit: int = Field(
        20,
        ge=1,
        le=LIMIT_MAX,
        description="The maximum number of calls per page. Stats and trends have no pages.",
    )
    sort: Sort = Field(
        "created_at",
        description="The sort key of the list. Calls without a duration or cost come last. Calls with equal "
        "keys are ordered by `created_at`, then by `id`.",
    )
    total: Flag = Field(True, description="`false`: `total` and `total_pages` are null, which can be faster.")


def _reading_of(metadata: Sequence[object]) -> ReadAs | None:
    """How a field with these annotations becomes parameters; None for a field without conditions."""
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
"""The conditions that an index serves."""
BY_SCAN: Final = " AND ".join(str(each) for each in CONDITIONS if each.path is AccessPath.SCAN)
"""The conditions that PostgreSQL checks for each call that the index returns."""
MATCHING: Final = f"{BY_INDEX} AND {BY_SCAN}"
"""The requested calls, to follow WHERE; its parameters are those of `CallFilters`."""

_SPAN: Final = {name for each in CONDITIONS if each.path is AccessPath.SPAN for name in each.parameters}
_NO_FILTERS: Final = dict.fromkeys(name for each in CONDITIONS for name in each.parameters)


@dataclass(frozen=True)
class CallFilters:
    """Which calls are requested."""

    cells: Filters
    """The filters that the counts have as dimensions."""
    beyond: Mapping[str, object] = field(default_factory=dict)
    """Values of the other parameters of `CONDITIONS`, by name: only those that were sent."""

    @property
    def parameters(self) -> dict[str, Any]:
        """The values of the parameters of `MATCHING`, by name."""
        return {**_NO_FILTERS, **self.cells.parameters, **self.beyond}

    @property
    def measured(self) -> Measured | None:
        """The only filter that the counts do not have as a dimension, if they have it as a measure."""
        if len(self.beyond) != 1 or self.beyond.keys().isdisjoint(MEASURED):
            return None
        ((name, value),) = self.beyond.items()
        return name, bool(value)

    @property
    def is_counted(self) -> bool:
        """Whether the counts know how many calls are requested."""
        return not self.beyond or self.measured is not None

    @cached_property
    def conditions(self) -> Sequence[Condition]:
        """The conditions that narrow the calls."""
        parameters = self.parameters
        return [each for each in CONDITIONS if parameters[each.parameters[0]] is not None]

    @property
    def has_instants(self) -> bool:
        """Whether a timestamp bounds the calls within a day, for which the counts have no value."""
        return not _SPAN.isdisjoint(self.beyond)

    def within(self, first: date, last: date) -> "CallFilters":
        """The same filters for these days."""
        return replace(self, cells=replace(self.cells, start_date=first, end_date=last))

    @property
    def by_span(self) -> "CallFilters":
        """Only the bounds in time and the phone number."""
        return self._only(self.cells.phone_number_id)

    def by_each_index(self) -> Iterator["CallFilters"]:
        """For each index that serves a filter, only that filter and the bounds in time; the narrowest first.
        Filters that the counts have as dimensions are left to the counts."""
        indexed = [each for each in self.conditions if each.path < AccessPath.SPAN]
        for condition in sorted(indexed, key=lambda each: each.path):
            if condition.parameters[0] in self.beyond:
                yield self._only(None, condition.parameters)

    def _only(self, phone_number_id: UUID | None, names: Collection[str] = ()) -> "CallFilters":
        kept = {*_SPAN, *names}
        cells = replace(self.cells, status=None, direction=None, phone_number_id=phone_number_id)
        return CallFilters(cells, {name: value for name, value in self.beyond.items() if name in kept})


def call_filters_of(principal: Principal, query: FiltersQuery) -> CallFilters:
    """The filters for what the principal may see and the query requests. Raises the 400 `ApiError`."""
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
