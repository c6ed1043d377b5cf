"""Sums over the requested cells, computed in PostgreSQL: of all calls, or by group and interval."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from itertools import chain, combinations
from typing import Any, Final, Literal, NamedTuple, get_args

from asyncpg import Record

from services.api.database.databases import Connection
from services.api.figures.cell_filters import Filters
from services.api.figures.counted_rows import cells
from services.api.figures.intervals import Interval, WeekStart
from shared.calls.event import Direction, Status
from shared.calls.fold import OPEN
from shared.calls.local_time import HOURS
from shared.counts.cell import NO_DIRECTION, NO_PHONE_NUMBER, PACKED_DIGITS
from shared.counts.counted_sql import quoted
from shared.counts.histogram import DURATIONS, bucket
from shared.counts.packed import DIGITS, NINES, unpack
from shared.database.statement import Statement

GroupBy = Literal["phone_number", "direction", "status"]
Distribution = Literal["percentiles", "hangup_causes"]

STATUSES: Final[tuple[Status, ...]] = get_args(Status)
DIRECTIONS: Final[tuple[str, ...]] = (*get_args(Direction), NO_DIRECTION)
DISTRIBUTIONS: Final[tuple[Distribution, ...]] = get_args(Distribution)
SHORT_SECONDS: Final = 6
"""An answered call below this is a short call."""
GROUPS_MAX: Final = 1000
"""The most groups that are listed: the largest ones. All others form one more group."""
NO_NUMBER_GROUP: Final = "none"
OTHER_GROUPS: Final = "other"


class Sums(NamedTuple):
    """The sums of the requested calls. Distributions are packed, and empty if they were not requested."""

    by_status: Mapping[Status, int] = dict.fromkeys(STATUSES, 0)
    by_direction: Mapping[str, int] = dict.fromkeys(DIRECTIONS, 0)
    answered: int = 0
    answered_going_on: int = 0
    """The answered calls that have not ended."""
    duration_seconds: int = 0
    completed_seconds: int = 0
    """Of completed calls only."""
    completed_timed: int = 0
    """The completed calls that have a duration. By the hour, 0 if that is unknown."""
    broken_seconds: int = 0
    """Of calls that failed or are in progress, answered or not."""
    other_durations: str = "0"
    """The durations of answered calls that are not completed."""
    cost_cents: Decimal = Decimal(0)
    latency_ms: int = 0
    latency_calls: int = 0
    effective: int = 0
    short_durations: str = "0"
    """The buckets of `durations` below `SHORT_SECONDS`."""
    durations: str = "0"
    answer_delays: str = "0"
    latencies: str = "0"
    hangup_causes: str = "0"

    @property
    def calls(self) -> int:
        return sum(self.by_status.values())


NO_CALLS: Final = Sums()

_GOING_ON: Final = quoted(sorted(OPEN))
_COMPLETED: Final = "FILTER (WHERE status = 'completed')"
_COMPLETED_DURATIONS: Final = f"sum(durations) {_COMPLETED}"
_OTHER_DURATIONS: Final = "sum(durations) FILTER (WHERE status <> 'completed')"
# Made of the same two sums, because PostgreSQL computes each only once. Sums of histograms dominate the cost.
_DURATIONS: Final = f"(coalesce({_COMPLETED_DURATIONS}, 0) + coalesce({_OTHER_DURATIONS}, 0))"
_TIMED: Final = f"mod({_COMPLETED_DURATIONS}, {NINES})"
_SHORT: Final = f"1e{DIGITS * bucket(SHORT_SECONDS - 1, DURATIONS) + DIGITS}::numeric"

# Each sum over cells, and the type in which it is read. Packed sums are read as text, to be unpacked.
_PLAIN: Final[Mapping[str, tuple[str, str]]] = {
    **{status: (f"sum(calls) FILTER (WHERE status = '{status}')", "bigint") for status in STATUSES},
    **{name: (f"sum(calls) FILTER (WHERE direction = '{name}')", "bigint") for name in DIRECTIONS},
    "answered": ("sum(answered)", "bigint"),
    "answered_going_on": (f"sum(answered) FILTER (WHERE status IN ({_GOING_ON}))", "bigint"),
    "duration_seconds": ("sum(duration_seconds)", "bigint"),
    "completed_seconds": (f"sum(duration_seconds) {_COMPLETED}", "bigint"),
    "completed_timed": (_TIMED, "bigint"),
    "broken_seconds": ("sum(duration_seconds) FILTER (WHERE status IN ('in_progress', 'failed'))", "bigint"),
    "other_durations": (_OTHER_DURATIONS, "text"),
    "cost_cents": ("sum(cost_cents)", "numeric"),
    "latency_ms": ("sum(latency_ms)", "bigint"),
    "latency_calls": ("sum(latency_calls)", "bigint"),
    "effective": ("sum(effective)", "bigint"),
    "short_durations": (f"mod({_DURATIONS}, {_SHORT})", "text"),
}
_DISTRIBUTIONS: Final[Mapping[Distribution, Mapping[str, tuple[str, str]]]] = {
    "percentiles": {
        "durations": (_DURATIONS, "text"),
        **{name: (f"sum({name})", "text") for name in ("answer_delays", "latencies")},
    },
    "hangup_causes": {"hangup_causes": ("sum(hangup_causes)", "text")},
}
_OF_HOURS: Final[Mapping[str, tuple[str, str]]] = {
    **{status: (f"sum(hour_calls) FILTER (WHERE status = '{status}')", "text") for status in STATUSES},
    "answered": ("sum(hour_answered)", "text"),
    "answered_going_on": (f"sum(hour_answered) FILTER (WHERE status IN ({_GOING_ON}))", "text"),
    "duration_seconds": ("sum(hour_duration_seconds)", "text"),
    "completed_seconds": (f"sum(hour_duration_seconds) {_COMPLETED}", "text"),
    "cost_cents": ("trunc(sum(hour_cost))", "text"),
}
_OF_DAYS_WITH_HOURS: Final[Mapping[str, tuple[str, str]]] = {
    "day_completed": (f"sum(calls) {_COMPLETED}", "bigint"),
    "day_completed_timed": (_TIMED, "bigint"),
}
_DIGITS_OF_HOURS: Final = dict.fromkeys(_OF_HOURS, DIGITS) | {
    "duration_seconds": PACKED_DIGITS["hour_duration_seconds"],
    "completed_seconds": PACKED_DIGITS["hour_duration_seconds"],
    "cost_cents": PACKED_DIGITS["hour_cost"],
}
_GROUPS: Final[Mapping[GroupBy | None, str]] = {
    None: "NULL::text",
    "phone_number": f"coalesce(nullif(phone_number_id, '{NO_PHONE_NUMBER}')::text, '{NO_NUMBER_GROUP}')",
    "direction": "direction",
    "status": "status",
}
_DAY: Final = "day + :days_after::int"
_FIRST: Final = ":start_date::date + :days_after::int"
_STARTS: Final[Mapping[tuple[Interval, WeekStart], str]] = {
    ("hour", "monday"): _DAY,
    ("day", "monday"): _DAY,
    ("week", "monday"): f"greatest(date_trunc('week', ({_DAY})::timestamp)::date, {_FIRST})",
    ("week", "sunday"): f"greatest(date_trunc('week', ({_DAY} + 1)::timestamp)::date - 1, {_FIRST})",
    ("month", "monday"): f"greatest(date_trunc('month', ({_DAY})::timestamp)::date, {_FIRST})",
}
"""The start of the interval that a day belongs to."""


def total(parts: Iterable[Sums]) -> Sums:
    """The sums of all parts together."""
    some = list(parts)
    added = {name: _added([getattr(part, name) for part in some]) for name in Sums._fields[2:]}
    return Sums(
        {status: sum(part.by_status[status] for part in some) for status in STATUSES},
        {direction: sum(part.by_direction[direction] for part in some) for direction in DIRECTIONS},
        **added,
    )


def _added(values: Sequence[Any]) -> Any:
    """The sum of numbers, or of packed numbers as PostgreSQL writes them."""
    if not values or not isinstance(values[0], str):
        return sum(values)
    return str(sum(int(packed.partition(".")[0]) for packed in values))


async def sums_by_group(
    connection: Connection, filters: Filters, group_by: GroupBy
) -> list[tuple[str, Sums]]:
    """The sums of the requested calls by group, the largest first. The groups beyond `GROUPS_MAX` come last,
    as one group."""
    statement = groups_statement(filters, group_by)
    rows = await statement.fetch(connection, **filters.parameters, groups_max=GROUPS_MAX)
    return [(row["group"], _sums(row)) for row in rows]


class Part(NamedTuple):
    """The position of sums in trends."""

    group: str | None
    start: date
    hour: int | None


class TooManyParts(Exception):
    """There are more parts than the limit."""


async def sums_by_part(
    connection: Connection,
    filters: Filters,
    interval: Interval,
    group_by: GroupBy | None,
    distributions: Sequence[Distribution],
    *,
    week_start: WeekStart = "monday",
    days_after: int = 0,
    most: int,
    days: Sequence[date] | None = None,
) -> dict[Part, Sums]:
    """The sums of the requested calls by group and interval; parts without calls may be missing. The filters'
    first day is the start of the first interval. Each day counts `days_after` days later, so that the days of
    an earlier span fall into the intervals of a later one. With `days`, only calls of these days are added.
    Raises TooManyParts for more than `most`."""
    by_hour = interval == "hour"
    rows_max = most // HOURS if by_hour else most
    of_days = days is not None
    statement = parts_statement(filters, interval, group_by, distributions, week_start, of_days=of_days)
    parameters = {**filters.parameters, "days_after": days_after, "rows_max": rows_max + 1}
    if of_days:
        parameters["days"] = days
    rows = await statement.fetch(connection, **parameters)
    if len(rows) > rows_max:
        raise TooManyParts
    if not by_hour:
        return {Part(row["group"], row["start"], None): _sums(row) for row in rows}
    return {
        Part(row["group"], row["start"], hour): of_hour
        for row in rows
        for hour, of_hour in enumerate(_sums_of_hours(row))
    }


def groups_statement(filters: Filters, group_by: GroupBy) -> Statement:
    """The statement of `sums_by_group`. Its parameters are those of `Filters`, and `groups_max`."""
    return _SUMS_BY_GROUP[group_by, _is_by_phone_number(filters, group_by)]


def parts_statement(
    filters: Filters,
    interval: Interval,
    group_by: GroupBy | None,
    distributions: Sequence[Distribution],
    week_start: WeekStart = "monday",
    *,
    of_days: bool = False,
) -> Statement:
    """The statement of `sums_by_part`. Its parameters are those of `Filters`, `days_after` and `rows_max`;
    with `of_days` also `days`, and no groups."""
    added = frozenset(() if interval == "hour" else distributions)
    by_phone_number = _is_by_phone_number(filters, group_by)
    return _SUMS_BY_PART[interval, week_start, group_by, added, by_phone_number, of_days]


def _is_by_phone_number(filters: Filters, group_by: GroupBy | None = None) -> bool:
    """Whether the totals are not enough, because they have no phone numbers."""
    return filters.phone_number_id is not None or group_by == "phone_number"


def _with(distributions: Iterable[Distribution]) -> dict[str, tuple[str, str]]:
    asked = (_DISTRIBUTIONS[name].items() for name in distributions)
    return dict(chain(_PLAIN.items(), *asked))


def _read(added: Mapping[str, tuple[str, str]]) -> str:
    return ", ".join(f"coalesce({sum_}, 0)::{kind} AS {name}" for name, (sum_, kind) in added.items())


def _groups_sql(group_by: GroupBy, by_phone_number: bool) -> str:
    added = _with(DISTRIBUTIONS)
    of_group = ", ".join(f"{sum_} AS {name}" for name, (sum_, _) in added.items())
    merged = _read({name: (f"sum({name})", kind) for name, (_, kind) in added.items()})
    return f"""
    SELECT CASE WHEN place <= :groups_max THEN "group" ELSE '{OTHER_GROUPS}' END AS "group", {merged}
    FROM (
        SELECT *, row_number() OVER (ORDER BY calls DESC, "group") AS place
        FROM (
            SELECT {_GROUPS[group_by]} AS "group", sum(calls) AS calls, {of_group}
            FROM {cells(by_phone_number=by_phone_number)}
            GROUP BY 1
            HAVING sum(calls) <> 0
        ) AS groups
    ) AS placed
    GROUP BY 1
    ORDER BY min(place)
    """


def _parts_sql(
    interval: Interval,
    week_start: WeekStart,
    group_by: GroupBy | None,
    distributions: Iterable[Distribution],
    by_phone_number: bool,
    of_days: bool,
) -> str:
    added = {**_OF_HOURS, **_OF_DAYS_WITH_HOURS} if interval == "hour" else _with(distributions)
    return f"""
    SELECT {_GROUPS[group_by]} AS "group", {_STARTS[interval, week_start]} AS start, {_read(added)}
    FROM {cells(by_phone_number=by_phone_number, of_days=of_days)}
    GROUP BY 1, 2
    HAVING sum(calls) <> 0
    LIMIT :rows_max
    """


_GROUPINGS: Final = [
    (group_by, by_phone_number)
    for group_by in _GROUPS
    for by_phone_number in (True, False)
    if by_phone_number or group_by != "phone_number"
]
_SUMS_BY_GROUP: Final = {
    (group_by, by_phone_number): Statement(_groups_sql(group_by, by_phone_number))
    for group_by, by_phone_number in _GROUPINGS
    if group_by is not None
}
_SUMS_BY_PART: Final = {
    (interval, week_start, group_by, frozenset(added), by_phone_number, of_days): Statement(
        _parts_sql(interval, week_start, group_by, added, by_phone_number, of_days)
    )
    for interval, week_start in _STARTS
    for group_by, by_phone_number in _GROUPINGS
    for count in range(1 if interval == "hour" else len(DISTRIBUTIONS) + 1)
    for added in combinations(DISTRIBUTIONS, count)
    for of_days in ((False, True) if group_by is None else (False,))
}


def _sums(row: Record) -> Sums:
    return NO_CALLS._replace(
        by_status={status: row[status] for status in STATUSES},
        by_direction={direction: row[direction] for direction in DIRECTIONS},
        **{name: row[name] for name in Sums._fields[2:] if name in row}
        | {"completed_timed": _sum_of_counts(row["completed_timed"])},
    )


def _sum_of_counts(remainder: int) -> int:
    """The sum of a packed number's counts, from its remainder. A negative sum becomes 0."""
    rest = remainder % NINES
    return rest if rest <= NINES // 2 else 0


def _sums_of_hours(row: Record) -> Iterator[Sums]:
    """The sums of each hour of a day, from the first hour to the last one that has calls."""
    hours = {name: unpack(row[name], digits) for name, digits in _DIGITS_OF_HOURS.items()}
    all_timed = row["day_completed"] == _sum_of_counts(row["day_completed_timed"])
    for hour in range(max(map(len, hours.values()))):
        of_hour = {name: values[hour] if hour < len(values) else 0 for name, values in hours.items()}
        yield NO_CALLS._replace(
            by_status={status: of_hour[status] for status in STATUSES},
            answered=of_hour["answered"],
            answered_going_on=of_hour["answered_going_on"],
            duration_seconds=of_hour["duration_seconds"],
            completed_seconds=of_hour["completed_seconds"],
            completed_timed=of_hour["completed"] if all_timed else 0,
            cost_cents=Decimal(of_hour["cost_cents"]).scaleb(-4),
        )
