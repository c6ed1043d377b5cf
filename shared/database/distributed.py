"""Databases whose tables Citus distributes over several servers by organization."""

from typing import Final

from shared.database.connection import AnyConnection


async def is_distributed(connection: AnyConnection) -> bool:
    """Whether Citus distributes the table `calls` of this database. Raises asyncpg's errors."""
    if not await connection.fetchval(_HAS_CITUS):
        return False
    found: bool = await connection.fetchval(_HAS_CALLS)
    return found


_HAS_CITUS: Final = "SELECT to_regclass('pg_dist_partition') IS NOT NULL"

_HAS_CALLS: Final = (
    "SELECT EXISTS (SELECT 1 FROM pg_dist_partition WHERE logicalrelid = to_regclass('calls'))"
)
