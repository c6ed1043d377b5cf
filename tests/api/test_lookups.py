"""Lookups: many requests share few statements, and no request gets an answer from before its arrival."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from services.api.access.batched_lookups import QUESTIONS_PER_STATEMENT, Lookups
from services.api.http.errors import ApiError


class Statements:
    """A database whose statements finish when the test decides; each returns how many were sent before it."""

    def __init__(self) -> None:
        self.sent: list[Sequence[str]] = []
        self._ends: list[asyncio.Future[None]] = []

    async def ask(self, questions: Sequence[str]) -> Mapping[str, int]:
        number = len(self.sent)
        self.sent.append(questions)
        self._ends.append(asyncio.get_running_loop().create_future())
        await self._ends[number]
        return {question: number for question in questions if question != "unknown"}

    def end(self, number: int) -> None:
        self._ends[number].set_result(None)

    def fail(self, number: int) -> None:
        self._ends[number].set_exception(ConnectionError("away"))


async def some_steps() -> None:
    """Runs every task that is ready."""
    for _ in range(5):
        await asyncio.sleep(0)


def asked(lookups: Lookups[str, int], *questions: str) -> list[asyncio.Task[int | None]]:
    return [asyncio.create_task(lookups.get(question)) for question in questions]


async def test_who_comes_while_a_statement_is_under_way_is_asked_for_in_the_next() -> None:
    statements = Statements()
    lookups = Lookups(statements.ask)
    first = asked(lookups, "a", "b")
    await some_steps()
    assert statements.sent == [["a", "b"]]

    second = asked(lookups, "c")
    await some_steps()
    later = asked(lookups, *["a"] * 50, *["b"] * 50)
    await some_steps()
    assert statements.sent == [["a", "b"], ["c"]]  # the third statement waits
    statements.end(0)
    await some_steps()
    assert statements.sent == [["a", "b"], ["c"], ["a", "b"]]
    statements.end(1)
    statements.end(2)

    assert [await one for one in (*first, *second)] == [0, 0, 1]
    assert {await one for one in later} == {2}


async def test_nothing_is_found_for_what_there_is_not() -> None:
    statements = Statements()
    unknown, known = asked(Lookups(statements.ask), "unknown", "a")
    await some_steps()
    for number in range(len(statements.sent)):
        statements.end(number)

    assert await unknown is None
    assert await known is not None


async def test_a_fault_is_told_to_those_who_shared_it_and_to_nobody_else() -> None:
    statements = Statements()
    lookups = Lookups(statements.ask)
    first = asked(lookups, "a")
    await some_steps()
    statements.fail(0)
    with pytest.raises(ConnectionError):
        await first[0]

    second = asked(lookups, "a")
    await some_steps()
    statements.end(1)
    assert await second[0] == 1


async def test_a_request_that_is_given_up_disturbs_no_other() -> None:
    statements = Statements()
    lookups = Lookups(statements.ask)
    given_up, stays = asked(lookups, "a", "a")
    await some_steps()
    given_up.cancel()
    await some_steps()
    for number in range(len(statements.sent)):
        statements.end(number)

    assert await stays is not None
    with pytest.raises(ApiError, match="is stopping"):
        await given_up


async def test_very_many_questions_are_asked_in_several_statements() -> None:
    statements = Statements()
    lookups = Lookups(statements.ask)
    tasks = asked(lookups, *(f"{n}" for n in range(3 * QUESTIONS_PER_STATEMENT)))
    ended = 0
    while not all(task.done() for task in tasks):
        await some_steps()
        for number in range(ended, len(statements.sent)):
            statements.end(number)
        ended = len(statements.sent)

    assert max(len(questions) for questions in statements.sent) == QUESTIONS_PER_STATEMENT
    assert None not in [await task for task in tasks]
