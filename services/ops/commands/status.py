"""`callfold status`: the addresses of a stack and the states of its processes."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

import typer

from services.ops.addresses import Place, database
from services.ops.commands.up import DirectoryOption, print_stack
from services.ops.embedded.state import State, load
from services.ops.terminal.failure import Failure
from services.ops.terminal.options import JsonOption
from services.ops.terminal.printing import counted, print_json
from services.ops.terminal.program import DEFAULT_STATE, suggestion
from shared.calls.zones import RULES_VERSION
from shared.extras import needs_extra
from shared.store.zone_rules import OtherRules, other_rules

STATEMENT_SECONDS: Final = 5


def status(state: DirectoryOption = DEFAULT_STATE, as_json: JsonOption = False) -> None:
    """Show the addresses of a stack and the state of each of its processes.

    States: running, starting, backoff (it exited early and restarts after a pause), stopping, exited, fatal,
    stopped, orphaned (it runs, but its supervisor was killed: run `up` or `down`).

    Below them are the release of the time-zone rules and the organizations whose calls other rules placed.

    Exit status: 0 when the states could be read, in any state; 1 when there is no such stack.
    """
    with needs_extra("embedded", "This command", Failure):
        from services.ops.embedded import stack
    known = load(state)
    processes = stack.statuses(known)
    others = asyncio.run(_other_rules(known))
    if as_json:
        addresses = {
            "api_url": known.api_url,
            "receiver_url": known.receiver_url,
            "kafka": known.kafka,
            "database_url": known.database_url,
        }
        groups = None if others is None else [group._asdict() for group in others]
        rules = {"version": RULES_VERSION, "organizations_placed_by_others": groups}
        print_json(
            {
                **addresses,
                "metrics": known.metrics,
                "processes": [asdict(each) for each in processes],
                "time_zone_rules": rules,
            }
        )
        return
    print_stack(known, [(each.name, each.pid, each.state) for each in processes])
    if others is None:
        typer.echo("The database is unreachable: the time-zone rules that placed its calls are unknown.")
    for time_zone, rules_recorded, organizations in others or ():
        by = f"the rules {rules_recorded}" if rules_recorded else "unknown rules"
        typer.echo(f"  calls placed by {by}: {counted(organizations, 'organization')} in {time_zone}")
    if others:
        typer.echo(f"{suggestion('refold', state=state)} places these calls by the rules in use.")


async def _other_rules(known: State) -> Sequence[OtherRules] | None:
    """The organizations whose calls other rules placed; None when the database is unreachable."""
    try:
        async with database(Place(known.database_url, known.directory), STATEMENT_SECONDS) as connection:
            return await other_rules(connection)
    except Failure:
        return None
