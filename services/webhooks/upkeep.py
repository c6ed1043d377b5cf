"""Upkeep: removes old messages, and disables endpoints for which too many deliveries wait."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from services.webhooks.outcomes import Disabled, note_disabled
from shared.database.connection import Connection

REMOVED_MAX: Final = 1_000
"""Messages that one statement removes."""


async def remove_old_messages(connection: Connection, retention: timedelta) -> bool:
    """Removes up to `REMOVED_MAX` messages that are older, with their deliveries. Returns whether there may
    be more. Raises asyncpg's errors."""
    removed = await connection.fetch(_REMOVE_OLD, retention, REMOVED_MAX)
    return len(removed) == REMOVED_MAX


async def disable_overdue(connection: Connection, deliveries_max: int) -> Sequence[Disabled]:
    """Disables endpoints for which more deliveries wait, and returns them. Raises asyncpg's errors."""
    reason = f"More than {deliveries_max:,} deliveries wait for it."
    async with connection.transaction():
        rows = await connection.fetch(_DISABLE_OVERDUE, deliveries_max, reason)
        return [
            await note_disabled(connection, Disabled((row["organization_id"], row["id"]), reason))
            for row in rows
        ]


_REMOVE_OLD: Final = """
DELETE FROM webhook_messages WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM webhook_messages WHERE created_at < now() - $1::interval
    ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED
))
RETURNING true
"""

_DISABLE_OVERDUE: Final = """
UPDATE webhooks SET enabled = false, disabled_reason = $2
WHERE enabled AND (
    SELECT count(*) FROM (
        SELECT FROM webhook_deliveries AS delivery
        WHERE delivery.organization_id = webhooks.organization_id AND webhook_id = webhooks.id
            AND due_at IS NOT NULL
        LIMIT $1::bigint + 1
    ) AS waiting
) > $1::bigint
RETURNING organization_id, id
"""
