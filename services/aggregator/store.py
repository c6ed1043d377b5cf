"""One statement: takes a bounded number of deltas and adds them to the counts, so that at every snapshot a
delta is in one of the two tables, never in both or neither."""

from typing import Final

from shared.count import Cell, Measures
from shared.database import Connection

_cell = ", ".join(Cell._fields)
_measures = ", ".join(Measures._fields)

# SKIP LOCKED lets aggregators work side by side; one order of cells keeps them from waiting in a circle.
_APPLY: Final = f"""
WITH taken AS (
    DELETE FROM daily_call_deltas
    WHERE ctid = ANY (ARRAY(SELECT ctid FROM daily_call_deltas LIMIT $1 FOR UPDATE SKIP LOCKED))
    RETURNING {_cell}, {_measures}
), applied AS (
    INSERT INTO daily_call_counts AS counts ({_cell}, {_measures})
    SELECT {_cell}, {", ".join(f"sum({measure})" for measure in Measures._fields)}
    FROM taken GROUP BY {_cell} ORDER BY {_cell}
    ON CONFLICT ({_cell}) DO UPDATE
    SET {", ".join(f"{measure} = counts.{measure} + excluded.{measure}" for measure in Measures._fields)}
)
SELECT count(*) FROM taken
"""  # noqa: S608


WAITING_MAX: Final = 1_000_000

_WAITING: Final = """
SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(written_at)), 0)::float8
FROM (SELECT written_at FROM daily_call_deltas LIMIT $1) AS waiting
"""


async def apply_deltas(connection: Connection, most: int) -> int:
    """Applies up to `most` waiting deltas; how many it were."""
    applied: int = await connection.fetchval(_APPLY, most)
    return applied


async def waiting_deltas(connection: Connection) -> tuple[int, float]:
    """How many deltas wait (no more than `WAITING_MAX` are counted), and for how many seconds the oldest of
    them; 0 for none."""
    deltas, oldest_seconds = await connection.fetchrow(_WAITING, WAITING_MAX) or (0, 0.0)
    return deltas, oldest_seconds
