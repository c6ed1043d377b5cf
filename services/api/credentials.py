"""Credentials: who asks, for which organization, and in which mode."""

import hmac
from typing import Annotated, Final, Literal, NamedTuple, get_args
from uuid import UUID
from zoneinfo import ZoneInfo

from fastapi import Depends, Header, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes
from pydantic.json_schema import SkipJsonSchema

from services.api.database import Database
from services.api.errors import forbidden, invalid_parameter, unauthorized
from shared import logs
from shared.count import time_zone
from shared.credentials import key_hash, key_livemode

# Found by the hash's own index. How long that takes tells nothing of any key: hashes are not the secret.
KEY: Final = """
SELECT api_keys.id, api_keys.organization_id, api_keys.livemode, api_keys.key_hash, organizations.time_zone,
    pg_postmaster_start_time()::text || ' ' || pg_current_snapshot()::text AS state
FROM api_keys JOIN organizations ON organizations.id = api_keys.organization_id
WHERE api_keys.key_hash = $1 AND api_keys.revoked_at IS NULL
"""


Scope = Literal["calls:read", "calls:write", "analytics:read"]
"""What credentials may let somebody do: see calls, delete them, see what is counted of them."""

SCOPES: Final[frozenset[Scope]] = frozenset(get_args(Scope))


class Caller(NamedTuple):
    """Who asks: all that a route may serve them follows from it."""

    organization_id: UUID
    livemode: bool
    zone: ZoneInfo
    actor: str
    """Who it is, for the audit log: an API key by its id, a user by theirs."""
    scopes: frozenset[Scope]
    """What they may do."""
    state: str
    """Which state of the database the credentials were found in: while it is the same, so is every answer."""


_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="Bearer",
    description="An API key: `kros_live_…` sees live data, `kros_test_…` test data.",
)
_api_key = APIKeyHeader(
    name="x-api-key", auto_error=False, scheme_name="x-api-key", description="The same API key, by itself."
)


async def caller(
    request: Request,
    needed: SecurityScopes,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
    api_key: Annotated[str | None, Security(_api_key)],
    x_organization_id: Annotated[
        str | SkipJsonSchema[None],
        Header(
            description="The organization that is asked about: the key's own, as it is without this.",
            json_schema_extra={"format": "uuid"},
        ),
    ] = None,
) -> Caller:
    """Whose credentials the request bears, who may do what the route needs.

    Raises `ApiError`: 401 without credentials that we know, 400 for an ill-formed organization, 403 for one
    that is not theirs and for a scope that they lack, 503 when the database can't be asked.
    """
    credentials = bearer.credentials if bearer else None
    if credentials and api_key and credentials != api_key:
        raise unauthorized("Authorization and x-api-key hold different keys; send one of them.")
    found = await _holder_of_key(request.app.state.databases.primary, credentials or api_key)
    if x_organization_id is not None and _uuid(x_organization_id) != found.organization_id:
        raise forbidden("These credentials are not of the organization in x-organization-id.")
    for scope in needed.scopes:
        require(found, scope)
    return found


def require(caller: Caller, scope: str) -> None:
    """Raises the 403 `ApiError` when the caller lacks this scope: for routes whose query decides it."""
    if scope not in caller.scopes:
        raise forbidden(f"These credentials lack the scope {scope}.")


AnyCaller = Annotated[Caller, Depends(caller)]
Reader = Annotated[Caller, Security(caller, scopes=["calls:read"])]
Writer = Annotated[Caller, Security(caller, scopes=["calls:write"])]
Analyst = Annotated[Caller, Security(caller, scopes=["analytics:read"])]


async def _holder_of_key(database: Database, key: str | None) -> Caller:
    if not key:
        raise unauthorized("Send an API key: Authorization: Bearer kros_live_…, or x-api-key.")
    livemode = key_livemode(key)
    if livemode is None:
        # The place of a JWT of Supabase Auth: a Bearer that is no key of ours.
        raise unauthorized("These credentials are no API key: one begins with kros_live_ or kros_test_.")
    hashed = key_hash(key)
    async with database.connection() as connection:
        row = await connection.fetchrow(KEY, hashed)
    # An unknown key takes the same way as one that is known, up to here.
    same = hmac.compare_digest(row["key_hash"] if row else bytes(len(hashed)), hashed)
    if row is None or not same or row["livemode"] != livemode:
        raise unauthorized("This API key is unknown or revoked.")
    logs.about(organization_id=row["organization_id"], key_id=row["id"])
    return Caller(
        row["organization_id"],
        livemode,
        time_zone(row["time_zone"]),
        f"API key {row['id']}",
        SCOPES,
        row["state"],
    )


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise invalid_parameter("x-organization-id", "must be a UUID") from None
