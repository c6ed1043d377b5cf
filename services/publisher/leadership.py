"""The leader: the process that publishes, as the holder of a lease in the table `publisher`.

The lease spares the others the work. It does not protect the topic: a process that was suspended may believe
that it still leads. The producer's transactional id does that (`topic_writer`).
"""

from datetime import timedelta
from typing import Final, NamedTuple
from uuid import UUID

from services.publisher.changed_calls import CallKey
from shared.database.connection import Connection


class Lease(NamedTuple):
    """The leader's state. While all calls are being published, `all_after` is the last published one;
    otherwise None. `outbox_is_complete` tells whether the outbox has every later change."""

    all_after: CallKey | None
    outbox_is_complete: bool


async def start_outbox(connection: Connection, *, publishes_all: bool = True) -> None:
    """Makes every later transaction write the outbox, unless a publisher has done so before. All calls will
    be published once, unless another server does it. Raises asyncpg's errors."""
    await connection.execute(_START, UUID(int=0) if publishes_all else None)
    await connection.execute(_STARTED)


async def lease(connection: Connection, process: UUID, seconds: float) -> Lease | None:
    """Takes the lease, or extends it. Returns None while another process holds it, or if publishing was
    ended. Raises asyncpg's errors."""
    row = await connection.fetchrow(_LEASE, process, timedelta(seconds=seconds))
    if row is None:
        return None
    organization_id, call_id, is_complete = row
    return Lease(None if organization_id is None else (organization_id, call_id), is_complete)


async def release(connection: Connection, process: UUID) -> None:
    """Ends the lease, so that another process can lead at once. Raises asyncpg's errors."""
    await connection.execute(_RELEASE, process)


async def note_place(connection: Connection, process: UUID, before: CallKey, after: CallKey | None) -> bool:
    """Stores the last published call while all calls are being published; None after the last one. Returns
    false if the process does not lead, or an operator has begun again. Raises asyncpg's errors."""
    place = after or (None, None)
    return await connection.fetchval(_NOTE_PLACE, process, *before, *place) is not None


_START: Final = """
INSERT INTO publisher (all_after_organization, all_after_call) VALUES ($1::uuid, $1::uuid)
ON CONFLICT DO NOTHING
"""

# A transaction that wrote before it could see the row has no outbox. All of them have older numbers.
_STARTED: Final = """
UPDATE publisher SET complete_from = pg_snapshot_xmax(pg_current_snapshot())::text::bigint
WHERE complete_from IS NULL
"""

_LEASE: Final = """
UPDATE publisher SET leader = $1, leads_until = clock_timestamp() + $2
WHERE leader = $1 OR leader IS NULL OR leads_until < clock_timestamp()
RETURNING all_after_organization, all_after_call,
    coalesce(complete_from <= pg_snapshot_xmin(pg_current_snapshot())::text::bigint, false)
"""

_RELEASE: Final = "UPDATE publisher SET leader = NULL, leads_until = NULL WHERE leader = $1"

_NOTE_PLACE: Final = """
UPDATE publisher SET all_after_organization = $4, all_after_call = $5
WHERE leader = $1 AND all_after_organization = $2 AND all_after_call = $3
RETURNING true
"""
