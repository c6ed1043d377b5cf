"""How far ingest has read the topic: the table `partitions_read`. Ingest writes it; the aggregator and
`callfold reap` read it to judge silence.

`read_until` of a partition is a moment of the database's clock. Every record published to the partition
before that moment is stored. It does not advance while the partition has a backlog or while no process reads
it. A record of a transaction counts as published once no open transaction precedes it.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from shared.database.connection import AnyConnection


async def write_read_until(
    connection: AnyConnection, topic: str, partitions: int, read_until: Mapping[int, datetime]
) -> None:
    """Advances partitions of the topic to these moments; none is moved back. `partitions` is the number of
    the topic's partitions after the latest of these moments. Raises asyncpg's errors."""
    numbers = sorted(read_until)
    await connection.execute(_WRITE, topic, partitions, numbers, [read_until[number] for number in numbers])


async def read_until(connection: AnyConnection, topic: str) -> datetime | None:
    """The moment of the database's clock before which every record published to the topic is stored; None
    while a partition was never read. Raises asyncpg's errors.

    The row that is ahead of all others has the current number of partitions. Rows of higher partitions are
    left over from a removed topic of the same name and are ignored.
    """
    moment: datetime | None = await connection.fetchval(_READ, topic)
    return moment


async def calls_read_until(connection: AnyConnection, topic: str, deliveries_topic: str) -> datetime | None:
    """The moment before which every record about a call is stored: of the topic of events, and of the topics
    of sources that ingest has begun to read. None while a partition of one was never read. Raises asyncpg's
    errors."""
    others = await connection.fetch(_TOPICS_OF_SOURCES, deliveries_topic)
    moments = [await read_until(connection, each) for each in (topic, *(other for (other,) in others))]
    known = [moment for moment in moments if moment is not None]
    return min(known) if len(known) == len(moments) else None


async def topics_read(connection: AnyConnection) -> list[str]:
    """The topics that ingest has read or started to read, in alphabetical order. Raises asyncpg's errors."""
    return [topic for (topic,) in await connection.fetch(_TOPICS)]


_TOPICS: Final = "SELECT DISTINCT topic FROM partitions_read ORDER BY topic LIMIT 100"

_TOPICS_OF_SOURCES: Final = """
SELECT DISTINCT topic FROM partitions_read
WHERE topic IN (SELECT topic FROM sources WHERE enabled)
    OR topic = $1 AND EXISTS (SELECT FROM sources WHERE topic IS NULL)
"""

_WRITE: Final = """
INSERT INTO partitions_read AS p (topic, partition, partitions, read_until)
SELECT $1, u.partition, $2, u.read_until FROM unnest($3::int[], $4::timestamptz[]) u (partition, read_until)
ON CONFLICT (topic, partition)
DO UPDATE SET partitions = excluded.partitions, read_until = excluded.read_until
WHERE p.read_until < excluded.read_until
"""

_READ: Final = """
SELECT CASE WHEN count(*) = max(p.partitions_now) THEN min(p.read_until) END
FROM (
    SELECT partition, read_until, first_value(partitions) OVER (ORDER BY read_until DESC) AS partitions_now
    FROM partitions_read WHERE topic = $1
) p
WHERE p.partition < p.partitions_now
"""
