"""Deleting a call: for good, and from every count at once."""

from typing import Final
from uuid import UUID

from shared.calls.named_call import SEVERAL_CALLS
from shared.counts.counted_sql import COUNTED, TAKE_AWAY
from shared.database.connection import AnyConnection
from shared.store.audit import write_audit
from shared.store.deltas_channel import notify_deltas
from shared.store.quarantine import hold_call_alone


async def delete(
    connection: AnyConnection, organization_id: UUID, call_id: UUID, *, livemode: bool, actor: str
) -> bool:
    """Deletes one call of this mode and all that was derived from it, in one transaction; false where there
    is none. `actor` is who did it, for the audit log. The quarantined records of the call go with it, and
    those that name several calls of its organization: one of them may be this one.

    The call's row is locked first: an ingest that is just storing events of it either has committed them,
    so that they go too, or finds the call gone and starts again, at the tombstone.
    Whoever is just writing a quarantined record of the call either has committed it, so that it goes too, or
    finds the tombstone.
    Raises asyncpg's errors; of a deadlock or a serialization failure the transaction is to be tried again.
    """
    async with connection.transaction(isolation="read_committed"):
        await hold_call_alone(connection, organization_id, call_id)
        if await connection.fetchrow(_LOCK, organization_id, livemode, call_id) is None:
            return False
        await connection.execute(_DELETE_EVENTS, organization_id, call_id)
        await connection.execute(_DELETE_CALL, organization_id, call_id)
        await connection.execute(_DELETE_QUARANTINED, organization_id, [call_id, SEVERAL_CALLS])
        await write_audit(
            connection,
            organization_id=organization_id,
            actor=actor,
            action="call deleted",
            subject=str(call_id),
        )
        await notify_deltas(connection)
    return True


_LOCK: Final = "SELECT FROM calls WHERE organization_id = $1 AND livemode = $2 AND id = $3 FOR UPDATE"

_DELETE_EVENTS: Final = "DELETE FROM call_events WHERE organization_id = $1 AND call_id = $2"

_DELETE_QUARANTINED: Final = """
DELETE FROM quarantined_records WHERE organization_id = $1 AND call_id = ANY($2::uuid[])
"""

# What the call counted for is taken away from the cell that it is in: that of its `day` and `hour` as they
# stand, whatever the organization's time zone has become since.
_DELETE_CALL: Final = f"""
WITH gone AS (
    DELETE FROM calls WHERE organization_id = $1 AND id = $2 RETURNING *
), tombstone AS (
    INSERT INTO deleted_calls (organization_id, call_id)
    SELECT organization_id, id FROM gone
    ON CONFLICT DO NOTHING
)
{TAKE_AWAY} FROM (SELECT {COUNTED} FROM gone) AS counted
"""
