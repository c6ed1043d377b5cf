"""How many calls of a list each day has, so that a page is found without skipping every call before it."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from services.api.database.databases import Connection
from services.api.figures.cell_filters import Filters
from services.api.figures.counted_rows import IN_DAYS, OF_KIND, counted_rows
from shared.calls.fold import FINAL
from shared.calls.zones import UTC
from shared.counts.histogram import DURATIONS
from shared.counts.packed import DIGITS, NINES
from shared.database.statement import Statement

_OVER: Final = ", ".join(f"'{status}'" for status in sorted(FINAL))
MEASURED: Final[Mapping[str, str]] = {
    "answered": "answered",
    "seizure": f"CASE WHEN status IN ({_OVER}) THEN calls ELSE answered END",
    "effective": "effective",
}
"""The filters of lists for which counts have a measure, each with how many calls of a cell meet it."""
Measured = tuple[str, bool]
"""One of these filters, with its value."""


def _listed(*measures: str, by_phone_number: bool) -> str:
    """The cells of the calls that exist and can be listed, without pruned calls, which still count. Each cell
    has `calls` and these measures."""
    cell = "organization_id, livemode, day, direction, phone_number_id, status"
    columns = ", ".join((cell, "calls", *measures))
    pruned = ", ".join((cell, *(f"-{measure}" for measure in ("calls", *measures))))
    return f"""
        (
            {counted_rows(columns, by_phone_number=by_phone_number)}
            UNION ALL
            SELECT {pruned} FROM pruned_call_counts
        ) AS cells
        WHERE {IN_DAYS}
    """


def total_sql(*, by_phone_number: bool) -> str:
    return f"""
        SELECT coalesce(sum(calls), 0)::bigint AS calls
        FROM {_listed(by_phone_number=by_phone_number)} AND {OF_KIND}
    """


def _days(measured: Measured | None, *, by_phone_number: bool) -> str:
    listed = "calls"
    if measured is not None:
        name, value = measured
        listed = MEASURED[name] if value else f"calls - ({MEASURED[name]})"
    return f"""
        SELECT day, coalesce(sum({listed}) FILTER (WHERE {OF_KIND}), 0)::bigint AS listed,
            sum(calls)::bigint AS calls
        FROM {_listed("answered", "effective", by_phone_number=by_phone_number)}
        GROUP BY day
        HAVING sum(calls) > 0
        ORDER BY day
    """


def _long_days(*, by_phone_number: bool) -> str:
    listed = _listed("answered", "durations", by_phone_number=by_phone_number)
    return f"""
        SELECT day, coalesce(sum(calls) FILTER (WHERE {OF_KIND}), 0)::bigint AS listed,
            sum(calls)::bigint AS calls
        FROM {listed}
        GROUP BY day
        HAVING sum(calls) > 0 AND (
            day = :end_date
            OR sum(calls) FILTER (WHERE status NOT IN ({_OVER}) AND {OF_KIND}) > 0
            OR sum(answered) FILTER (WHERE {OF_KIND})
                > mod(sum(durations) FILTER (WHERE {OF_KIND}), {NINES})
            OR sum(durations) FILTER (WHERE {OF_KIND}) >= {_DAY_OR_MORE}
        )
        ORDER BY day
    """


_DAY_OR_MORE: Final = f"1e{DIGITS * len(DURATIONS)}::numeric"
"""The lowest packed sum with one call in the last bucket, which begins at one day."""

TOTAL: Final = {by: Statement(total_sql(by_phone_number=by)) for by in (False, True)}
"""How many calls a list has, by whether it is of one phone number. The parameters are those of `Filters`."""
DAYS: Final = {
    (by, measured): Statement(_days(measured, by_phone_number=by))
    for by in TOTAL
    for measured in (None, *((name, value) for name in MEASURED for value in (True, False)))
}
"""How many calls each day has, by the same key and the measured filter."""
LONG_DAYS: Final = {by: Statement(_long_days(by_phone_number=by)) for by in (False, True)}
"""The same for days that may have long calls."""


class Day(NamedTuple):
    """A day that has calls."""

    day: date
    listed: int
    """How many calls belong to the list."""
    calls: int
    """How many calls the day has, of every status and direction."""


class Run(NamedTuple):
    """Consecutive days that all have calls of the list."""

    first: date
    last: date
    listed: int
    calls: int


async def days_of(connection: Connection, filters: Filters, measured: Measured | None = None) -> list[Day]:
    """The days that have calls, the oldest first. The list has these filters, and the measured one if it is
    given. Raises asyncpg's errors."""
    statement = DAYS[filters.phone_number_id is not None, measured]
    rows = await statement.fetch(connection, **filters.parameters)
    return [Day(*row) for row in rows]


async def long_days_of(connection: Connection, filters: Filters) -> list[Day]:
    """The days that may have calls which were in progress for more than a day after them, up to the filters'
    last day, the oldest first. These are the last day itself and each day that has one of these calls: not
    ended; answered without a duration; or of a day or more. Raises asyncpg's errors.

    It misses calls that were answered more than a day after their creation, and calls that ended more than a
    day after their duration.
    """
    rows = await LONG_DAYS[filters.phone_number_id is not None].fetch(connection, **filters.parameters)
    return [Day(*row) for row in rows]


def place(days: Sequence[Day], offset: int, zone: ZoneInfo) -> tuple[list[Day], int]:
    """Finds the call with this offset in the `days` of a list, in the list's order. Returns the days from
    there on, and how many calls of the first of these days to skip. No days: the list ends before it."""
    position = passed = 0
    while position < len(days) and passed + days[position].listed <= offset:
        passed += days[position].listed
        position += 1
    if position == len(days):
        return [], 0
    # If days overlap, earlier days have calls that come after some calls of this day.
    while position and _overlap(days[position - 1].day, days[position].day, zone):
        position -= 1
        passed -= days[position].listed
    return list(days[position:]), offset - passed


def _overlap(one: date, other: date, zone: ZoneInfo) -> bool:
    """Whether the calls of these days interleave: the days are neighbours, and the clock was set back over
    the midnight between them."""
    if abs(one - other) > timedelta(days=1):
        return False
    midnight = datetime.combine(max(one, other), time(), zone)
    return midnight.astimezone(UTC) != midnight.replace(fold=1).astimezone(UTC)


def runs(days: Sequence[Day]) -> Iterator[Run]:
    """The same days in their order, with consecutive days joined."""
    together: list[Day] = []
    for day in days:
        if together and abs(day.day - together[-1].day) > timedelta(days=1):
            yield _run(together)
            together = []
        together.append(day)
    if together:
        yield _run(together)


def _run(days: Sequence[Day]) -> Run:
    return Run(min(days).day, max(days).day, sum(day.listed for day in days), sum(day.calls for day in days))
