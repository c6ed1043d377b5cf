"""`callfold key`: the API keys of an organization. Only a hash of each is kept: a key is shown once."""

import asyncio
from pathlib import Path
from typing import Annotated, Final
from uuid import UUID, uuid4

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
from services.ops.org import check_name
from services.ops.printing import console, print_json, table
from services.ops.program import suggestion
from shared.credentials import key_hash, key_hint, key_livemode, new_key
from shared.database import Connection

app = typer.Typer(
    cls=Group, no_args_is_help=True, help="Create, list and revoke the API keys of an organization."
)

OrganizationOption = Annotated[
    str, typer.Option("--organization", metavar="UUID", help="The organization's id.", show_default=False)
]


@app.command(cls=Command)
def create(
    organization: OrganizationOption,
    name: Annotated[str, typer.Option(metavar="TEXT", help="What the key is for.")] = "",
    test: Annotated[bool, typer.Option("--test", help="A key that sees test calls only.")] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create an API key, and show it this one time."""
    made = asyncio.run(_create(state, read_uuid(organization, "--organization"), name, livemode=not test))
    if as_json:
        print_json(made)
        return
    typer.echo(f"{made['key']}\n")
    typer.echo(
        f"The key {made['id']} of organization {made['organization_id']} sees its {_mode(made)} calls."
    )
    typer.echo("Keep it now: it is kept nowhere else, and not shown again.")


@app.command("list", cls=Command)
def list_keys(
    organization: OrganizationOption, state: StateOption = None, as_json: JsonOption = False
) -> None:
    """List an organization's keys, the oldest first: what each is for and how it begins and ends."""
    found = asyncio.run(_list(state, read_uuid(organization, "--organization")))
    if as_json:
        print_json(found)
        return
    rows = [
        (
            key["id"],
            key["hint"],
            _mode(key),
            key["name"],
            _minute(key["created_at"]),
            _minute(key["revoked_at"]),
        )
        for key in found
    ]
    console().print(table(["id", "key", "mode", "name", "created (UTC)", "revoked (UTC)"], rows))


@app.command(cls=Command)
def revoke(
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="The key's id, or the key itself.", show_default=False)
    ],
    organization: Annotated[
        str | None,
        typer.Option("--organization", metavar="UUID", help="Revoke it only if it is this organization's."),
    ] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Revoke an API key: from now on no request with it is answered."""
    owner = None if organization is None else read_uuid(organization, "--organization")
    revoked = asyncio.run(_revoke(state, key.strip(), owner))
    if as_json:
        print_json(revoked)
        return
    typer.echo(f"The key {revoked['id']} ({revoked['hint']}) is revoked.")


async def create_key(
    connection: Connection, organization_id: UUID, name: str, *, livemode: bool
) -> dict[str, object]:
    """A new key, with the key itself under "key"; the organization must be there."""
    key = new_key(livemode)
    row = await connection.fetchrow(
        _CREATE, organization_id, uuid4(), name, livemode, key_hash(key), key_hint(key)
    )
    return {"key": key, **(row or {})}


async def _create(
    state: Path | None, organization_id: UUID, name: str, *, livemode: bool
) -> dict[str, object]:
    name = check_name(name) if name else name
    async with database(find_database(state)) as connection:
        await require_organization(connection, organization_id, state)
        return await create_key(connection, organization_id, name, livemode=livemode)


async def _list(state: Path | None, organization_id: UUID) -> list[dict[str, object]]:
    async with database(find_database(state)) as connection:
        await require_organization(connection, organization_id, state)
        return [dict(row) for row in await connection.fetch(_LIST, organization_id)]


async def _revoke(state: Path | None, key: str, organization_id: UUID | None) -> dict[str, object]:
    is_key = key_livemode(key) is not None
    key_id = None if is_key else read_uuid(key, "The key's id")
    hashed = key_hash(key) if is_key else None
    async with database(find_database(state)) as connection, connection.transaction():
        found = await connection.fetch(_FIND, key_id, hashed, organization_id)
        if not found:
            listing = suggestion("key", "list", "--organization", organization_id or "UUID", state=state)
            raise Failure(f"There is no such key: {listing} shows an organization's keys.")
        row = found[0]
        if row["revoked_at"] is not None:
            raise Failure(
                f"The key {row['id']} was revoked before, at {row['revoked_at']:%Y-%m-%d %H:%M:%S} UTC."
            )
        return dict(await connection.fetchrow(_REVOKE, row["organization_id"], row["id"]) or {})


def _mode(key: dict[str, object]) -> str:
    return "live" if key["livemode"] else "test"


def _minute(instant: object) -> str:
    return "" if instant is None else f"{instant:%Y-%m-%d %H:%M}"


_COLUMNS: Final = "id, organization_id, livemode, name, hint, created_at"
_CREATE: Final = f"""
INSERT INTO api_keys (organization_id, id, name, livemode, key_hash, hint) VALUES ($1, $2, $3, $4, $5, $6)
RETURNING {_COLUMNS}
"""  # noqa: S608
_LIST: Final = f"""
SELECT {_COLUMNS}, revoked_at FROM api_keys WHERE organization_id = $1 ORDER BY created_at, id
"""  # noqa: S608
_FIND: Final = """
SELECT organization_id, id, revoked_at FROM api_keys
WHERE (id = $1 OR key_hash = $2) AND organization_id = coalesce($3, organization_id)
FOR UPDATE
"""
_REVOKE: Final = f"""
UPDATE api_keys SET revoked_at = now() WHERE organization_id = $1 AND id = $2 RETURNING {_COLUMNS}, revoked_at
"""  # noqa: S608
