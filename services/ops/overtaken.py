"""Trying again what another owner of the same calls was faster with."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from shared.database import Backoff
from shared.store import Overtaken

TRIES: Final = 20
_T = TypeVar("_T")


async def until_not_overtaken(attempt: Callable[[], Awaitable[_T]]) -> _T:
    """What the first attempt that is not overtaken answers. Raises the last `Overtaken` after many."""
    backoff = Backoff(longest_seconds=1)
    for _ in range(TRIES):
        try:
            return await attempt()
        except Overtaken as overtaken:
            last = overtaken
        await backoff.wait(asyncio.Event())
    raise last
