"""Batched lookups: one statement answers the first question of many requests.

A request joins the next statement, never one that was sent before the request arrived. Its answer is
therefore from a moment after its arrival, as if it had its own statement. The batch is as large as the number
of waiting requests, and no request waits for others to arrive.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import Context
from typing import Final, Generic, TypeVar

from services.api.http.errors import being_stopped

Question = TypeVar("Question")
Found = TypeVar("Found")

STATEMENTS_AT_ONCE: Final = 2
"""Two, so that one slow statement does not delay later requests."""
QUESTIONS_PER_STATEMENT: Final = 100


class Lookups(Generic[Question, Found]):
    """The waiting questions, and the number of running statements."""

    def __init__(self, ask: Callable[[Sequence[Question]], Awaitable[Mapping[Question, Found]]]) -> None:
        """`ask` finds the rows for several distinct questions, in one statement."""
        self._ask = ask
        self._waiting: dict[Question, list[asyncio.Future[Found | None]]] = {}
        self._statements = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def get(self, question: Question) -> Found | None:
        """The row at a moment after the call; None if there is no row. Raises what `ask` raises, and the 503
        `ApiError` when the process is stopping."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[Found | None] = loop.create_future()
        self._waiting.setdefault(question, []).append(found)
        if self._statements < STATEMENTS_AT_ONCE:
            self._statements += 1
            # A separate context: its log lines do not belong to a single request.
            task = loop.create_task(self._ask_all(), context=Context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            return await found
        except asyncio.CancelledError as error:
            raise being_stopped() from error

    async def _ask_all(self) -> None:
        """Runs statements until no question waits."""
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
                if future.done():  # its request was cancelled
                    continue
                if fault is None:
                    future.set_result(found.get(question))
                else:
                    future.set_exception(fault)
