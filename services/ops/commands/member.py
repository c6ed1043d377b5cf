"""`callfold member`: the users whose JWTs give access to an organization's calls."""

import asyncio
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID

import typer

from services.ops.addresses import database, find_database
from services.ops.commands.command_connection import operating
from services.ops.terminal.failure import Failure
from services.ops.terminal.operator import audit
from services.ops.terminal.options import JsonOption, OrganizationOption, StateOption, uuid_argument
from services.ops.terminal.plain_help import Command, Group
from services.ops.terminal.printing import minute, print_json, print_table
from services.ops.terminal.program import suggestion

app = typer.Typer(
    cls=Group, no_args_is_help=True, help="Add, list and remove the users who belong to an organization."
)

UserArgument = Annotated[
    UUID, uuid_argument("USER", "The user's id: the claim `sub` of the user's JWT.", "USER")
]


@app.command(cls=Command)
def add(
    user_id: UserArgument,
    organization_id: OrganizationOption,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add a user to an organization.

    The user's JWTs then give access to the organization's live calls: to read, count and delete them.
    """
    added = asyncio.run(_add(state, organization_id, user_id))
    if as_json:
        print_json(added)
        return
    typer.echo(f"Added user {user_id} to organization {organization_id}.")


@app.command(cls=Command)
def remove(
    user_id: UserArgument,
    organization_id: OrganizationOption,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a user from an organization. The user's JWTs no longer give access to it."""
    removed = asyncio.run(_remove(state, organization_id, user_id))
    if as_json:
        print_json(removed)
        return
    typer.echo(f"Removed user {user_id} from organization {organization_id}.")


@app.command("list", cls=Command)
def list_members(
    organization_id: OrganizationOption, state: StateOption = None, as_json: JsonOption = False
) -> None:
    """List the users of an organization, the oldest member first."""
    found = asyncio.run(_list(state, organization_id))
    if as_json:
        print_json(found)
        return
    rows = [(member["user_id"], minute(member["joined_at"])) for member in found]
    print_table(["user", "joined (UTC)"], rows)


async def _add(state: Path | None, organization_id: UUID, user_id: UUID) -> dict[str, object]:
    async with operating(state, organization_id) as connection, connection.transaction():
        row = await connection.fetchrow(_ADD, organization_id, user_id)
        if row is None:
            raise Failure(f"User {user_id} already belongs to organization {organization_id}.")
        await audit(connection, "member added", organization_id, subject=user_id)
    return dict(row)


async def _remove(state: Path | None, organization_id: UUID, user_id: UUID) -> dict[str, object]:
    async with database(find_database(state)) as connection, connection.transaction():
        row = await connection.fetchrow(_REMOVE, organization_id, user_id)
        if row is None:
            listing = suggestion("member", "list", "--organization", organization_id, state=state)
            raise Failure(
                f"User {user_id} does not belong to organization {organization_id}. "
                f"{listing} lists its users."
            )
        await audit(connection, "member removed", organization_id, subject=user_id)
    return dict(row)


async def _list(state: Path | None, organization_id: UUID) -> list[dict[str, Any]]:
    async with operating(state, organization_id) as connection:
        return [dict(row) for row in await connection.fetch(_LIST, organization_id)]


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
