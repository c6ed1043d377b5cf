"""Deleting a call permanently, and from every count at once."""

from typing import Final
from uuid import UUID

from shared.calls.named_call import SEVERAL_CALLS
from shared.counts.cell import COUNTED_COLUMNS, Cell, Measures, counted_as
from shared.counts.counted_sql import INTO_DELTAS
from shared.database.connection import AnyConnection
from shared.store.audit import write_audit
from shared.store.deltas_channel import notify_deltas
from shared.store.quarantine import hold_call_alone


async def delete(
    connection: AnyConnection, organization_id: UUID, call_id: UUID, *, livemode: bool, actor: str
) -> bool:
    """Deletes one call of this mode and everything derived from it, in one transaction. Returns false if
    there is no such call. `actor` is for the audit log. The call's quarantined records are also deleted, and
    those that name several calls of its organization, because this call may be among them.

    The call's row is locked first. A concurrent ingest of its events has either committed them, so that they
    are deleted, or finds the call gone and retries, and then finds the tombstone. A concurrent writer of a
    quarantined record of the call has either committed it, so that it is deleted, or finds the tombstone.
    Raises asyncpg's errors. After a deadlock or a serialization failure, retry the transaction.
    """
    async with connection.transaction(isolation="read_committed"):
        await hold_call_alone(connection, organization_id, call_id)
        row = await connection.fetchrow(_LOCK, organization_id, livemode, call_id)
        if row is None:
            return False
        *counted, external_id = row
        cell, measures = counted_as(*counted)
        await connection.execute(_DELETE_EVENTS, organization_id, call_id)
        await connection.execute(_FORGET_SOURCE, organization_id, [str(call_id), external_id])
        await connection.execute(_DELETE_CALL, *cell, *(-measure for measure in measures), call_id)
        await connection.execute(_DELETE_QUARANTINED, organization_id, [call_id, SEVERAL_CALLS])
        await connection.execute(DELETE_MESSAGES, organization_id, [call_id])
        await write_audit(
            connection,
            organization_id=organization_id,
            actor=actor,
            action="call deleted",
            subject=str(call_id),
        )
        await notify_deltas(connection)
    return True


_LOCK: Final = f"""
SELECT {", ".join(COUNTED_COLUMNS)}, external_id FROM calls
WHERE organization_id = $1 AND livemode = $2 AND id = $3 FOR UPDATE
"""

_DELETE_EVENTS: Final = "DELETE FROM call_events WHERE organization_id = $1 AND call_id = $2"

_FORGET_SOURCE: Final = "DELETE FROM source_calls WHERE organization_id = $1 AND call_id = ANY($2::text[])"

# The publisher does it again: it may have stored a message meanwhile.
DELETE_MESSAGES: Final = """
DELETE FROM webhook_messages WHERE organization_id = $1 AND call_id = ANY($2::uuid[])
"""

_DELETE_QUARANTINED: Final = """
DELETE FROM quarantined_records WHERE organization_id = $1 AND call_id = ANY($2::uuid[])
"""

_WIDTH: Final = len(Cell._fields) + len(Measures._fields)

# The call's measures are subtracted from the cell of its stored `day` and `hour`, even if the organization's
# time zone has changed since. They are constants, because Citus would write a delta that it reads by COPY,
# which row-level security does not allow.
_DELETE_CALL: Final = f"""
WITH gone AS (
    DELETE FROM calls WHERE organization_id = $1 AND id = ${_WIDTH + 1}
), tombstone AS (
    INSERT INTO deleted_calls (organization_id, call_id) VALUES ($1, ${_WIDTH + 1}) ON CONFLICT DO NOTHING
)
{INTO_DELTAS} VALUES ({", ".join(f"${n}" for n in range(1, _WIDTH + 1))})
"""
