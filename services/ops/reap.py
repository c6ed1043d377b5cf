"""`callfold reap`: ends calls that never ended."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final
from uuid import UUID

import typer

from services.aggregator.reap import reap as end_silent_calls
from services.ops.addresses import (
    JsonOption,
    StateOption,
    database,
    find_database,
    read_uuid,
    require_organization,
    settings_from_environment,
)
from services.ops.operator import audit_run
from services.ops.printing import counted, print_json
from shared.settings import AggregatorSettings

STATEMENT_SECONDS: Final = 3600


def reap(
    silence_hours: Annotated[
        float | None,
        typer.Option(
            "--silence-hours",
            min=0,
            metavar="HOURS",
            help="How long a call must have said nothing; CALLFOLD_SILENCE_HOURS otherwise.",
            show_default=False,
        ),
    ] = None,
    organization: Annotated[
        str | None, typer.Option("--organization", metavar="UUID", help="This organization's calls alone.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell how many there are.")] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """End calls that never ended, as failed with the cause MISSING_HANGUP.

    The aggregator does so by itself every few minutes. A real end that arrives later wins, and the counts
    move with it.
    """
    if silence_hours is None:
        silence_hours = settings_from_environment(AggregatorSettings).silence_hours
    organization_id = None if organization is None else read_uuid(organization, "--organization")
    ended = asyncio.run(_reap(state, timedelta(hours=silence_hours), organization_id, dry_run))
    if as_json:
        print_json({"calls": ended, "dry_run": dry_run})
        return
    verb = "would be ended" if dry_run else "ended"
    typer.echo(f"{counted(ended, 'call')} {verb} after {silence_hours:g} hours of silence.")


async def _reap(state: Path | None, silence: timedelta, organization_id: UUID | None, dry_run: bool) -> int:
    async with database(find_database(state), STATEMENT_SECONDS) as connection:
        if organization_id is not None:
            await require_organization(connection, organization_id, state)
        if not dry_run:
            await audit_run(connection, "silent calls ended", organization_id, f"silent for {silence}")
        now = datetime.now(UTC)
        return await end_silent_calls(
            connection, now, silence, organization_id=organization_id, dry_run=dry_run
        )
