"""`callfold org rename`, `set-time-zone`, `set-retention`, `set-plan`: changes to an organization."""

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
from shared.database.held_locks import NotEverywhere
from shared.plans import is_plan_name
from shared.settings.api import LimitSettings
from shared.store.time_zone_change import move_days

TRIES: Final = 5


def rename(
    organization_id: OrganizationArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The new name.", show_default=False)],
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Rename an organization."""
    name = check_name(name)
    asyncio.run(_update(state, organization_id, _RENAME, name, "organization renamed", name))
    if as_json:
        print_json({"organization_id": organization_id, "name": name})
        return
    typer.echo(f"Renamed organization {organization_id} to {name}.")


def set_time_zone(
    organization_id: OrganizationArgument,
    time_zone: Annotated[
        str,
        typer.Argument(metavar="ZONE", help="An IANA time zone, such as Europe/Berlin.", show_default=False),
    ],
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change the time zone in which an organization's days begin.

    One transaction moves each call, and its counts, to its day and hour in the new zone. Answers before it
    have the old days, answers after it the new ones. Ingest continues: batches with moved calls wait until
    the end, and all batches wait for a moment. The counts of pruned calls keep their old days. Stop every
    ingest process of an older callfold first.
    """
    moved = asyncio.run(_set_time_zone(state, organization_id, check_time_zone(time_zone)))
    if as_json:
        print_json({"organization_id": organization_id, "time_zone": time_zone, "moved_calls": moved})
        return
    days = f"{counted(moved, 'call')} moved to another day or hour"
    typer.echo(f"Set the time zone of organization {organization_id} to {time_zone}; {days}.")


def set_retention(
    organization_id: OrganizationArgument,
    days: Annotated[
        str,
        typer.Argument(
            metavar="DAYS", help="How long to keep calls, in days, or forever.", show_default=False
        ),
    ],
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set how long an organization's calls are kept.

    Ingest quarantines events older than that from now on. The aggregator, or `prune`, removes older calls.
    """
    kept = _read_days(days)
    asyncio.run(_update(state, organization_id, _SET_RETENTION, kept, "retention changed", days))
    if as_json:
        print_json({"organization_id": organization_id, "retention_days": kept})
        return
    how_long = "forever" if kept is None else counted(kept, "day")
    typer.echo(f"Set the retention of organization {organization_id} to {how_long}.")


def set_plan(
    organization_id: OrganizationArgument,
    plan: Annotated[
        str,
        typer.Argument(metavar="PLAN", help="A plan of CALLFOLD_PLANS, or unlimited.", show_default=False),
    ],
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set the plan that limits the requests of each key and user of an organization.

    CALLFOLD_PLANS gives the API the limits of each plan. If it is also set for this command, the plan must
    be one of its plans.
    """
    _check_plan(plan)
    asyncio.run(_update(state, organization_id, _SET_PLAN, plan, "plan changed", plan))
    if as_json:
        print_json({"organization_id": organization_id, "plan": plan})
        return
    typer.echo(f"Set the plan of organization {organization_id} to {plan}.")


def register(app: typer.Typer) -> None:
    """Adds these commands to those of `org`."""
    for command in (rename, set_time_zone, set_retention, set_plan):
        app.command(cls=Command)(command)


def _check_plan(plan: str) -> None:
    """Raises Failure for an invalid plan name, or for a plan that CALLFOLD_PLANS lacks."""
    settings = settings_from_environment(LimitSettings)
    if not is_plan_name(plan):
        raise Failure(f"PLAN must be 1 to 40 of the characters a-z, 0-9, - and _, not {plan!r}.")
    if "plans" in settings.model_fields_set and plan not in settings.plans:
        raise Failure(f"PLAN must be a plan of CALLFOLD_PLANS ({', '.join(settings.plans)}), not {plan!r}.")


def _read_days(text: str) -> int | None:
    if text == "forever":
        return None
    text = text.removesuffix("d")
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
            except NotEverywhere as reason:
                raise Failure(f"{reason}. Nothing was changed.") from None
            except (asyncpg.TransactionRollbackError, asyncpg.LockNotAvailableError):
                await backoff.wait(asyncio.Event())
    raise Failure(
        f"The change conflicted with ingest {TRIES} times. Nothing was changed. "
        "Run it again at a quieter time."
    )


async def _move(connection: Connection, organization_id: UUID, time_zone: str) -> int:
    async with connection.transaction(isolation="read_committed"):
        moved = await move_days(connection, organization_id, time_zone)
        details = f"{time_zone}, {counted(moved, 'call')} moved"
        await audit(connection, "time zone changed", organization_id, details)
    return moved


_RENAME: Final = "UPDATE organizations SET name = $2 WHERE id = $1"
_SET_PLAN: Final = "UPDATE organizations SET plan = $2 WHERE id = $1"
_SET_RETENTION: Final = "UPDATE organizations SET retention_days = $2 WHERE id = $1"
