"""Refold: repairs calls from their stored events, in chunks, during live traffic."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

from services.ops.repair.retry_overtaken import until_not_overtaken
from shared.calls.event import InvalidEvent
from shared.calls.fold import LAWS
from shared.counts.cell import CALL_COLUMNS, call_row
from shared.database.connection import Connection
from shared.in_halves import in_halves
from shared.store.batch import TooLarge, read_known, write
from shared.store.changes import CallKey, Organization, TouchedCall, change_of, changes

CHUNK_CALLS: Final = 500


@dataclass(frozen=True)
class Refolded:
    """The result of a refold. `repaired` counts the calls whose row was rewritten, because it differed or
    because an older version had folded it; `by_older_laws` counts the latter. Calls with an event that can't
    be read (`unreadable`) and calls `without_events` stay unchanged."""

    calls: int = 0
    repaired: int = 0
    by_older_laws: int = 0
    unreadable: int = 0
    without_events: int = 0

    def __add__(self, other: "Refolded") -> "Refolded":
        return Refolded(
            self.calls + other.calls,
            self.repaired + other.repaired,
            self.by_older_laws + other.by_older_laws,
            self.unreadable + other.unreadable,
            self.without_events + other.without_events,
        )


async def refold_calls(connection: Connection, keys: Sequence[CallKey], *, dry_run: bool = False) -> Refolded:
    """Folds these calls again. Calls that differ are written with their deltas, in one transaction. Raises
    asyncpg's errors, and Failure after too many conflicts with other writers."""

    async def attempt(some: Sequence[CallKey]) -> Refolded:
        return await until_not_overtaken(lambda: _refold_once(connection, some, dry_run))

    return sum(await in_halves(keys, attempt, TooLarge), Refolded())


async def _refold_once(connection: Connection, keys: Sequence[CallKey], dry_run: bool) -> Refolded:
    # One snapshot, so that a row and its events are of the same time, even if ingest changes them meanwhile.
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        organizations, calls = await read_known(connection, dict.fromkeys(keys, ()))
        rows = await connection.fetch(_ROWS, [owner for owner, _ in keys], [call_id for _, call_id in keys])
    stored: dict[CallKey, tuple[Any, ...]] = {(row[0], row[1]): tuple(row) for row in rows}
    off: list[TouchedCall] = []
    done = Refolded(calls=len(keys))
    for call in calls:
        row = stored.get(call.key)
        if call.known.deleted:
            continue
        if not call.known.events:
            done = replace(done, without_events=done.without_events + (row is not None))
            continue
        try:
            if _folded(call, organizations) != row:
                off.append(call)
                if row is not None and row[-1] < LAWS:
                    done = replace(done, by_older_laws=done.by_older_laws + 1)
        except InvalidEvent:
            done = replace(done, unreadable=done.unreadable + 1)
    if off and not dry_run:
        await write(connection, changes(off, organizations), [])
    return replace(done, repaired=len(off))


def _folded(call: TouchedCall, organizations: Mapping[UUID, Organization]) -> tuple[object, ...] | None:
    """The row that results from a call's events. Raises InvalidEvent."""
    owner = organizations.get(call.key[0])
    change = change_of(call, None if owner is None else owner.zone)
    return None if change.call is None or change.when is None else call_row(change.call, change.when)


async def keys_of_calls(
    connection: Connection, organization_id: UUID | None, after: CallKey | None
) -> AsyncIterator[Sequence[CallKey]]:
    """The calls with a row whose keys are greater than `after`, then all calls that only have events. Both
    come in the order of their keys."""
    first = organization_id or _FIRST, _FIRST
    for statement, begin in ((_CALLS, after or first), (_CALLS_WITHOUT_ROW, first)):
        last = begin
        while rows := await connection.fetch(statement, organization_id, *last, CHUNK_CALLS):
            last = rows[-1][0], rows[-1][1]
            yield [(owner, call_id) for owner, call_id in rows]


_FIRST: Final = UUID(int=0)

EXPECTED_CALLS: Final = """
SELECT CASE WHEN $1::uuid IS NULL
    THEN (SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'calls'::regclass)
    ELSE (SELECT count(*) FROM calls WHERE organization_id = $1) END
"""

_CALLS: Final = """
SELECT organization_id, id FROM calls
WHERE ($1::uuid IS NULL OR organization_id = $1) AND (organization_id, id) > ($2::uuid, $3::uuid)
ORDER BY organization_id, id LIMIT $4
"""

_CALLS_WITHOUT_ROW: Final = """
SELECT organization_id, call_id FROM call_events
WHERE ($1::uuid IS NULL OR organization_id = $1) AND (organization_id, call_id) > ($2::uuid, $3::uuid)
    AND NOT EXISTS (SELECT 1 FROM calls
                    WHERE calls.organization_id = call_events.organization_id
                        AND calls.id = call_events.call_id)
GROUP BY organization_id, call_id ORDER BY organization_id, call_id LIMIT $4
"""

_ROWS: Final = f"""
SELECT {", ".join(f"calls.{name}" for name in CALL_COLUMNS)}
FROM unnest($1::uuid[], $2::uuid[]) AS key(organization_id, call_id)
JOIN calls ON calls.organization_id = key.organization_id AND calls.id = key.call_id
"""
