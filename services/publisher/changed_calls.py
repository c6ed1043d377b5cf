"""The outbox of changed calls, and the present state of calls."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import repeat
from typing import Any, Final, NamedTuple
from uuid import UUID

from shared.calls.shown_call import SHOWN_FIELDS, shown_call
from shared.database.connection import Connection
from shared.webhooks.call_change import CallBefore, call_before

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


class Overtaken(Exception):
    """Another publisher has removed some of these rows. The caller's transaction must not commit: it would
    remove the others without their messages."""


class Change(NamedTuple):
    """All changes of one call in these rows."""

    before: CallBefore | None
    """The call before the first of them; None: it is new."""
    last: CallBefore | None
    """The call before the last of them; None: that one made it."""
    changed_at: datetime
    """When the last of them began."""


class Changed(NamedTuple):
    """The oldest rows of the outbox."""

    row_ids: Sequence[int]
    calls: Mapping[CallKey, Change]


class State(NamedTuple):
    """The present state of a call. `call` and `revision` are None if there is no such call; then `livemode`
    is its mode before, if that is known."""

    key: CallKey
    call: Mapping[str, object] | None
    revision: int | None
    livemode: bool | None


async def changed_calls(connection: Connection) -> Changed:
    """The oldest rows of the outbox. Raises asyncpg's errors."""
    rows = await connection.fetch(_CHANGED, ROWS_MAX, KEYS_MAX)
    calls: dict[CallKey, Change] = {}
    for row in rows:
        keys = zip(row["organization_ids"], row["call_ids"], strict=True)
        for key, before in zip(keys, _before(row), strict=True):
            first = calls[key].before if key in calls else before
            calls[key] = Change(first, before, row["written_at"])
    return Changed([row["id"] for row in rows], calls)


def _before(row: Any) -> Iterator[CallBefore | None]:
    if row["marks_before"] is None:
        return repeat(None, len(row["call_ids"]))
    return map(call_before, row["revisions_before"], row["marks_before"])


async def forget(connection: Connection, changed: Changed) -> None:
    """Removes published rows from the outbox, within the caller's transaction. Raises Overtaken and asyncpg's
    errors."""
    await _all_rows(connection, _FORGET, changed)


async def hold(connection: Connection, changed: Changed) -> None:
    """Keeps rows in the outbox until the caller's transaction ends. Raises Overtaken and asyncpg's errors."""
    await _all_rows(connection, _HOLD, changed)


async def _all_rows(connection: Connection, statement: str, changed: Changed) -> None:
    if len(await connection.fetch(statement, changed.row_ids)) < len(changed.row_ids):
        raise Overtaken


async def calls_after(connection: Connection, place: CallKey) -> Sequence[CallKey]:
    """The keys of up to `CALLS_MAX` stored calls that follow `place` in the order of keys. Raises asyncpg's
    errors."""
    return [tuple(row) for row in await connection.fetch(_AFTER, *place, CALLS_MAX)]


async def states(
    connection: Connection, calls: Sequence[CallKey], changes: Mapping[CallKey, Change]
) -> Sequence[State]:
    """The states of the first of these calls, in one snapshot: as many as fit into memory, and at least one.
    Raises asyncpg's errors."""
    some = calls[:CALLS_MAX]
    rows = await connection.fetch(_STATES, *zip(*some, strict=True), TRANSCRIPTS_BYTES_MAX)
    return [_state(row, changes) for row in rows]


async def waiting(connection: Connection) -> tuple[int, float]:
    """The number of rows in the outbox (counted up to `WAITING_MAX`), and the age of the oldest in seconds; 0
    without any. Raises asyncpg's errors."""
    rows, oldest_seconds = await connection.fetchrow(_WAITING, WAITING_MAX) or (0, 0.0)
    return rows, oldest_seconds


def _state(row: Any, changes: Mapping[CallKey, Change]) -> State:
    return gone((row["organization_id"], row["id"]), changes) if row["revision"] is None else present(row)


def present(row: Any) -> State:
    """The state of the call in a row of `calls`."""
    return State((row["organization_id"], row["id"]), shown_call(row), row["revision"], row["livemode"])


def gone(key: CallKey, changes: Mapping[CallKey, Change]) -> State:
    """The state of a call that is not stored."""
    change = changes.get(key)
    return State(key, None, None, change.last.livemode if change and change.last else None)


_CHANGED: Final = """
SELECT id, organization_ids, call_ids, revisions_before, marks_before, written_at
FROM (
    SELECT *, sum(cardinality(call_ids)) OVER (ORDER BY id) - cardinality(call_ids) AS calls_before
    FROM (SELECT * FROM call_changes ORDER BY id LIMIT $1) AS oldest
) AS counted
WHERE calls_before < $2
ORDER BY id
"""

_FORGET: Final = "DELETE FROM call_changes WHERE id = ANY($1::bigint[]) RETURNING id"

_HOLD: Final = "SELECT id FROM call_changes WHERE id = ANY($1::bigint[]) FOR UPDATE"

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
