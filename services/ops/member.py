"""`callfold member`: the users who see an organization's calls with a JWT of their own."""

import asyncio
from pathlib import Path
from typing import Annotated, Final
from uuid import UUID

import typer

from services.ops.addresses import (
    JsonOption,
    StateOption,
    database,
    find_database,
    read_uuid,
    require_organization,
)
from services.ops.commands import Command, Group
from services.ops.failure import Failure
from services.ops.key import OrganizationOption
from services.ops.operator import operator
from services.ops.printing import console, print_json, table
from services.ops.program import suggestion
from shared.audit import write_audit
from shared.database import Connection

app = typer.Typer(
    cls=Group, no_args_is_help=True, help="Add, list and remove the users who belong to an organization."
)

UserArgument = Annotated[
    str, typer.Argument(metavar="USER", help="The user's id: `sub` in their token.", show_default=False)
]


@app.command(cls=Command)
def add(
    user: UserArgument,
    organization: OrganizationOption,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add a user to an organization: their token lets them see, delete and count its live calls."""
    user_id, organization_id = read_uuid(user, "USER"), read_uuid(organization, "--organization")
    added = asyncio.run(_add(state, organization_id, user_id))
    if as_json:
        print_json(added)
        return
    typer.echo(f"User {user_id} belongs to organization {organization_id}.")


@app.command(cls=Command)
def remove(
    user: UserArgument,
    organization: OrganizationOption,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a user from an organization: from now on none of their tokens is good for it."""
    user_id, organization_id = read_uuid(user, "USER"), read_uuid(organization, "--organization")
    removed = asyncio.run(_remove(state, organization_id, user_id))
    if as_json:
        print_json(removed)
        return
    typer.echo(f"User {user_id} belongs to organization {organization_id} no more.")


@app.command("list", cls=Command)
def list_members(
    organization: OrganizationOption, state: StateOption = None, as_json: JsonOption = False
) -> None:
    """List the users of an organization, the oldest member first."""
    found = asyncio.run(_list(state, read_uuid(organization, "--organization")))
    if as_json:
        print_json(found)
        return
    rows = [(member["user_id"], f"{member['joined_at']:%Y-%m-%d %H:%M}") for member in found]
    console().print(table(["user", "joined (UTC)"], rows))


async def _add(state: Path | None, organization_id: UUID, user_id: UUID) -> dict[str, object]:
    async with database(find_database(state)) as connection:
        await require_organization(connection, organization_id, state)
        async with connection.transaction():
            row = await connection.fetchrow(_ADD, organization_id, user_id)
            if row is None:
                raise Failure(f"User {user_id} belongs to organization {organization_id} already.")
            await _audit(connection, organization_id, "member added", user_id)
    return dict(row)


async def _remove(state: Path | None, organization_id: UUID, user_id: UUID) -> dict[str, object]:
    async with database(find_database(state)) as connection, connection.transaction():
        row = await connection.fetchrow(_REMOVE, organization_id, user_id)
        if row is None:
            listing = suggestion("member", "list", "--organization", organization_id, state=state)
            raise Failure(
                f"User {user_id} does not belong to organization {organization_id}: {listing} shows who does."
            )
        await _audit(connection, organization_id, "member removed", user_id)
    return dict(row)


async def _list(state: Path | None, organization_id: UUID) -> list[dict[str, object]]:
    async with database(find_database(state)) as connection:
        await require_organization(connection, organization_id, state)
        return [dict(row) for row in await connection.fetch(_LIST, organization_id)]


async def _audit(connection: Connection, organization_id: UUID, action: str, user_id: UUID) -> None:
    await write_audit(
        connection,
        organization_id=organization_id,
        actor=operator(),
        action=action,
        subject=str(user_id),
    )


_ADD: Final = """
INSERT INTO members (organization_id, user_id) VALUES ($1, $2) ON CONFLICT DO NOTHING
RETURNING organization_id, user_id, joined_at
"""
_REMOVE: Final = """
DELETE FROM members WHERE organization_id = $1 AND user_id = $2 RETURNING organization_id, user_id, joined_at
"""
_LIST: Final = """
SELECT organization_id, user_id, joined_at FROM members WHERE organization_id = $1 ORDER BY joined_at, user_id
"""
