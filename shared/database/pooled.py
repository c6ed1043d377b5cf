"""A connection through a pooler in transaction mode, such as PgBouncer's. Each transaction may run in another
session of the server, so session state does not survive a transaction."""

from collections.abc import Callable, Coroutine, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import asyncpg

if TYPE_CHECKING:
    _Connection = asyncpg.Connection[asyncpg.Record]
else:  # the stubs are generic, the class is not
    _Connection = asyncpg.Connection

_Ask = TypeVar("_Ask", bound=Callable[..., Coroutine[Any, Any, Any]])


def _in_a_transaction(ask: _Ask) -> _Ask:
    """Wraps a method so that it runs in a transaction of its own if there is none. asyncpg runs a statement
    in two steps, and both must use the same session."""

    @wraps(ask)
    async def asked(self: "PooledConnection", *arguments: object, **options: object) -> object:
        if self.is_in_transaction():
            return await ask(self, *arguments, **options)
        async with self.transaction():
            return await ask(self, *arguments, **options)

    return cast("_Ask", asked)


class PooledConnection(_Connection):
    """A connection whose transactions each begin with the settings that a session would have. A statement
    outside a transaction gets its own transaction.

    Open it without a statement cache (`statement_cache_size=0`). LISTEN, session locks and temporary tables
    cannot be used.
    """

    begin_with = ""

    def begin_each_transaction_with(self, settings: Mapping[str, str]) -> None:
        """Sets the settings of each transaction from now on."""
        self.begin_with = "".join(f" SET LOCAL {name} = '{value}';" for name, value in settings.items())

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:  # noqa: ASYNC109
        # asyncpg's transactions begin here. The settings are in the same message, so they take no extra time.
        if query.startswith("BEGIN"):
            return await super().execute(query + self.begin_with, timeout=timeout)
        return await self._execute_alone(query, *args, timeout=timeout)

    _execute_alone = _in_a_transaction(_Connection.execute)
    executemany = _in_a_transaction(_Connection.executemany)
    fetch = _in_a_transaction(_Connection.fetch)
    fetchrow = _in_a_transaction(_Connection.fetchrow)
    fetchval = _in_a_transaction(_Connection.fetchval)
