"""The channel on which PostgreSQL notifies the aggregators of new deltas."""

from typing import Final

from shared.database.connection import AnyConnection

DELTAS_CHANNEL: Final = "callfold_deltas"


async def notify_deltas(connection: AnyConnection) -> None:
    """Notifies the aggregators when the caller's transaction commits. Raises asyncpg's errors."""
    await connection.execute(f"NOTIFY {DELTAS_CHANNEL}")
