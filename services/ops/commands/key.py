"""`callfold key`: the API keys of an organization. Only a hash of each is kept: a key is shown once."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID, uuid4

import typer

from services.ops.addresses import database, find_database
from services.ops.commands.command_connection import operating
from services.ops.commands.org import check_name
from services.ops.terminal.failure import Failure
from services.ops.terminal.operator import audit
from services.ops.terminal.options import (
    JsonOption,
    OrganizationOption,
    StateOption,
    organization_option,
    read_uuid,
)
from services.ops.terminal.plain_help import Command, Group
from services.ops.terminal.printing import minute, mode, print_json, print_table
from services.ops.terminal.program import suggestion
from shared.api_keys import SCOPES, Scope, key_hash, key_hint, key_livemode, new_key
from shared.calls.zones import time_zone
from shared.database.connection import Connection

app = typer.Typer(
    cls=Group, no_args_is_help=True, help="Create, list and revoke the API keys of an organization."
)


@app.command(cls=Command)
def create(
    organization_id: OrganizationOption,
    name: Annotated[
        str, typer.Option(metavar="TEXT", help="The key's name, for lists. Default: empty.")
    ] = "",
    test: Annotated[
        bool, typer.Option("--test", help="Create a key for test calls. Default: a key for live calls.")
    ] = False,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope",
            metavar="SCOPE",
            help=f"A scope of the key: {', '.join(SCOPES)}. Repeatable. Default: all scopes.",
            show_default=False,
        ),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(
            metavar="WHEN",
            help="When the key expires: a day such as 2027-01-31 (at its end in the organization's time "
            "zone), a time with an offset, or a number of days from now such as 90d. Default: never.",
        ),
    ] = None,
    network: Annotated[
        list[str] | None,
        typer.Option(
            "--network",
            metavar="CIDR",
            help="A network that may use the key, such as 203.0.113.0/24. Repeatable. Default: any network.",
            show_default=False,
        ),
    ] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create an API key and show it once."""
    scopes, networks = _read_scopes(scope), _read_networks(network)
    made = asyncio.run(
        _create(
            state,
            organization_id,
            check_name(name) if name else name,
            expires,
            livemode=not test,
            scopes=scopes,
            allowed_networks=networks,
        )
    )
    if as_json:
        print_json(made)
        return
    typer.echo(made["key"])
    created = (
        f"Created key {made['id']} for {mode(not test)} calls of organization {made['organization_id']}."
    )
    typer.echo(created, err=True)
    typer.echo("Store the key now: callfold keeps its hash and cannot show it again.", err=True)


@app.command("list", cls=Command)
def list_keys(
    organization_id: OrganizationOption, state: StateOption = None, as_json: JsonOption = False
) -> None:
    """List an organization's keys, the oldest first.

    Each key is listed by its first and last characters, with its name, scopes and networks. The time of the
    last use is up to a minute late.
    """
    found = asyncio.run(_list(state, organization_id))
    if as_json:
        print_json(found)
        return
    rows = [
        (
            key["id"],
            key["hint"],
            mode(key["livemode"]),
            key["name"],
            "all" if key["scopes"] == list(SCOPES) else _listed(key["scopes"]),
            "any" if key["allowed_networks"] is None else _listed(key["allowed_networks"]),
            *(minute(key[f"{what}_at"]) for what in ("created", "expires", "last_used", "revoked")),
        )
        for key in found
    ]
    columns = ["id", "key", "mode", "name", "scopes", "networks"]
    instants = ["created (UTC)", "expires (UTC)", "last used (UTC)", "revoked (UTC)"]
    print_table(columns + instants, rows)


@app.command(cls=Command)
def revoke(
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="The key's id, or the key itself.", show_default=False)
    ],
    organization_id: Annotated[
        UUID | None,
        organization_option("Revoke the key only if it belongs to this organization. Default: any."),
    ] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Revoke an API key. The API refuses every later request with it."""
    revoked = asyncio.run(_revoke(state, key.strip(), organization_id))
    if as_json:
        print_json(revoked)
        return
    typer.echo(f"The key {revoked['id']} ({revoked['hint']}) is revoked.")


async def create_key(
    connection: Connection,
    organization_id: UUID,
    name: str,
    *,
    livemode: bool,
    scopes: Sequence[Scope] = SCOPES,
    expires_at: datetime | None = None,
    allowed_networks: Sequence[str] | None = None,
) -> dict[str, object]:
    """Creates a key and its audit line in one transaction. The result has the key itself under "key".

    The organization must exist. Raises asyncpg's errors."""
    key, key_id = new_key(livemode), uuid4()
    async with connection.transaction():
        row = await connection.fetchrow(
            _CREATE,
            organization_id,
            key_id,
            name,
            livemode,
            key_hash(key),
            key_hint(key),
            scopes,
            expires_at,
            allowed_networks,
        )
        details = f"{mode(livemode)} calls, scopes: {', '.join(scopes)}"
        await audit(connection, "key created", organization_id, details, subject=key_id)
    return {"key": key, **(row or {})}


