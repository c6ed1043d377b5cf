"""The outbox on each server of a distributed database.

A trigger on a shard of `calls` uses the tables `publisher` and `call_changes` of its own server, which Citus
does not know. A server without them refuses each write of a call.
"""

from collections.abc import Sequence
from typing import Final

from shared.database.connection import Connection
from shared.migrations.places import OF_EACH_SERVER


async def statements_of_outbox(connection: Connection) -> Sequence[str]:
    """The statements that make the tables of the outbox as they are on the connected server. Raises asyncpg's
    errors."""
    return [row[0] for row in await connection.fetch(_STATEMENTS, OF_EACH_SERVER)]


async def complete_outbox(connection: Connection, wanted: Sequence[str], publishes: bool) -> None:
    """Makes what the connected server lacks. If changes are published, it records them from now on. Raises
    asyncpg's errors."""
    async with connection.transaction(isolation="read_committed"):
        there = set(await statements_of_outbox(connection))
        for statement in wanted:
            if statement not in there:
                await connection.execute(statement)
        if publishes:
            await connection.execute(_RECORD)


async def shards_without_triggers(connection: Connection) -> Sequence[str]:
    """The shards of the connected server that lack a trigger of their table. Raises asyncpg's errors."""
    return [row[0] for row in await connection.fetch(_WITHOUT_TRIGGERS)]


# Later steps change these tables on one server only. Its catalog describes what the others get.
_STATEMENTS: Final = """
WITH kept AS (
    SELECT n, to_regclass('public.' || name) AS oid
    FROM unnest($1::text[]) WITH ORDINALITY AS asked(name, n)
), shape AS (
    SELECT kept.n, kept.oid, attribute.*, format_type(atttypid, atttypmod) AS type,
        pg_get_expr(adbin, adrelid) AS default_value, typstorage
    FROM kept JOIN pg_attribute AS attribute ON attrelid = oid AND attnum > 0 AND NOT attisdropped
        JOIN pg_type ON pg_type.oid = atttypid
        LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
), statements AS (
    SELECT n, 0 AS part, 0 AS place, format('CREATE TABLE IF NOT EXISTS %s ()', oid::regclass) AS statement
    FROM kept WHERE oid IS NOT NULL
    UNION ALL
    SELECT n, 1, attnum, format('ALTER TABLE %s ADD COLUMN IF NOT EXISTS %I %s', oid::regclass, attname, type)
    FROM shape
    UNION ALL
    SELECT n, 2, attnum, format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL', oid::regclass, attname)
    FROM shape WHERE attnotnull
    UNION ALL
    SELECT n, 3, attnum, format('ALTER TABLE %s ALTER COLUMN %I ADD GENERATED %s AS IDENTITY',
        oid::regclass, attname, CASE attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END)
    FROM shape WHERE attidentity <> ''
    UNION ALL
    SELECT n, 4, attnum,
        format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT %s', oid::regclass, attname, default_value)
    FROM shape WHERE default_value IS NOT NULL
    UNION ALL
    SELECT n, 5, attnum, format('ALTER TABLE %s ALTER COLUMN %I SET STORAGE %s', oid::regclass, attname,
        CASE attstorage
            WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' WHEN 'x' THEN 'EXTENDED' ELSE 'PLAIN'
        END)
    FROM shape WHERE attstorage <> typstorage
    UNION ALL
    SELECT n, 6, 0, format('ALTER TABLE %s SET (%s)', kept.oid::regclass, array_to_string(reloptions, ', '))
    FROM kept JOIN pg_class ON pg_class.oid = kept.oid WHERE reloptions IS NOT NULL
    UNION ALL
    SELECT n, 7, 0, format('ALTER TABLE %s ADD CONSTRAINT %I %s', kept.oid::regclass, conname,
        pg_get_constraintdef(pg_constraint.oid))
    FROM kept JOIN pg_constraint ON conrelid = kept.oid AND contype IN ('p', 'u', 'c')
    UNION ALL
    SELECT n, 8, 0, pg_get_indexdef(indexrelid)
    FROM kept JOIN pg_index ON indrelid = kept.oid
    WHERE NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = indexrelid)
)
SELECT statement FROM statements ORDER BY n, part, place, statement
"""

# The publisher of the coordinator publishes all calls.
_RECORD: Final = "INSERT INTO publisher DEFAULT VALUES ON CONFLICT DO NOTHING"

_WITHOUT_TRIGGERS: Final = """
SELECT shard_name(logicalrelid, shardid)
FROM pg_dist_shard JOIN pg_dist_placement USING (shardid) JOIN pg_dist_local_group USING (groupid)
WHERE (SELECT count(*) FROM pg_trigger WHERE tgrelid = logicalrelid AND NOT tgisinternal)
    > (SELECT count(*) FROM pg_trigger
       WHERE tgrelid = to_regclass(shard_name(logicalrelid, shardid)) AND NOT tgisinternal
           AND tgenabled = 'O')
ORDER BY 1
"""
