"""`callfold reap`: ends calls that never received a final event."""

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
from shared.store.read_progress import read_until


def reap(
    silence_hours: Annotated[
        float | None,
        typer.Option(
            "--silence-hours",
            min=0,
            metavar="HOURS",
            help="End calls without events for this many hours. Default: CALLFOLD_SILENCE_HOURS.",
            show_default=False,
        ),
    ] = None,
    organization_id: OnlyOrganizationOption = None,
    all_read: Annotated[
        bool,
        typer.Option(
            "--all-read",
            help="Assume that ingest has read every published event, and do not check its progress.",
        ),
    ] = False,
    dry_run: DryRunOption = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """End calls that never received a final event: status failed, cause MISSING_HANGUP.

    The aggregator does the same every few minutes. A call is ended after two looks. The first finds it
    silent; the second finds that ingest has read every event that was published before the first. A real
    final event that arrives later replaces this end, and the counts follow.
    """
    settings = settings_from_environment(AggregatorSettings)
    if silence_hours is None:
        silence_hours = settings.silence_hours
    topic = None if all_read else settings.topic
    done = asyncio.run(_reap(state, timedelta(hours=silence_hours), organization_id, topic, dry_run))
    if as_json:
        print_json({"calls": done.ended, "waiting": done.waiting, "dry_run": dry_run})
        return
    verb = "would be ended" if dry_run else "ended"
    typer.echo(f"{counted(done.ended, 'call')} {verb} after {silence_hours:g} hours without an event.")
    if done.waiting:
        typer.echo(
            f"{counted(done.waiting, 'silent call')} not ended yet: ingest has not read every event that was "
            "published before this run. Run the command again in a minute, or use --all-read."
        )


async def _reap(
    state: Path | None, silence: timedelta, organization_id: UUID | None, topic: str | None, dry_run: bool
) -> Reaped:
    """Ends the calls that are silent by ingest's progress in the topic. Without a topic, assumes that ingest
    has read everything."""
    action = None if dry_run else "silent calls ended"
    async with operating(
        state, organization_id, action, f"silent for {silence}", statement_seconds=LONG_STATEMENT_SECONDS
    ) as connection:
        read = EVERYTHING if topic is None else await read_until(connection, topic)
        return await end_silent_calls(
            connection,
            datetime.now(UTC),
            silence,
            read_until=read,
            organization_id=organization_id,
            dry_run=dry_run,
        )
