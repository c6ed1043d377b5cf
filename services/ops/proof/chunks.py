"""Rows of a statement in chunks, so that memory does not depend on their number."""

from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from shared.database.connection import Connection

CHUNK_ROWS: Final = 5_000
CHUNK_BYTES: Final = 8 * 1024 * 1024
STATEMENT_SECONDS: Final = 6 * 3600


async def chunks(
    connection: Connection,
    statement: str,
    *arguments: object,
    length_of: Callable[[Any], int] = lambda _row: 0,
) -> AsyncIterator[list[Any]]:
    """The rows of a statement, read through a server-side cursor. Longer rows come in smaller chunks."""
    # Unnamed: a named statement that stays in a pooler's session would conflict with the next proof.
    prepared = await connection.prepare(statement, name="", timeout=STATEMENT_SECONDS)
    cursor = await prepared.cursor(*arguments, timeout=STATEMENT_SECONDS)
    count = CHUNK_ROWS // 10
    while rows := await cursor.fetch(count, timeout=STATEMENT_SECONDS):
        yield rows
        length = sum(map(length_of, rows)) // len(rows) + 1
        count = max(min(CHUNK_ROWS, CHUNK_BYTES // length), 8)
