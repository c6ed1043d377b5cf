"""How many calls of a list each day has: by that, a page is found without reading over all before it."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from services.api.counts import counted_rows
from services.api.database import Connection
from services.api.filters import Filters
from shared.zones import UTC

_MATCHES: Final = """
($5::text[] IS NULL OR status = ANY ($5)) AND ($6::text IS NULL OR direction = $6)
"""


def _listed(*, by_phone_number: bool) -> str:
    """The cells of the calls that are there, which are what can be listed: without those that were pruned and
    go on counting."""
    columns = "organization_id, livemode, day, direction, phone_number_id, status, calls"
    return f"""
        (
            {counted_rows(columns, by_phone_number=by_phone_number)}
            UNION ALL
            SELECT {columns.replace("calls", "-calls")} FROM pruned_call_counts
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


TOTAL: Final = {by: _total(by_phone_number=by) for by in (False, True)}
"""How many calls a list has, by whether it is of one phone number; its parameters are `Filters`."""
DAYS: Final = {by: _days(by_phone_number=by) for by in (False, True)}
"""How many each day has, likewise."""


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
