"""A call has the same cell and measures in Python and in SQL."""

from datetime import date, datetime, timedelta
from typing import Any, get_args

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.calls.event import COST_CENTS_MAX, Direction, Status
from shared.calls.fold import LAWS
from shared.calls.hangup import SPELLINGS
from shared.counts.cell import COUNTED_COLUMNS, PACKED_DIGITS, Cell, Measures, counted_as
from shared.counts.counted_sql import COUNTED
from shared.counts.histogram import ANSWER_DELAYS, DURATIONS, LATENCIES
from shared.database.connection import Connection
from tests.support.events import NOON, ORGANIZATION

LARGEST = 2**31 - 1


def _at(thresholds: tuple[int, ...]) -> st.SearchStrategy[int]:
    """Any number, and the numbers at the edges of buckets."""
    edges = sorted({max(edge + step, 0) for edge in thresholds for step in (-1, 0, 1)})
    return st.one_of(st.sampled_from(edges), st.integers(0, LARGEST))


created = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)).map(  # noqa: DTZ001
    lambda instant: instant.replace(tzinfo=NOON.tzinfo)
)
delays = st.one_of(
    _at(ANSWER_DELAYS).map(lambda ms: timedelta(milliseconds=ms)),
    st.timedeltas(timedelta(days=-400), timedelta(days=400)),
)
rows = st.tuples(
    st.just(ORGANIZATION),
    st.booleans(),
    st.dates(date(1970, 1, 1), date(2100, 1, 1)),
    st.none() | st.integers(-1, 26),
    st.none() | st.sampled_from(get_args(Direction)),
    st.none() | st.uuids(),
    st.sampled_from(get_args(Status)),
    st.none() | _at(DURATIONS),
    st.none() | st.decimals(0, COST_CENTS_MAX, places=4),
    st.none() | _at(LATENCIES),
    st.none() | st.sampled_from([*SPELLINGS, "", "486", "Busy", 'it\'s "so"\\']),
    created,
    st.none() | delays,
    st.integers(1, LAWS),
).map(lambda row: (*row[:-2], None if row[-2] is None else row[-3] + row[-2], row[-1]))

_TYPES = (
    *("uuid", "boolean", "date", "smallint", "text", "uuid", "text"),
    *("integer", "numeric(14,4)", "integer", "text", "timestamptz", "timestamptz", "smallint"),
)
_COLUMNS = enumerate(zip(COUNTED_COLUMNS, _TYPES, strict=True), 1)
_ROW = ", ".join(f"${n}::{type_} AS {name}" for n, (name, type_) in _COLUMNS)


async def _in_sql(database: Connection, row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(await database.fetchrow(f"SELECT {COUNTED} FROM (SELECT {_ROW}) AS call", *row) or ())  # noqa: S608


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(row=rows)
async def test_python_and_sql_count_alike(database: Connection, row: tuple[Any, ...]) -> None:
    cell, measures = counted_as(*row)
    assert await _in_sql(database, row) == (*cell, *measures)
    assert "." not in "".join(f"{getattr(measures, name):f}" for name in PACKED_DIGITS)


async def test_every_spelling_of_a_cause_is_known_to_both(database: Connection) -> None:
    for spelling in SPELLINGS:
        of_no_phone: tuple[Any, ...] = (ORGANIZATION, True, NOON.date(), 12, None, None, "failed")
        row = (*of_no_phone, 0, None, None, spelling, NOON, None, LAWS)
        cell, measures = counted_as(*row)
        assert await _in_sql(database, row) == (*cell, *measures)


async def test_the_columns_are_named_as_cells_and_measures_are(database: Connection) -> None:
    statement = await database.prepare(f"SELECT {COUNTED} FROM calls")  # noqa: S608
    assert [one.name for one in statement.get_attributes()] == [*Cell._fields, *Measures._fields]
