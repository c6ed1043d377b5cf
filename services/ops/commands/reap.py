"""`callfold reap`: ends calls whose end event is missing."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from services.aggregator.reap import EVERYTHING, Reaped
from services.aggregator.reap import reap as end_silent_calls
from services.ops.commands.command_connection import LONG_STATEMENT_SECONDS, operating
from services.ops.terminal.environment import settings_from_environment
from services.ops.terminal.options import DryRunOption, JsonOption, OnlyOrganizationOption, StateOption
from services.ops.terminal.printing import counted, print_json
from shared.settings.aggregator import AggregatorSettings
from shared.store.read_progress import calls_read_until


def reap(
    silence_hours: Annotated[
        float | None,
        typer.Option(
            "--silence-hours",
            min=0,
            metavar="HOURS",
            help="End calls without an event for this many hours. Default: CALLFOLD_SILENCE_HOURS.",
            show_default=False,
        ),
    ] = None,
    organization_id: OnlyOrganizationOption = None,
    all_read: Annotated[
        bool,
        typer.Option(
            "--all-read",
            help="Do not wait for ingest's progress: you know that it has read every published event.",
        ),
    ] = False,
    dry_run: DryRunOption = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """End calls whose end event is missing, as failed with the cause MISSING_HANGUP.

    The aggregator does this by itself every few minutes. A call is ended when it was found silent and ingest
    has since read every record published by then. A real end event that arrives later wins, and the counts
    follow it.
    """
    settings = settings_from_environment(AggregatorSettings)
    if silence_hours is None:
        silence_hours = settings.silence_hours
    topics = None if all_read else (settings.topic, settings.deliveries_topic)
    done = asyncio.run(_reap(state, timedelta(hours=silence_hours), organization_id, topics, dry_run))
    if as_json:
        print_json({"calls": done.ended, "waiting": done.waiting, "dry_run": dry_run})
        return
    verb = "would be ended" if dry_run else "ended"
    typer.echo(f"{counted(done.ended, 'call')} {verb} after {silence_hours:g} hours of silence.")
    if done.waiting:
        typer.echo(
            f"{counted(done.waiting, 'silent call')} not ended yet: ingest has not read every record "
            "published before this run. Run it again in a minute, or with --all-read."
        )


async def _reap(
    state: Path | None,
    silence: timedelta,
    organization_id: UUID | None,
    topics: tuple[str, str] | None,
    dry_run: bool,
) -> Reaped:
    """Reaps by ingest's progress in the topics of events and of deliveries; without them, as if ingest had
    read every record."""
    action = None if dry_run else "silent calls ended"
    async with operating(
        state, organization_id, action, f"silent for {silence}", statement_seconds=LONG_STATEMENT_SECONDS
    ) as connection:
        read = EVERYTHING if topics is None else await calls_read_until(connection, *topics)
        return await end_silent_calls(
            connection,
            datetime.now(UTC),
            silence,
            read_until=read,
            organization_id=organization_id,
            dry_run=dry_run,
        )
