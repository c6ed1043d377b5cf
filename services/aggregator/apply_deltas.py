"""One statement that removes a bounded number of deltas and adds them to counts and totals. In every
snapshot, a delta either waits or is contained in both."""

from typing import Final
from uuid import UUID

from shared.counts.cell import Measures
from shared.counts.counted_sql import CELL, MEASURES, SUMS, TOTAL
from shared.database.connection import Connection

_ADDED: Final = ", ".join(f"{name} = kept.{name} + excluded.{name}" for name in Measures._fields)


# SKIP LOCKED lets aggregators work concurrently; a common order of cells prevents deadlocks.
def _apply(row: str, where: str) -> str:
    return f"""
WITH taken AS (
    DELETE FROM daily_call_deltas
    WHERE {where} AND {row} = ANY (ARRAY(
        SELECT {row} FROM daily_call_deltas WHERE {where} LIMIT $1 FOR UPDATE SKIP LOCKED))
    RETURNING {CELL}, {MEASURES}
), summed AS (
    SELECT {CELL}, {SUMS} FROM taken GROUP BY {CELL}
), counts AS (
    INSERT INTO daily_call_counts AS kept ({CELL}, {MEASURES})
    SELECT {CELL}, {MEASURES} FROM summed ORDER BY {CELL}
    ON CONFLICT ({CELL}) DO UPDATE SET {_ADDED}
), totals AS (
    INSERT INTO daily_call_totals AS kept ({TOTAL}, {MEASURES})
    SELECT {TOTAL}, {SUMS} FROM summed GROUP BY {TOTAL} ORDER BY {TOTAL}
    ON CONFLICT ({TOTAL}) DO UPDATE SET {_ADDED}
)
SELECT count(*) FROM taken
"""


APPLY: Final = _apply("ctid", "true")
# By id: Citus refuses the ctid in a WITH query that it does not pass on whole.
_APPLY_OF: Final = _apply("id", "organization_id = $2")

WAITING_MAX: Final = 1_000_000

WAITING: Final = """
SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(written_at)), 0)::float8
FROM (SELECT written_at FROM daily_call_deltas LIMIT $1) AS waiting
"""


async def apply_deltas(connection: Connection, most: int, organization_id: UUID | None = None) -> int:
    """Applies up to `most` waiting deltas, of all organizations or of one. Returns their number."""
    if organization_id is None:
        applied: int = await connection.fetchval(APPLY, most)
        return applied
    of_one: int = await connection.fetchval(_APPLY_OF, most, organization_id)
    return of_one


async def waiting_deltas(connection: Connection) -> tuple[int, float]:
    """The number of waiting deltas (counted up to `WAITING_MAX`), and the age of the oldest in seconds; 0
    without any."""
    deltas, oldest_seconds = await connection.fetchrow(WAITING, WAITING_MAX) or (0, 0.0)
    return deltas, oldest_seconds
