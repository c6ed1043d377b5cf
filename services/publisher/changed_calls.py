"""The outbox of changed calls, and the present state of calls."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from shared.calls.shown_call import SHOWN_FIELDS, shown_call
from shared.database.connection import Connection

CallKey = tuple[UUID, UUID]
"""Organization and call."""

ROWS_MAX: Final = 200
"""Rows of the outbox that are read at once."""
KEYS_MAX: Final = 10_000
"""Calls of these rows; the first row is read with any number of them."""
CALLS_MAX: Final = 1_000
TRANSCRIPTS_BYTES_MAX: Final = 8 * 1024 * 1024
"""Bytes of transcripts that are read at once; a single one may be longer."""
WAITING_MAX: Final = 1_000_000


class Changed(NamedTuple):
    """The oldest rows of the outbox."""

    row_ids: Sequence[int]
    calls: Sequence[CallKey]
    """Each changed call once."""


class State(NamedTuple):
    """The present state of a call. `call` and `revision` are None if there is no such call."""

    key: CallKey
    call: Mapping[str, object] | None
    revision: int | None


async def changed_calls(connection: Connection) -> Changed:
    """The oldest rows of the outbox. Raises asyncpg's errors."""
    rows = await connection.fetch(_CHANGED, ROWS_MAX, KEYS_MAX)
    keys = dict.fromkeys(key for _, owners, ids in rows for key in zip(owners, ids, strict=True))
    return Changed([row_id for row_id, *_ in rows], list(keys))


async def forget(connection: Connection, changed: Changed) -> None:
    """Removes published rows from the outbox. Raises asyncpg's errors."""
    await connection.execute(_FORGET, changed.row_ids)


async def calls_after(connection: Connection, place: CallKey) -> Sequence[CallKey]:
    """The keys of up to `CALLS_MAX` stored calls that follow `place` in the order of keys. Raises asyncpg's
    errors."""
    return [tuple(row) for row in await connection.fetch(_AFTER, *place, CALLS_MAX)]


async def states(connection: Connection, calls: Sequence[CallKey]) -> Sequence[State]:
    """The states of the first of these calls, in one snapshot: as many as fit into memory, and at least one.
    Raises asyncpg's errors."""
    some = calls[:CALLS_MAX]
    rows = await connection.fetch(_STATES, *zip(*some, strict=True), TRANSCRIPTS_BYTES_MAX)
    return [_state(row) for row in rows]


async def waiting(connection: Connection) -> tuple[int, float]:
    """The number of rows in the outbox (counted up to `WAITING_MAX`), and the age of the oldest in seconds; 0
    without any. Raises asyncpg's errors."""
    rows, oldest_seconds = await connection.fetchrow(_WAITING, WAITING_MAX) or (0, 0.0)
    return rows, oldest_seconds


def _state(row: Any) -> State:
    key = row["organization_id"], row["id"]
    if row["revision"] is None:
        return State(key, None, None)
    return State(key, shown_call(row), row["revision"])


_CHANGED: Final = """
SELECT id, organization_ids, call_ids
FROM (
    SELECT *, sum(cardinality(call_ids)) OVER (ORDER BY id) - cardinality(call_ids) AS calls_before
    FROM (SELECT id, organization_ids, call_ids FROM call_changes ORDER BY id LIMIT $1) AS oldest
) AS counted
WHERE calls_before < $2
ORDER BY id
"""

_FORGET: Final = "DELETE FROM call_changes WHERE id = ANY($1::bigint[])"

_AFTER: Final = """
SELECT organization_id, id FROM calls WHERE (organization_id, id) > ($1::uuid, $2::uuid)
ORDER BY organization_id, id LIMIT $3
"""

_FIELDS: Final = ", ".join(SHOWN_FIELDS)

# PostgreSQL knows the sizes of transcripts without reading them.
_STATES: Final = f"""
SELECT {_FIELDS}, revision
FROM (
    SELECT *, sum(bytes) OVER (ORDER BY n) - bytes AS bytes_before
    FROM (
        SELECT n, {_FIELDS}, revision, coalesce(octet_length(transcript), 0) AS bytes
        FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS key(organization_id, id, n)
        LEFT JOIN calls USING (organization_id, id)
    ) AS asked
) AS measured
WHERE n = 1 OR bytes_before < $3
ORDER BY n
"""

_WAITING: Final = """
SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(written_at)), 0)::float8
FROM (SELECT written_at FROM call_changes LIMIT $1) AS waiting
"""
