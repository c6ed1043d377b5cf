"""Pauses between attempts, which grow up to a limit."""

import asyncio
import random


class Backoff:
    """Growing waits between attempts, each with jitter, so that replicas do not retry in step."""

    def __init__(self, *, first_seconds: float = 0.05, longest_seconds: float = 5) -> None:
        self._first = self._next = first_seconds
        self._longest = longest_seconds

    def reset(self) -> None:
        """Resets after a success: the next fault starts with the shortest wait."""
        self._next = self._first

    async def wait(self, stop: asyncio.Event) -> None:
        """Waits once; returns at once when `stop` is set."""
        seconds = self._next * random.uniform(0.5, 1)  # noqa: S311
        self._next = min(self._next * 2, self._longest)
        try:
            await asyncio.wait_for(stop.wait(), seconds)
        except TimeoutError:
            return
