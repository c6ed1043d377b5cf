"""`callfold org`: the organizations whose calls are counted."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID, uuid4

import asyncpg
import typer

from services.ops.addresses import database, find_database
from services.ops.terminal.failure import Failure
from services.ops.terminal.operator import audit
from services.ops.terminal.options import JsonOption, StateOption, read_uuid
from services.ops.terminal.plain_help import Command, Group
from services.ops.terminal.printing import minute, print_json, print_table
from services.ops.terminal.program import command_line
from shared.calls.organization_tombstone import organization_tombstone
from shared.calls.zones import zone_names, zone_rules
from shared.database.connection import Connection

NAME_LETTERS_MAX: Final = 200

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    help="Create, list, change and delete organizations.",
)


@app.command(cls=Command)
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The organization's name.", show_default=False)],
    organization_id: Annotated[
        UUID | None,
        typer.Option(
            "--id",
            metavar="UUID",
            help="The organization's id, if your systems already have one. Default: a new random id.",
            parser=partial(read_uuid, what="--id"),
        ),
    ] = None,
    time_zone: Annotated[
        str,
        typer.Option(metavar="NAME", help="The IANA time zone of its days, such as Europe/Berlin."),
    ] = "UTC",
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create an organization."""
    made = asyncio.run(_create(state, name, organization_id or uuid4(), time_zone))
    if as_json:
        print_json(made)
        return
    typer.echo(f"Created organization {made['id']} ({made['name']}, time zone {made['time_zone']}).")
    create_key = command_line("key", "create", "--organization", str(made["id"]), state=state)
    typer.echo(f"To create an API key for it: {create_key}")


@app.command("list", cls=Command)
def list_organizations(state: StateOption = None, as_json: JsonOption = False) -> None:
    """List the organizations, the oldest first."""
    found = asyncio.run(_list(state))
    if as_json:
        print_json(found)
        return
    rows = [
        (
            one["id"],
            one["name"] or "(unnamed)",
            one["time_zone"],
            one["retention_days"],
            one["plan"],
            minute(one["created_at"]),
        )
        for one in found
    ]
    print_table(["id", "name", "time zone", "kept for days", "plan", "created (UTC)"], rows)


def check_name(name: str) -> str:
    """A name as it is stored. Raises Failure for an invalid one."""
    name = name.strip()
    if not name.isprintable() or not 1 <= len(name) <= NAME_LETTERS_MAX:
        raise Failure(f"A name must have 1 to {NAME_LETTERS_MAX} printable characters.")
    return name


def check_time_zone(name: str) -> str:
    """A time zone's IANA name. For an unknown zone, raises Failure with the likely name."""
    if name in zone_names():
        return name
    meant = [zone for zone in zone_names() if zone.lower() == name.lower()]
    hint = f"Did you mean {meant[0]}?" if meant else "Examples: Europe/Berlin, America/New_York, UTC."
    raise Failure(f"There is no time zone {name!r}. {hint}")


async def create_organization(
    connection: Connection, organization_id: UUID, name: str, time_zone: str
) -> dict[str, object]:
    """Creates an organization's row and its audit line in one transaction. Raises Failure for an id that is
    in use or belonged to a deleted organization."""
    async with connection.transaction():
        if await connection.fetchval(_IS_DELETED, organization_id, organization_tombstone(organization_id)):
            raise Failure(f"Organization {organization_id} was deleted. Its id cannot be used again.")
        try:
            row = await connection.fetchrow(_CREATE, organization_id, name, time_zone, zone_rules(time_zone))
        except asyncpg.UniqueViolationError:
            raise Failure(f"Organization {organization_id} already exists.") from None
        await audit(connection, "organization created", organization_id, name)
    return dict(row or {})


async def _create(state: Path | None, name: str, organization_id: UUID, time_zone: str) -> dict[str, object]:
    name, time_zone = check_name(name), check_time_zone(time_zone)
    async with database(find_database(state)) as connection:
        return await create_organization(connection, organization_id, name, time_zone)


async def _list(state: Path | None) -> list[dict[str, Any]]:
    async with database(find_database(state)) as connection:
        return [dict(row) for row in await connection.fetch(_LIST)]


_COLUMNS: Final = "id, name, time_zone, retention_days, plan, created_at, zone_rules"
_CREATE: Final = f"""
INSERT INTO organizations (id, name, time_zone, zone_rules) VALUES ($1, $2, $3, $4) RETURNING {_COLUMNS}
"""
_IS_DELETED: Final = "SELECT 1 FROM deleted_calls WHERE organization_id = $1 AND call_id = $2"
_LIST: Final = f"SELECT {_COLUMNS} FROM organizations ORDER BY created_at, id"
