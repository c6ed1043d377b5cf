"""How many calls of a list each day has: by that, a page is found without reading over all before it."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from services.api.counts import counted_rows
from services.api.database import Connection
from services.api.filters import Filters
from shared.fold import FINAL
from shared.histogram import DURATIONS
from shared.packed import DIGITS, NINES
from shared.zones import UTC

_MATCHES: Final = """
($5::text[] IS NULL OR status = ANY ($5)) AND ($6::text IS NULL OR direction = $6)
"""


def _listed(*measures: str, by_phone_number: bool) -> str:
    """The cells of the calls that are there, which are what can be listed: without those that were pruned and
    go on counting. Each has `calls` and these measures."""
    cell = "organization_id, livemode, day, direction, phone_number_id, status"
    columns = ", ".join((cell, "calls", *measures))
    pruned = ", ".join((cell, *(f"-{measure}" for measure in ("calls", *measures))))
    return f"""
        (
            {counted_rows(columns, by_phone_number=by_phone_number)}
            UNION ALL
            SELECT {pruned} FROM pruned_call_counts
        ) AS cells
        WHERE organization_id = $1 AND livemode = $2
            AND ($3::date IS NULL OR day >= $3)
            AND ($4::date IS NULL OR day <= $4)
            AND ($7::uuid IS NULL OR phone_number_id = $7)
    """  # noqa: S608 - made of constants


def _total(*, by_phone_number: bool) -> str:
    return f"""
        SELECT coalesce(sum(calls), 0)::bigint AS calls
        FROM {_listed(by_phone_number=by_phone_number)} AND {_MATCHES}
    """  # noqa: S608 - made of constants


def _days(*, by_phone_number: bool) -> str:
    return f"""
        SELECT day, coalesce(sum(calls) FILTER (WHERE {_MATCHES}), 0)::bigint AS listed,
            sum(calls)::bigint AS calls
        FROM {_listed(by_phone_number=by_phone_number)}
        GROUP BY day
        HAVING sum(calls) > 0
        ORDER BY day
    """  # noqa: S608 - made of constants


def _long_days(*, by_phone_number: bool) -> str:
    listed = _listed("answered", "durations", by_phone_number=by_phone_number)
    return f"""
        SELECT day, coalesce(sum(calls) FILTER (WHERE {_MATCHES}), 0)::bigint AS listed,
            sum(calls)::bigint AS calls
        FROM {listed}
        GROUP BY day
        HAVING sum(calls) > 0 AND (
            day = $4
            OR sum(calls) FILTER (WHERE status NOT IN ({_OVER}) AND {_MATCHES}) > 0
            OR sum(answered) FILTER (WHERE {_MATCHES})
                > mod(sum(durations) FILTER (WHERE {_MATCHES}), {NINES})
            OR sum(durations) FILTER (WHERE {_MATCHES}) >= {_DAY_OR_MORE}
        )
        ORDER BY day
    """  # noqa: S608 - made of constants


_OVER: Final = ", ".join(f"'{status}'" for status in sorted(FINAL))
_DAY_OR_MORE: Final = f"1e{DIGITS * len(DURATIONS)}::numeric"
"""The least sum of durations with one in the last bucket, which begins at a day."""

TOTAL: Final = {by: _total(by_phone_number=by) for by in (False, True)}
"""How many calls a list has, by whether it is of one phone number; its parameters are `Filters`."""
DAYS: Final = {by: _days(by_phone_number=by) for by in (False, True)}
"""How many each day has, likewise."""
LONG_DAYS: Final = {by: _long_days(by_phone_number=by) for by in (False, True)}
"""The same of the days that may have long calls."""


class Day(NamedTuple):
    """A day that has calls."""

    day: date
    listed: int
    """How many are the list's."""
    calls: int
    """How many there are, whatever their status and direction."""


class Run(NamedTuple):
    """Days one after the other that all have calls of the list."""

    first: date
    last: date
    listed: int
    calls: int


async def days_of(connection: Connection, filters: Filters) -> list[Day]:
    """The days that have calls, the oldest first. Raises asyncpg's errors."""
    rows = await connection.fetch(DAYS[filters.phone_number_id is not None], *filters)
    return [Day(*row) for row in rows]


async def long_days_of(connection: Connection, filters: Filters) -> list[Day]:
    """Of the days up to the filters' last, those with calls that may have been in progress for more than a
    day after it, the oldest first: the last day itself; and each that has a call which is not over, which was
    answered and has no duration, or which took a day or more. Raises asyncpg's errors.

    A call that was answered more than a day after its creation, or that ended more than a day after its
    duration says, is not noticed.
    """
    rows = await connection.fetch(LONG_DAYS[filters.phone_number_id is not None], *filters)
    return [Day(*row) for row in rows]


def place(days: Sequence[Day], offset: int, zone: ZoneInfo) -> tuple[list[Day], int]:
    """Where the call with this offset is, of the `days` of a list in its order: the days from there on, and
    how many calls of the first of them to pass over. Without days where the list ends before it."""
    position = passed = 0
    while position < len(days) and passed + days[position].listed <= offset:
        passed += days[position].listed
        position += 1
    if position == len(days):
        return [], 0
    # Where days overlap, those before this one have calls that come after some of its own.
    while position and _overlap(days[position - 1].day, days[position].day, zone):
        position -= 1
        passed -= days[position].listed
    return list(days[position:]), offset - passed


def _overlap(one: date, other: date, zone: ZoneInfo) -> bool:
    """Whether of these days, one has calls from before and from after some of the other's: they are
    neighbours, and the clock may have been put back over the midnight between."""
    if abs(one - other) > timedelta(days=1):
        return False
    midnight = datetime.combine(max(one, other), time(), zone)
    return midnight.astimezone(UTC) != midnight.replace(fold=1).astimezone(UTC)


def runs(days: Sequence[Day]) -> Iterator[Run]:
    """The same days in their order, those that follow each other together."""
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
