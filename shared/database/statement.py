"""SQL with named parameters. PostgreSQL takes parameters by number."""

import re
from collections.abc import Mapping
from typing import Any, Final

from asyncpg import Record
from asyncpg.cursor import Cursor

from shared.database.connection import AnyConnection

# The last two alternatives stand for values. Each alternative begins with a character of its own, by which
# `re` finds it fast.
_TOKEN: Final = re.compile(
    r"""
      '(?<=[eE]')(?<![\w$][eE]')(?:[^'\\]|''|\\.)*'     # a literal with escapes
    | '(?:[^']|'')*'                                   # a literal
    | "(?:[^"]|"")*"                                   # a quoted identifier
    | --[^\n]*
    | /\*(?P<comment>.*?)\*/
    | \$(?<![\w$]\$)(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$
    | ::                                               # a cast
    | \$(?<![\w$]\$)(?P<number>[0-9]+)
    | :(?<![\w$]:)(?P<name>[^\W\d]\w*)                 # not the slice a[1:n]
    """,
    re.VERBOSE | re.DOTALL,
)


class Statement:
    """A statement whose SQL names its parameters, such as `:call_id`: compiled once, sent often."""

    def __init__(self, sql: str) -> None:
        """Raises ValueError for numbered parameters, and for comments within comments."""
        numbers: dict[str, str] = {}

        def numbered(token: re.Match[str]) -> str:
            if token["number"]:
                raise ValueError(f"{token[0]} is not allowed in a statement with named parameters")
            if token["comment"] and "/*" in token["comment"]:
                raise ValueError("a comment begins within a comment")
            name = token["name"]
            return numbers.setdefault(name, f"${len(numbers) + 1}") if name else token[0]

        self.sql = sql
        self.numbered = _TOKEN.sub(numbered, sql)
        """The SQL sent to PostgreSQL, with `$1` for the first of `parameters`."""
        self.parameters = tuple(numbers)

    def values(self, parameters: Mapping[str, object]) -> list[object]:
        """The values of the parameters by number. Raises TypeError for missing and for unknown names."""
        try:
            values = list(map(parameters.__getitem__, self.parameters))
        except KeyError:
            raise self._mismatch(parameters) from None
        if len(values) != len(parameters):
            raise self._mismatch(parameters)
        return values

    def _mismatch(self, parameters: Mapping[str, object]) -> TypeError:
        missing = [f"lacks {name}" for name in self.parameters if name not in parameters]
        unknown = [f"has no parameter {name}" for name in parameters if name not in self.parameters]
        return TypeError(f"the statement {', '.join(missing + unknown)}: {self.sql.strip()[:60]}")

    async def fetch(
        self, connection: AnyConnection, /, *, timeout_seconds: float | None = None, **parameters: object
    ) -> list[Record]:
        """All rows. Like the other methods, it raises the exceptions of `values` and asyncpg's errors."""
        return await connection.fetch(self.numbered, *self.values(parameters), timeout=timeout_seconds)

    async def fetchrow(
        self, connection: AnyConnection, /, *, timeout_seconds: float | None = None, **parameters: object
    ) -> Record | None:
        """The first row, or None."""
        return await connection.fetchrow(self.numbered, *self.values(parameters), timeout=timeout_seconds)

    async def fetchval(
        self, connection: AnyConnection, /, *, timeout_seconds: float | None = None, **parameters: object
    ) -> Any:
        """The first value of the first row, or None."""
        return await connection.fetchval(self.numbered, *self.values(parameters), timeout=timeout_seconds)

    async def cursor(
        self, connection: AnyConnection, /, *, timeout_seconds: float | None = None, **parameters: object
    ) -> "Cursor[Record]":
        """A cursor before the first row, for the rest of the transaction. Its statement is not cached."""
        prepared = await connection.prepare(self.numbered, name="", timeout=timeout_seconds)
        return await prepared.cursor(*self.values(parameters), timeout=timeout_seconds)
