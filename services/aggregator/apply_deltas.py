"""One statement: takes a bounded number of deltas and adds them to counts and totals, so that at every
snapshot a delta waits or is in both, and never in neither."""

from typing import Final
from uuid import UUID

from shared.counts.cell import Measures
from shared.counts.counted_sql import CELL, MEASURES, SUMS, TOTAL
from shared.database.connection import Connection

_ADDED: Final = ", ".join(f"{name} = kept.{name} + excluded.{name}" for name in Measures._fields)


# SKIP LOCKED lets aggregators work side by side; one order of cells keeps them from waiting in a circle.
def _apply(where: str) -> str:
    return f"""
WITH taken AS (
    DELETE FROM daily_call_deltas
    WHERE ctid = ANY (ARRAY(SELECT ctid FROM daily_call_deltas {where} LIMIT $1 FOR UPDATE SKIP LOCKED))
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


_APPLY: Final = _apply("")
_APPLY_OF: Final = _apply("WHERE organization_id = $2")

WAITING_MAX: Final = 1_000_000

_WAITING: Final = """
SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(written_at)), 0)::float8
FROM (SELECT written_at FROM daily_call_deltas LIMIT $1) AS waiting
"""


async def apply_deltas(connection: Connection, most: int, organization_id: UUID | None = None) -> int:
    """Applies up to `most` waiting deltas, of all organizations or of one; how many it were."""
    if organization_id is None:
        applied: int = await connection.fetchval(_APPLY, most)
        return applied
    of_one: int = await connection.fetchval(_APPLY_OF, most, organization_id)
    return of_one


async def waiting_deltas(connection: Connection) -> tuple[int, float]:
    """How many deltas wait (no more than `WAITING_MAX` are counted), and for how many seconds the oldest of
    them; 0 for none."""
    deltas, oldest_seconds = await connection.fetchrow(_WAITING, WAITING_MAX) or (0, 0.0)
    return deltas, oldest_seconds