def read_expiry(text: str, now: datetime, zone: tzinfo) -> datetime:
    """The time at which a key expires, as an operator types it; days end in `zone`. Raises Failure."""
    try:
        if text.endswith("d") and text[:-1].isdecimal():
            expires_at = now + timedelta(days=int(text[:-1]))
        elif len(text) == len("2026-11-24"):
            expires_at = datetime.combine(date.fromisoformat(text) + timedelta(days=1), time(), zone)
        else:
            expires_at = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        expires_at = None
    if expires_at is None or expires_at.tzinfo is None:
        raise Failure(
            "--expires must be a day such as 2027-01-31, a time with an offset such as 2027-01-31T18:00:00Z, "
            f"or a number of days such as 90d, not {text!r}."
        )
    if expires_at <= now:
        raise Failure(f"--expires must be in the future, not {text}.")
    return expires_at


def _read_scopes(texts: list[str] | None) -> list[Scope]:
    for text in texts or ():
        if text not in SCOPES:
            raise Failure(f"--scope must be one of {', '.join(SCOPES)}, not {text!r}.")
    return [scope for scope in SCOPES if not texts or scope in texts]


def _read_networks(texts: list[str] | None) -> list[str] | None:
    """Networks as they are stored; a bare address is a network of one address."""
    try:
        return [str(ip_network(text.strip())) for text in texts] if texts else None
    except ValueError as error:
        raise Failure(f"--network must be a network such as 203.0.113.0/24: {error}.") from None


async def _create(
    state: Path | None, organization_id: UUID, name: str, expires: str | None, **limits: Any
) -> dict[str, object]:
    async with operating(state, organization_id) as connection:
        if expires is not None:
            zone = await connection.fetchval(_TIME_ZONE, organization_id)
            limits["expires_at"] = read_expiry(expires.strip(), datetime.now(UTC), time_zone(zone))
        return await create_key(connection, organization_id, name, **limits)


async def _list(state: Path | None, organization_id: UUID) -> list[dict[str, Any]]:
    async with operating(state, organization_id) as connection:
        return [dict(row) for row in await connection.fetch(_LIST, organization_id)]


async def _revoke(state: Path | None, key: str, organization_id: UUID | None) -> dict[str, object]:
    is_key = key_livemode(key) is not None
    key_id = None if is_key else read_uuid(key, "The key's id")
    hashed = key_hash(key) if is_key else None
    async with database(find_database(state)) as connection, connection.transaction():
        found = await connection.fetch(_FIND, key_id, hashed, organization_id)
        if not found:
            listing = suggestion("key", "list", "--organization", organization_id or "UUID", state=state)
            raise Failure(f"There is no such key. {listing} lists an organization's keys.")
        row = found[0]
        if row["revoked_at"] is not None:
            raise Failure(
                f"The key {row['id']} was already revoked at {row['revoked_at']:%Y-%m-%d %H:%M:%S} UTC."
            )
        revoked = await connection.fetchrow(_REVOKE, row["organization_id"], row["id"])
        await audit(connection, "key revoked", row["organization_id"], subject=row["id"])
        return dict(revoked or {})


def _listed(words: object) -> str:
    return ", ".join(words) if isinstance(words, list) else ""


_COLUMNS: Final = (
    "id, organization_id, livemode, name, hint, created_at, scopes, expires_at, "
    "allowed_networks::text[] AS allowed_networks"
)
_CREATE: Final = f"""
INSERT INTO api_keys (
    organization_id, id, name, livemode, key_hash, hint, scopes, expires_at, allowed_networks
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
RETURNING {_COLUMNS}
"""
_LIST: Final = f"""
SELECT {_COLUMNS}, revoked_at, last_used_at FROM api_keys WHERE organization_id = $1 ORDER BY created_at, id
"""
_TIME_ZONE: Final = "SELECT time_zone FROM organizations WHERE id = $1"
_FIND: Final = """
SELECT organization_id, id, revoked_at FROM api_keys
WHERE (id = $1 OR key_hash = $2) AND organization_id = coalesce($3, organization_id)
FOR UPDATE
"""
_REVOKE: Final = f"""
UPDATE api_keys SET revoked_at = now() WHERE organization_id = $1 AND id = $2 RETURNING {_COLUMNS}, revoked_at
"""
