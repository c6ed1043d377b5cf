"""`callfold rebuild`: counts mended from the calls, by deltas that correct them."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Final
from uuid import UUID

import typer

from services.ops.addresses import database, find_database, require_organization
from services.ops.failure import Failure
from services.ops.operator import audit, operator
from services.ops.options import DryRunOption, JsonOption, OnlyOrganizationOption, StateOption
from services.ops.printing import counted, print_json
from services.ops.proof_statements import OFF, compared
from shared.counts.cell import Measures
from shared.counts.counted_sql import CELL, INTO_DELTAS, MEASURES, NEGATED, SUMS, TOTAL
from shared.database.connection import Connection
from shared.database.locks import REPAIR_LOCK
from shared.store.deltas_channel import notify_deltas

STATEMENT_SECONDS: Final = 3600


@dataclass(frozen=True)
class Rebuilt:
    """What a rebuild did: cells that were off, in how many organizations, and whether they were mended."""

    organizations: int
    cells: int
    mended: bool


def rebuild(
    organization_id: OnlyOrganizationOption = None,
    since: Annotated[
        str | None, typer.Option("--from", metavar="DAY", help="From this day on, as 2026-11-24.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", metavar="DAY", help="Up to this day, which is included.")
    ] = None,
    dry_run: DryRunOption = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Mend counts that are not a recount of the calls.

    In one snapshot per organization the counts are compared with the calls, and what is off is corrected by
    differences that are added to them: nothing is locked, ingest and readers go on, and see the old or the
    new. Calls that are not the
    fold of their events are `refold`'s to mend: run that first.
    """
    days = read_day(since, "--from"), read_day(until, "--to")
    done = asyncio.run(_rebuild(state, organization_id, days, dry_run))
    if as_json:
        print_json(done)
        return
    if not done.cells:
        typer.echo("Every count is a recount of the calls: nothing is to be mended.")
        return
    what = f"{counted(done.cells, 'cell')} of {counted(done.organizations, 'organization')}"
    typer.echo(f"Mended {what}." if done.mended else f"{what} would be mended.")


async def rebuild_organization(
    connection: Connection,
    organization_id: UUID,
    *,
    since: date | None = None,
    until: date | None = None,
    actor: str,
    dry_run: bool = False,
) -> int:
    """Corrects one organization's counts and totals of these days (None: all), in one transaction; how many
    cells of both were off. Raises asyncpg's errors; then nothing is corrected."""
    arguments = organization_id, since, until
    if dry_run:
        found: int = await connection.fetchval(_COUNT, *arguments, timeout=STATEMENT_SECONDS)
        return found
    async with connection.transaction(isolation="read_committed"):
        # A statement of its own: the next one's snapshot has what another rebuild did.
        await connection.execute("SELECT pg_advisory_xact_lock($1)", REPAIR_LOCK, timeout=STATEMENT_SECONDS)
        cells: int = await connection.fetchval(_CORRECT, *arguments, timeout=STATEMENT_SECONDS)
        if since is None and until is None:
            await connection.execute(_HAS_TOTALS, organization_id)
        if cells:
            await audit(connection, "counts rebuilt", organization_id, counted(cells, "cell"), actor=actor)
            await notify_deltas(connection)
    return cells


def read_day(text: str | None, option: str) -> date | None:
    """A day as an operator types it. Raises Failure."""
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise Failure(f"{option} must be a day such as 2026-11-24, not {text!r}.") from None


async def _rebuild(
    state: Path | None, organization_id: UUID | None, days: tuple[date | None, date | None], dry_run: bool
) -> Rebuilt:
    organizations = cells = 0
    async with database(find_database(state)) as connection:
        if organization_id is not None and not await connection.fetchval(_IS_COUNTED, organization_id):
            await require_organization(connection, organization_id, state)
        async for one in _organizations(connection, organization_id):
            off = await rebuild_organization(
                connection, one, since=days[0], until=days[1], actor=operator(), dry_run=dry_run
            )
            organizations += off > 0
            cells += off
    return Rebuilt(organizations, cells, mended=not dry_run)


async def _organizations(connection: Connection, organization_id: UUID | None) -> AsyncIterator[UUID]:
    if organization_id is not None:
        yield organization_id
        return
    for (one,) in await connection.fetch(_ORGANIZATIONS, timeout=STATEMENT_SECONDS):
        yield one


_ORGANIZATIONS: Final = """
SELECT id FROM organizations
UNION SELECT organization_id FROM daily_call_counts
UNION SELECT organization_id FROM daily_call_totals
UNION SELECT organization_id FROM daily_call_deltas
UNION SELECT organization_id FROM calls
ORDER BY 1
"""

_IS_COUNTED: Final = "SELECT EXISTS (SELECT 1 FROM daily_call_counts WHERE organization_id = $1)"

_ASKED: Final = """
organization_id = $1 AND ($2::date IS NULL OR day >= $2) AND ($3::date IS NULL OR day <= $3)
"""

_COUNT: Final = f"""
{compared(_ASKED)}
SELECT (SELECT count(*) FROM compared WHERE {OFF}) + (SELECT count(*) FROM compared_totals WHERE {OFF})
"""

_DIFFERENCE: Final = ", ".join(f"true_{name} - kept_{name} AS {name}" for name in Measures._fields)

# The deltas that mend the counts come to the totals, too: these lack the rest, which is added to them at
# once, and so to whatever the aggregator makes of them meanwhile.
_CORRECT: Final = f"""
{compared(_ASKED)}, mended AS (
    {INTO_DELTAS}
    SELECT {CELL}, {_DIFFERENCE} FROM compared WHERE {OFF}
    RETURNING {TOTAL}, {MEASURES}
), rest AS (
    SELECT {TOTAL}, {SUMS}
    FROM (SELECT {TOTAL}, {_DIFFERENCE} FROM compared_totals WHERE {OFF}
          UNION ALL
          SELECT {TOTAL}, {NEGATED} FROM mended) AS part
    GROUP BY {TOTAL}
), mended_totals AS (
    INSERT INTO daily_call_totals AS kept ({TOTAL}, {MEASURES})
    SELECT {TOTAL}, {MEASURES} FROM rest
    WHERE {" OR ".join(f"{name} <> 0" for name in Measures._fields)}
    ORDER BY {TOTAL}
    ON CONFLICT ({TOTAL}) DO UPDATE
    SET {", ".join(f"{name} = kept.{name} + excluded.{name}" for name in Measures._fields)}
)
SELECT (SELECT count(*) FROM mended) + (SELECT count(*) FROM compared_totals WHERE {OFF})
"""

_HAS_TOTALS: Final = "UPDATE organizations SET has_totals = true WHERE id = $1 AND NOT has_totals"
