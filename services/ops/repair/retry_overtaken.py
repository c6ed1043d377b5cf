"""Retries of transactions that conflict with another writer of the same calls."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import asyncpg

from services.ops.terminal.failure import Failure
from shared.backoff import Backoff
from shared.database.faults import is_of_node_in_copy
from shared.store.batch import Overtaken

TRIES: Final = 20
_T = TypeVar("_T")


async def until_not_overtaken(
    attempt: Callable[[], Awaitable[_T]], *, longest_pause_seconds: float = 1
) -> _T:
    """The result of the first attempt without a conflict: not overtaken, no deadlock, no lock timeout. Raises
    Failure after `TRIES` attempts."""
    backoff = Backoff(longest_seconds=longest_pause_seconds)
    for _ in range(TRIES):
        try:
            return await attempt()
        except (Overtaken, asyncpg.TransactionRollbackError, asyncpg.LockNotAvailableError) as faster:
            reason = str(faster).partition("\n")[0]
        except asyncpg.InternalServerError as fault:
            if not is_of_node_in_copy(fault):
                raise
            reason = str(fault).partition("\n")[0]
        await backoff.wait(asyncio.Event())
    raise Failure(
        f"Other processes changed the same calls first, {TRIES} times in a row ({reason}). "
        "Earlier changes stay. Run the command again at a quieter time."
    )
