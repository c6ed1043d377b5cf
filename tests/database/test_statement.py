"""Statements: PostgreSQL gets the parameters that the SQL names, and nothing else is changed."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.database.connection import Connection
from shared.database.statement import Statement

UNTOUCHED = [
    "SELECT now()::date",
    "SELECT ':name', 'it''s :name', E'\\' :name', e'\\\\', B'1'",
    'SELECT 1 AS ":name", 1 AS "a "" :name"',
    "SELECT 1 -- :name and $1\n",
    "SELECT /* :name and $1 */ 1",
    "SELECT $$:name$$, $body$ :name $$ $1 $body$",
    "SELECT ('{1,2,3}'::int[])[1:2], (array[1, 2])[1:cardinality(array[1])]",
    "SELECT 'name' AS a$1",
]
"""SQL without parameters, with colons and dollars in other uses."""


@pytest.mark.parametrize("sql", UNTOUCHED)
async def test_what_is_no_parameter_stays_as_it_is(database: Connection, sql: str) -> None:
    statement = Statement(sql)

    assert (statement.numbered, statement.parameters) == (sql, ())
    assert await statement.fetchrow(database) is not None


async def test_a_name_has_one_number_wherever_it_stands(database: Connection) -> None:
    statement = Statement("SELECT :first::int - :second::int, :first, ARRAY[:second]")

    assert statement.numbered == "SELECT $1::int - $2::int, $1, ARRAY[$2]"
    assert statement.parameters == ("first", "second")
    assert tuple(await statement.fetchrow(database, second=2, first=7) or ()) == (5, 7, [2])


async def test_rows_and_values_are_fetched_in_every_way(database: Connection) -> None:
    numbers = Statement("SELECT n FROM generate_series(1, :most::int) AS n ORDER BY n")

    assert [row["n"] for row in await numbers.fetch(database, most=3)] == [1, 2, 3]
    assert await numbers.fetchrow(database, most=0) is None
    assert await numbers.fetchval(database, most=3) == 1
    async with database.transaction():
        cursor = await numbers.cursor(database, most=5)
        assert [row["n"] for row in await cursor.fetch(2)] == [1, 2]
        assert [row["n"] for row in await cursor.fetch(9)] == [3, 4, 5]


async def test_no_method_waits_longer_than_it_may(database: Connection) -> None:
    asleep = Statement("SELECT pg_sleep(:seconds)")
    for ask in (asleep.fetch, asleep.fetchrow, asleep.fetchval):
        with pytest.raises(TimeoutError):
            await ask(database, seconds=60, timeout_seconds=0.05)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"a": 1}, "the statement lacks b: SELECT :a::int + :b::int"),
        ({"a": 1, "b": 2, "c": 3}, "the statement has no parameter c: SELECT :a::int + :b::int"),
        ({"a": 1, "c": 3}, "the statement lacks b, has no parameter c: SELECT :a::int + :b::int"),
        ({}, "the statement lacks a, lacks b: SELECT :a::int + :b::int"),
    ],
)
async def test_missing_and_unknown_parameters_are_refused(
    database: Connection, parameters: dict[str, Any], sentence: str
) -> None:
    statement = Statement("SELECT :a::int + :b::int")

    with pytest.raises(TypeError) as refused:
        await statement.fetchval(database, **parameters)

    assert str(refused.value) == sentence


@pytest.mark.parametrize(
    ("sql", "sentence"),
    [
        ("SELECT :a, $2", r"\$2 is not allowed in a statement with named parameters"),
        ("SELECT 1 /* one /* :two */ :a */", "a comment begins within a comment"),
    ],
)
def test_what_can_not_be_compiled_is_refused(sql: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Statement(sql)


# The elements of an SQL text, with every character that has a meaning in PostgreSQL.
texts = st.text("ab:$'\"\\-/*1 \n", max_size=12)
names = st.sampled_from(["a", "b", "organization_id", "e", "E1"])
literals = texts.flatmap(
    lambda text: st.sampled_from(
        [
            "'" + text.replace("'", "''") + "'",
            "E'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'",
            "$a$" + text.replace("$", "") + "$a$",
        ]
    ).map(lambda literal: (literal, text.replace("$", "") if literal[0] == "$" else text))
)
comments = texts.flatmap(
    lambda text: st.sampled_from(
        ["", " ", f"--{text.replace(chr(10), '')}\n", f"/*{text.replace('*', '').replace('/', '')}*/"]
    )
)
columns = st.lists(st.tuples(comments, literals | names, comments), min_size=1, max_size=8)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(columns=columns)
async def test_it_reads_sql_as_postgresql_does(
    database: Connection, columns: list[tuple[str, str | tuple[str, str], str]]
) -> None:
    """Among any literals and comments, each literal keeps its text and each parameter gets its value."""
    sql, expected = [], []
    for before, column, after in columns:
        literal, value = (f":{column}", f"the value of {column}") if isinstance(column, str) else column
        sql.append(f"{before}{literal}::text{after}")
        expected.append(value)
    statement = Statement(f"SELECT {','.join(sql)}")

    parameters: dict[str, Any] = {name: f"the value of {name}" for name in statement.parameters}
    row = await statement.fetchrow(database, **parameters)

    assert list(row or ()) == expected
    assert set(statement.parameters) == {column for _, column, _ in columns if isinstance(column, str)}
