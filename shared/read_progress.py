"""How far ingest has read the topic, as it notes in the table `partitions_read`."""

from datetime import datetime
from typing import Final

from shared.database import Connection


async def read_until(connection: Connection, topic: str) -> datetime | None:
    """The moment before which every record of the topic that had been published is stored; None while some
    partition has not been read. Raises asyncpg's errors."""
    until: datetime | None = await connection.fetchval(_READ_UNTIL, topic)
    return until


_READ_UNTIL: Final = """
SELECT CASE WHEN count(*) = max(partitions) THEN min(read_until) END
FROM (SELECT partition, read_until, max(partitions) OVER () AS partitions FROM partitions_read
      WHERE topic = $1) AS of_topic
WHERE partition < partitions
"""
