"""`callfold org rename`, `set-time-zone`, `set-retention`, `set-plan`: what of an organization can change."""

import asyncio
from pathlib import Path
from typing import Annotated, Final
from uuid import UUID

import asyncpg
import typer

from services.ops.commands.command_connection import operating
from services.ops.commands.org import check_name, check_time_zone
from services.ops.terminal.environment import settings_from_environment
from services.ops.terminal.failure import Failure
from services.ops.terminal.operator import audit
from services.ops.terminal.options import JsonOption, OrganizationArgument, StateOption
from services.ops.terminal.plain_help import Command
from services.ops.terminal.printing import counted, print_json
from shared.backoff import Backoff
from shared.calls.retention import RETENTION_DAYS_MAX
from shared.database.connection import Connection
from shared.plans import is_plan_name
from shared.settings.api import LimitSettings
from shared.store.time_zone_change import move_days

TRIES: Final = 5


def rename(
    organization_id: OrganizationArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its new name.", show_default=False)],
    state: StateOption = None,
) -> None:
    """Give an organization another name."""
    name = check_name(name)
    asyncio.run(_update(state, organization_id, _RENAME, name, "organization renamed", name))
    typer.echo(f"Organization {organization_id} is called {name}.")


def set_time_zone(
    organization_id: OrganizationArgument,
    time_zone: Annotated[
        str, typer.Argument(metavar="ZONE", help="An IANA name, as Europe/Berlin.", show_default=False)
    ],
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let an organization's days begin in another time zone.

    Each call moves to its day and hour there, and the counts with it, at once: before it every answer has the
    old days, after it the new ones. Ingest goes on; batches with calls that were moved wait for the end,
    and for a moment all do. What calls beyond the retention were counted for keeps its old days. No ingest
    of an older callfold may run beside it.
    """
    moved = asyncio.run(_set_time_zone(state, organization_id, check_time_zone(time_zone)))
    if as_json:
        print_json({"organization_id": organization_id, "time_zone": time_zone, "moved_calls": moved})
        return
    days = f"{counted(moved, 'call')} moved to another day or hour"
    typer.echo(f"The days of organization {organization_id} begin in {time_zone}; {days}.")


def set_retention(
    organization_id: OrganizationArgument,
    days: Annotated[
        str, typer.Argument(metavar="DAYS", help="A number of days, or forever.", show_default=False)
    ],
    state: StateOption = None,
) -> None:
    """Say how long an organization's calls are kept: events older than that are quarantined from now on, and
    the aggregator, or `prune`, removes the calls."""
    kept = _read_days(days)
    asyncio.run(_update(state, organization_id, _SET_RETENTION, kept, "retention changed", days))
    how_long = "for ever" if kept is None else f"for {counted(kept, 'day')}"
    typer.echo(f"The calls of organization {organization_id} are kept {how_long}.")


def set_plan(
    organization_id: OrganizationArgument,
    plan: Annotated[
        str,
        typer.Argument(metavar="PLAN", help="A plan of CALLFOLD_PLANS, or unlimited.", show_default=False),
    ],
    state: StateOption = None,
) -> None:
    """Give an organization another plan: how many requests each of its keys and users may make, from now on.

    What a plan allows is said to the API, by CALLFOLD_PLANS. Where that is set for this command, too, a plan
    that it does not have is refused.
    """
    _check_plan(plan)
    asyncio.run(_update(state, organization_id, _SET_PLAN, plan, "plan changed", plan))
    typer.echo(f"The plan of organization {organization_id} is {plan}.")


def register(app: typer.Typer) -> None:
    """Adds these commands to those of `org`."""
    for command in (rename, set_time_zone, set_retention, set_plan):
        app.command(cls=Command)(command)


def _check_plan(plan: str) -> None:
    """Raises Failure for a plan that can't be, or is none of those that are set."""
    settings = settings_from_environment(LimitSettings)
    if not is_plan_name(plan):
        raise Failure(f"PLAN must have up to 40 of a-z, 0-9, - and _, not {plan!r}.")
    if "plans" in settings.model_fields_set and plan not in settings.plans:
        raise Failure(f"PLAN must be one of {', '.join(settings.plans)}, by CALLFOLD_PLANS, not {plan!r}.")


def _read_days(text: str) -> int | None:
    if text == "forever":
        return None
    if not text.isdecimal() or not 1 <= int(text) <= RETENTION_DAYS_MAX:
        raise Failure(f"DAYS must be from 1 to {RETENTION_DAYS_MAX:,}, or forever, not {text!r}.")
    return int(text)


async def _update(
    state: Path | None, organization_id: UUID, statement: str, value: object, action: str, details: str
) -> None:
    async with operating(state, organization_id) as connection, connection.transaction():
        await connection.execute(statement, organization_id, value)
        await audit(connection, action, organization_id, details)


async def _set_time_zone(state: Path | None, organization_id: UUID, time_zone: str) -> int:
    async with operating(state, organization_id) as connection:
        backoff = Backoff(first_seconds=0.5)
        for _ in range(TRIES):
            try:
                return await _move(connection, organization_id, time_zone)
            except (asyncpg.TransactionRollbackError, asyncpg.LockNotAvailableError):
                await backoff.wait(asyncio.Event())
    raise Failure(f"Ingest was faster {TRIES} times; nothing was changed. Try again at a quieter time.")


async def _move(connection: Connection, organization_id: UUID, time_zone: str) -> int:
    async with connection.transaction(isolation="read_committed"):
        moved = await move_days(connection, organization_id, time_zone)
        details = f"{time_zone}, {counted(moved, 'call')} moved"
        await audit(connection, "time zone changed", organization_id, details)
    return moved


_RENAME: Final = "UPDATE organizations SET name = $2 WHERE id = $1"
_SET_PLAN: Final = "UPDATE organizations SET plan = $2 WHERE id = $1"
_SET_RETENTION: Final = "UPDATE organizations SET retention_days = $2 WHERE id = $1"
