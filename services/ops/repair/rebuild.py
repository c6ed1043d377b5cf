"""Rebuild: repairs counts from the calls, with correcting deltas."""

from dataclasses import dataclass
from datetime import date
from typing import Final
from uuid import UUID

from services.ops.proof.statements import OFF, TYPED_SUMS, compared
from services.ops.terminal.operator import audit
from services.ops.terminal.printing import counted
from shared.counts.cell import TOTAL as TOTAL_FIELDS
from shared.counts.cell import Cell, Measures
from shared.counts.counted_sql import CELL, INTO_DELTAS, MEASURES, NEGATED, TOTAL
from shared.database.connection import Connection
from shared.database.distributed import is_distributed
from shared.database.held_locks import hold_alone
from shared.database.locks import REPAIR_LOCK
from shared.store.deltas_channel import notify_deltas

STATEMENT_SECONDS: Final = 3600


@dataclass(frozen=True)
class Rebuilt:
    """The result of a rebuild: the wrong cells, their organizations, and whether they were repaired."""

    organizations: int
    cells: int
    repaired: bool


async def rebuild_organization(
    connection: Connection,
    organization_id: UUID,
    *,
    since: date | None = None,
    until: date | None = None,
    actor: str,
    dry_run: bool = False,
) -> int:
    """Corrects one organization's counts and totals of these days (None: no bound), in one transaction.
    Returns the number of wrong cells of both. Raises asyncpg's errors; then nothing is corrected."""
    arguments = organization_id, since, until
    if dry_run:
        found: int = await connection.fetchval(_COUNT, *arguments, timeout=STATEMENT_SECONDS)
        return found
    correct = _correct_by_constants if await is_distributed(connection) else _correct
    async with connection.transaction(isolation="read_committed"):
        # A separate statement, so that the next one's snapshot includes the changes of another rebuild.
        await hold_alone(connection, REPAIR_LOCK, seconds=STATEMENT_SECONDS)
        cells = await correct(connection, organization_id, since, until)
        if since is None and until is None:
            await connection.execute(_HAS_TOTALS, organization_id)
        await connection.execute(_REPAIRED, organization_id)
        if cells:
            await audit(connection, "counts rebuilt", organization_id, counted(cells, "cell"), actor=actor)
            await notify_deltas(connection)
    return cells


async def _correct(
    connection: Connection, organization_id: UUID, since: date | None, until: date | None
) -> int:
    """Corrects the counts in one statement, and returns the number of wrong cells."""
    cells: int = await connection.fetchval(_CORRECT, organization_id, since, until, timeout=STATEMENT_SECONDS)
    return cells


async def _correct_by_constants(
    connection: Connection, organization_id: UUID, since: date | None, until: date | None
) -> int:
    """The same on Citus, which would run `_CORRECT` as several statements of different snapshots. It passes
    one that only reads on whole."""
    rows = await connection.fetch(_DIFFERENCES, organization_id, since, until, timeout=STATEMENT_SECONDS)
    cells, totals = [
        [tuple(row[name] for name in (*key, *Measures._fields)) for row in rows if row["is_cell"] == is_cell]
        for key, is_cell in ((Cell._fields, True), (TOTAL_FIELDS, False))
    ]
    await connection.executemany(_ADD_DELTA, cells, timeout=STATEMENT_SECONDS)
    await connection.executemany(_ADD_TO_TOTAL, totals, timeout=STATEMENT_SECONDS)
    return rows[0]["wrong_cells"] if rows else 0


IS_COUNTED: Final = "SELECT EXISTS (SELECT 1 FROM daily_call_counts WHERE organization_id = $1)"

_ASKED: Final = """
organization_id = $1 AND ($2::date IS NULL OR day >= $2) AND ($3::date IS NULL OR day <= $3)
"""

_COUNT: Final = f"""
{compared(_ASKED)}
SELECT (SELECT count(*) FROM compared WHERE {OFF}) + (SELECT count(*) FROM compared_totals WHERE {OFF})
"""

_DIFFERENCE: Final = ", ".join(f"true_{name} - kept_{name} AS {name}" for name in Measures._fields)

_ADDED: Final = ", ".join(f"{name} = kept.{name} + excluded.{name}" for name in Measures._fields)

_IS_NOT_ZERO: Final = " OR ".join(f"{name} <> 0" for name in Measures._fields)

# The aggregator also adds the correcting deltas, `repaired`, to the totals. The rest of a total's difference
# is added to it here. Both are additions, so their order does not matter.
_REST: Final = f"""rest AS (
    SELECT {TOTAL}, {TYPED_SUMS}
    FROM (SELECT {TOTAL}, {_DIFFERENCE} FROM compared_totals WHERE {OFF}
          UNION ALL
          SELECT {TOTAL}, {NEGATED} FROM repaired) AS part
    GROUP BY {TOTAL}
)"""

_CORRECT: Final = f"""
{compared(_ASKED)}, repaired AS (
    {INTO_DELTAS}
    SELECT {CELL}, {_DIFFERENCE} FROM compared WHERE {OFF}
    RETURNING {TOTAL}, {MEASURES}
), {_REST}, repaired_totals AS (
    INSERT INTO daily_call_totals AS kept ({TOTAL}, {MEASURES})
    SELECT {TOTAL}, {MEASURES} FROM rest
    WHERE {_IS_NOT_ZERO}
    ORDER BY {TOTAL}
    ON CONFLICT ({TOTAL}) DO UPDATE
    SET {_ADDED}
)
SELECT (SELECT count(*) FROM repaired) + (SELECT count(*) FROM compared_totals WHERE {OFF})
"""

_PARAMETERS: Final = ", ".join(f"${n}" for n in range(1, len((*Cell._fields, *Measures._fields)) + 1))
_PARAMETERS_OF_TOTAL: Final = _PARAMETERS.rpartition(", ")[0]

# The rows that `_CORRECT` writes.
_DIFFERENCES: Final = f"""
{compared(_ASKED)}, repaired AS (
    SELECT {CELL}, {_DIFFERENCE} FROM compared WHERE {OFF}
), {_REST}, written AS (
    SELECT true AS is_cell, {CELL}, {MEASURES} FROM repaired
    UNION ALL
    SELECT false, {CELL}, {MEASURES} FROM (SELECT *, NULL::uuid AS phone_number_id FROM rest) AS rest
    WHERE {_IS_NOT_ZERO}
)
SELECT (SELECT count(*) FROM repaired) + (SELECT count(*) FROM compared_totals WHERE {OFF}) AS wrong_cells,
    written.*
FROM written ORDER BY {CELL}
"""

_ADD_DELTA: Final = f"{INTO_DELTAS} VALUES ({_PARAMETERS})"

_ADD_TO_TOTAL: Final = f"""
INSERT INTO daily_call_totals AS kept ({TOTAL}, {MEASURES}) VALUES ({_PARAMETERS_OF_TOTAL})
ON CONFLICT ({TOTAL}) DO UPDATE SET {_ADDED}
"""

# Totals were changed without deltas, or are read from now on.
_REPAIRED: Final = "SELECT callfold_counts_repaired($1)"

_HAS_TOTALS: Final = "UPDATE organizations SET has_totals = true WHERE id = $1 AND NOT has_totals"
