"""`callfold prune`: removes calls older than their organization's retention."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from services.aggregator.prune import Counts
from services.aggregator.prune import prune as apply_retention
from services.aggregator.quarantine_erasure import place_quarantined, prune_quarantined, remove_deleted
from services.ops.commands.command_connection import LONG_STATEMENT_SECONDS, operating
from services.ops.repair.retry_overtaken import until_not_overtaken
from services.ops.terminal.environment import settings_from_environment
from services.ops.terminal.options import DryRunOption, JsonOption, OnlyOrganizationOption, StateOption
from services.ops.terminal.printing import counted, print_json
from shared.settings.aggregator import AggregatorSettings


def prune(
    counts: Annotated[
        Counts | None,
        typer.Option(
            "--counts",
            help="Whether removed calls stay in the counts (keep) or leave them, with those pruned earlier "
            "(drop). Default: CALLFOLD_PRUNE_COUNTS.",
            show_default=False,
        ),
    ] = None,
    organization_id: OnlyOrganizationOption = None,
    dry_run: DryRunOption = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove calls, events and quarantined records older than their organization's retention.

    Quarantined records of deleted calls that an older version left are also removed.

    `org set-retention` sets the retention. The aggregator prunes by itself every few minutes.
    """
    if counts is None:
        counts = settings_from_environment(AggregatorSettings).prune_counts
    pruned, records = asyncio.run(_prune(state, counts, organization_id, dry_run))
    if as_json:
        print_json({"calls": pruned, "quarantined_records": records, "counts": counts, "dry_run": dry_run})
        return
    verb = "would be removed" if dry_run else "removed"
    what = "their counts are kept" if counts == "keep" else "their counts are dropped"
    typer.echo(f"{counted(pruned, 'call')} {verb}; {what}.")
    typer.echo(f"{counted(records, 'quarantined record')} {verb}.")


async def _prune(
    state: Path | None, counts: Counts, organization_id: UUID | None, dry_run: bool
) -> tuple[int, int]:
    """The numbers of calls and of quarantined records that were removed, or would be."""
    action = None if dry_run else "calls pruned"
    async with operating(
        state, organization_id, action, f"counts: {counts}", statement_seconds=LONG_STATEMENT_SECONDS
    ) as connection:
        now = datetime.now(UTC)
        records = 0
        if not dry_run:
            await until_not_overtaken(lambda: place_quarantined(connection, now))
            records = await until_not_overtaken(lambda: remove_deleted(connection))
        records += await prune_quarantined(connection, now, organization_id=organization_id, dry_run=dry_run)
        calls = await apply_retention(
            connection, now, counts=counts, organization_id=organization_id, dry_run=dry_run
        )
        return calls, records
