"""`callfold refold`: repairs calls that differ from the fold of their stored events."""

import asyncio
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from services.ops.commands.command_connection import LONG_STATEMENT_SECONDS, operating
from services.ops.repair.refold import EXPECTED_CALLS, Refolded, keys_of_calls, refold_calls
from services.ops.terminal.options import (
    DryRunOption,
    JsonOption,
    OnlyOrganizationOption,
    StateOption,
    read_uuid,
)
from services.ops.terminal.printing import counted, print_json
from services.ops.terminal.progress_bar import progress
from shared.store.changes import CallKey
from shared.store.zone_rules import record_placed, unplaced


def refold(
    organization_id: OnlyOrganizationOption = None,
    after: Annotated[
        str | None,
        typer.Option(
            "--after",
            metavar="UUID/UUID",
            help="Resume after this call (organization/call), which an interrupted run printed last. "
            "Default: the first call.",
        ),
    ] = None,
    dry_run: DryRunOption = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Repair calls that differ from the fold of their stored events, and their counts.

    Run it after an upgrade that changed the fold's laws: it folds the calls of the older version again.

    It works in small transactions: ingest and readers continue, and every count stays exact. It can be
    interrupted and run again. Correct calls are only read.

    Calls that other time-zone rules placed move to their days by the rules in use. At its end a run records
    these rules for each organization that it refolded whole; with --after, for the later organizations only.

    Exit status: 0 when every call was folded; 1 when a call has no event, or one that cannot be read.
    """
    done = asyncio.run(_refold(state, organization_id, _read_key(after), dry_run, quiet=as_json))
    if as_json:
        print_json({**done.__dict__, "dry_run": dry_run})
    else:
        verb = "would be repaired" if dry_run else "repaired"
        typer.echo(f"{counted(done.calls, 'call')} folded, {done.repaired:,} of them {verb}.")
        if done.by_older_laws:
            typer.echo(f"An older version had folded {done.by_older_laws:,} of these calls.")
        if done.unreadable:
            typer.echo(
                f"{counted(done.unreadable, 'call')} with an event that cannot be read: `verify` lists them."
            )
        if done.without_events:
            typer.echo(f"{counted(done.without_events, 'call')} without any event: replay their events.")
    if done.unreadable or done.without_events:
        raise typer.Exit(1)


async def _refold(
    state: Path | None, organization_id: UUID | None, after: CallKey | None, dry_run: bool, *, quiet: bool
) -> Refolded:
    done = Refolded()
    action = None if dry_run else "calls refolded"
    async with operating(
        state, organization_id, action, statement_seconds=LONG_STATEMENT_SECONDS
    ) as connection:
        # Read before the calls: rules that another process records meanwhile are not overwritten.
        placing = [] if dry_run else await unplaced(connection, organization_id)
        expected = await connection.fetchval(EXPECTED_CALLS, organization_id)
        with progress("calls", expected, quiet=quiet) as bar:
            async for keys in keys_of_calls(connection, organization_id, after):
                done += await refold_calls(connection, keys, dry_run=dry_run)
                bar.advance(done.calls, f"{keys[-1][0]}/{keys[-1][1]}")
        await record_placed(
            connection, [one for one in placing if after is None or one.organization_id > after[0]]
        )
    return done


def _read_key(text: str | None) -> CallKey | None:
    if text is None:
        return None
    owner, _, call_id = text.partition("/")
    return read_uuid(owner, "--after, before the slash,"), read_uuid(call_id, "--after, after the slash,")
