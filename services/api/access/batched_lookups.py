"""Lookups: what each request must ask before anything else, asked for many of them in one statement.

A request joins the next statement, never one that was sent before it came: what it is told was so at a moment
after that, as if it had asked alone. How many requests wait at once decides how many share a statement, and
nobody waits for others to come.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import Context
from typing import Final, Generic, TypeVar

from services.api.http.errors import being_stopped

Question = TypeVar("Question")
Found = TypeVar("Found")

STATEMENTS_AT_ONCE: Final = 2
"""So that one that takes long delays nobody who comes after it."""
QUESTIONS_PER_STATEMENT: Final = 100


class Lookups(Generic[Question, Found]):
    """Questions that wait, and the statements that are under way."""

    def __init__(self, ask: Callable[[Sequence[Question]], Awaitable[Mapping[Question, Found]]]) -> None:
        """`ask` finds what there is for each of some distinct questions, in one statement."""
        self._ask = ask
        self._waiting: dict[Question, list[asyncio.Future[Found | None]]] = {}
        self._statements = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def get(self, question: Question) -> Found | None:
        """What there is, at a moment after the call; None: nothing. Raises what `ask` raises, and the 503
        `ApiError` when the process is being stopped."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[Found | None] = loop.create_future()
        self._waiting.setdefault(question, []).append(found)
        if self._statements < STATEMENTS_AT_ONCE:
            self._statements += 1
            # In a context of its own: what is logged then is about no single request.
            task = loop.create_task(self._ask_all(), context=Context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            return await found
        except asyncio.CancelledError as error:
            raise being_stopped() from error

    async def _ask_all(self) -> None:
        """Asks until nobody waits."""
        try:
            while self._waiting:
                taken = list(self._waiting)[:QUESTIONS_PER_STATEMENT]
                await self._ask_for({question: self._waiting.pop(question) for question in taken})
        finally:
            self._statements -= 1

    async def _ask_for(self, waiting: Mapping[Question, Sequence[asyncio.Future[Found | None]]]) -> None:
        found: Mapping[Question, Found] = {}
        fault: Exception | None = None
        try:
            found = await self._ask(list(waiting))
        except Exception as error:
            fault = error
        for question, futures in waiting.items():
            for future in futures:
                if future.done():  # its request was given up
                    continue
                if fault is None:
                    future.set_result(found.get(question))
                else:
                    future.set_exception(fault)
