"""`callfold rebuild`: repairs counts that differ from a recount of the calls."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path
from typing import Annotated, Final
from uuid import UUID

import typer

from services.ops.addresses import database, find_database, require_organization
from services.ops.repair.rebuild import IS_COUNTED, STATEMENT_SECONDS, Rebuilt, rebuild_organization
from services.ops.terminal.failure import Failure
from services.ops.terminal.operator import operator
from services.ops.terminal.options import DryRunOption, JsonOption, OnlyOrganizationOption, StateOption
from services.ops.terminal.printing import counted, print_json
from shared.database.connection import Connection


def rebuild(
    organization_id: OnlyOrganizationOption = None,
    since: Annotated[
        str | None,
        typer.Option("--from", metavar="DAY", help="The first day, such as 2026-11-24. Default: all days."),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", metavar="DAY", help="The last day, included. Default: all days.")
    ] = None,
    dry_run: DryRunOption = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Repair counts that differ from a recount of the calls.

    One snapshot per organization compares the counts with the calls. Each difference is corrected by adding
    a delta. Nothing is locked: ingest and readers continue, and see the old or the new counts.

    If calls differ from the fold of their events, run `refold` first, which repairs them.
    """
    days = read_day(since, "--from"), read_day(until, "--to")
    done = asyncio.run(_rebuild(state, organization_id, days, dry_run))
    if as_json:
        print_json(done)
        return
    if not done.cells:
        typer.echo("Every count equals a recount of the calls: nothing to repair.")
        return
    what = f"{counted(done.cells, 'cell')} of {counted(done.organizations, 'organization')}"
    typer.echo(f"Repaired {what}." if done.repaired else f"{what} would be repaired.")


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
        if organization_id is not None and not await connection.fetchval(IS_COUNTED, organization_id):
            await require_organization(connection, organization_id, state)
        async for one in _organizations(connection, organization_id):
            off = await rebuild_organization(
                connection, one, since=days[0], until=days[1], actor=operator(), dry_run=dry_run
            )
            organizations += off > 0
            cells += off
    return Rebuilt(organizations, cells, repaired=not dry_run)


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
