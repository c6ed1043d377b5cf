"""Pauses between tries that grow, up to a limit."""

import asyncio
import random


class Backoff:
    """Growing waits between tries, each with jitter, so that replicas don't come in step."""

    def __init__(self, *, first_seconds: float = 0.05, longest_seconds: float = 5) -> None:
        self._first = self._next = first_seconds
        self._longest = longest_seconds

    def reset(self) -> None:
        """After a success: the next fault begins with the first wait again."""
        self._next = self._first

    async def wait(self, stop: asyncio.Event) -> None:
        """Waits once; returns at once when `stop` is set."""
        seconds = self._next * random.uniform(0.5, 1)  # noqa: S311
        self._next = min(self._next * 2, self._longest)
        try:
            await asyncio.wait_for(stop.wait(), seconds)
        except TimeoutError:
            return
