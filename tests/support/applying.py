"""Applies deltas as the aggregator does: in one statement, or on Citus in the shards of the server."""

from services.aggregator import apply_deltas as whole
from services.aggregator.apply_on_node import apply_on_node
from shared.database.connection import Connection
from shared.database.distributed import is_distributed


async def apply_deltas(connection: Connection, most: int) -> int:
    """Applies up to `most` waiting deltas, and returns their number."""
    if await is_distributed(connection):
        return await apply_on_node(connection, most)
    return await whole.apply_deltas(connection, most)
