"""Credentials: who asks, for which organization, and in which mode."""

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from asyncpg import Record
from fastapi import Depends, Request, Security
from fastapi.openapi.models import HTTPBearer
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase

from services.api.access.batched_lookups import Lookups
from services.api.access.client_address import Address, Network, client_address, is_in
from services.api.access.key_uses import KeyUses
from services.api.access.rate_limits import RateLimits
from services.api.access.tokens import Tokens
from services.api.database.databases import STATE, ApiWithDatabases, Database
from services.api.http.errors import ApiError, forbidden, invalid_parameter, unauthorized
from shared.api_keys import SCOPES, key_hash, key_livemode
from shared.calls.zones import time_zone
from shared.database.statement import Statement
from shared.monitoring import logs

# Found by the hash's own index. How long that takes tells nothing of any key: hashes are not the secret.
KEYS: Final = Statement(f"""
SELECT key.*, {STATE} AS state
FROM unnest(:hashes::bytea[]) AS asked (hash), callfold_key(asked.hash) AS key
""")
MEMBERS: Final = Statement(f"""
SELECT asked.number, member.*, {STATE} AS state
FROM unnest(:user_ids::uuid[], :organization_ids::uuid[])
        WITH ORDINALITY AS asked (user_id, organization_id, number),
    callfold_member(asked.user_id, asked.organization_id) AS member
""")

_SAY_WHO: Final = frozenset({b"authorization", b"x-api-key", b"x-organization-id"})

_Asked = tuple[UUID, UUID | None]


class Principal(NamedTuple):
    """Who sends a request: all that a route may serve it follows from this."""

    organization_id: UUID
    livemode: bool
    zone: ZoneInfo
    actor: str
    """Who it is, for the audit log: an API key by its id, a user by theirs."""
    scopes: frozenset[str]
    """What they may do."""
    plan: str
    """The organization's plan, by which its requests are limited."""
    state: str | None
    """Which state of the primary the credentials were found in (`STATE`): while it is the same, so is every
    answer."""


class _Credentials(SecurityBase):
    """The dependency by which routes get their principal: a single one, for each costs a request more than
    reading a header does. To FastAPI it is the scheme `Bearer`; `document.py` adds what else may be borne."""

    def __init__(self) -> None:
        self.scheme_name = "Bearer"
        self.model = HTTPBearer(
            description="An API key: `kros_live_…` sees live data, `kros_test_…` test data. Or, where that "
            "is set up, a user's JWT of Supabase Auth, which sees live data."
        )

    async def __call__(self, request: Request, needed: SecurityScopes) -> Principal:
        """The principal whose credentials the request bears, with the scopes that the route needs.

        Raises `ApiError`: 401 without credentials that we know, 400 for an ill-formed organization, 403 for
        one that is not theirs and for a scope that they lack, 429 beyond the limits of their plan, 503 when
        the database can't be asked.
        """
        said = _said_of_themselves(request)
        scheme, _, bearer = said.get("authorization", "").partition(" ")
        bearer = bearer.strip() if scheme.lower() == "bearer" else ""
        api_key = said.get("x-api-key", "")
        organization_id = said.get("x-organization-id")
        if bearer and api_key and bearer != api_key:
            raise unauthorized("Authorization and x-api-key hold different keys; send one of them.")
        api = ApiWithAccess.of(request)
        if api.tokens is not None and bearer and not api_key and key_livemode(bearer) is None:
            user_id = await api.tokens.user(bearer, api.clock())
            principal = await _member(api, user_id, _uuid(organization_id))
        else:
            principal = await _holder_of_key(api, request, bearer or api_key)
        # What is refused from here on counts, too: it was somebody's request.
        await api.rate_limits.count(request.scope, principal.plan, principal.actor)
        if _uuid(organization_id) not in (None, principal.organization_id):
            raise _not_theirs()
        for scope in needed.scopes:
            require(principal, scope)
        return principal


authenticate: Final = _Credentials()


def _said_of_themselves(request: Request) -> dict[str, str]:
    """The headers that say who asks, by name. Raises the 401 `ApiError` for two of one name that disagree:
    whoever stands before us may have believed the other one."""
    said: dict[bytes, bytes] = {}
    for name, value in request.scope["headers"]:
        if name in _SAY_WHO and said.setdefault(name, value) != value:
            raise unauthorized(f"The header {name.decode()} is given twice; send one of them.")
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in said.items()}


def require(principal: Principal, scope: str) -> None:
    """Raises the 403 `ApiError` when the principal lacks this scope: for routes whose query decides it."""
    if scope not in principal.scopes:
        raise forbidden(f"These credentials lack the scope {scope}.")


class CredentialLookups:
    """Finds credentials in the database: those of all requests that wait at once, in one statement."""

    def __init__(self, primary: Database) -> None:
        self._primary = primary
        self.keys = Lookups(self._keys)
        """By the key's hash."""
        self.members = Lookups(self._members)
        """By the user, and the organization that they ask about."""

    async def _keys(self, hashes: Sequence[bytes]) -> dict[bytes, Record]:
        async with self._primary.connection() as connection:
            rows = await KEYS.fetch(connection, hashes=hashes)
        return {row["key_hash"]: row for row in rows}

    async def _members(self, asked: Sequence[_Asked]) -> dict[_Asked, Record]:
        async with self._primary.connection() as connection:
            rows = await MEMBERS.fetch(
                connection,
                user_ids=[user_id for user_id, _ in asked],
                organization_ids=[organization_id for _, organization_id in asked],
            )
        return {asked[row["number"] - 1]: row for row in rows}


@dataclass(frozen=True, kw_only=True)
class ApiWithAccess(ApiWithDatabases):
    """The running API, as far as it takes to tell who sends a request."""

    clock: Callable[[], datetime]
    """The time now, in UTC."""
    credentials: CredentialLookups
    tokens: Tokens | None
    """None: users' tokens are not taken."""
    key_uses: KeyUses
    rate_limits: RateLimits
    trusted_proxies: Sequence[Network]


AnyPrincipal = Annotated[Principal, Depends(authenticate)]
MayReadCalls = Annotated[Principal, Security(authenticate, scopes=["calls:read"])]
MayDeleteCalls = Annotated[Principal, Security(authenticate, scopes=["calls:write"])]
MayReadFigures = Annotated[Principal, Security(authenticate, scopes=["analytics:read"])]


async def _holder_of_key(api: ApiWithAccess, request: Request, key: str) -> Principal:
    if not key:
        raise unauthorized("Send an API key: Authorization: Bearer kros_live_…, or x-api-key.")
    livemode = key_livemode(key)
    if livemode is None:
        raise unauthorized("These credentials are no API key: one begins with kros_live_ or kros_test_.")
    hashed = key_hash(key)
    row = await api.credentials.keys.get(hashed)
    # An unknown key takes the same way as one that is known, up to here.
    same = hmac.compare_digest(row["key_hash"] if row else bytes(len(hashed)), hashed)
    now = api.clock()
    expired = row is not None and row["expires_at"] is not None and row["expires_at"] <= now
    if row is None or not same or row["livemode"] != livemode or expired:
        raise unauthorized("This API key is unknown, expired or revoked.")
    logs.about(organization_id=row["organization_id"], key_id=row["id"])
    if row["allowed_networks"] is not None:
        _check_address(client_address(request, api.trusted_proxies), row["allowed_networks"])
    api.key_uses.note(row["id"], now)
    return Principal(
        organization_id=row["organization_id"],
        livemode=livemode,
        zone=time_zone(row["time_zone"]),
        actor=f"API key {row['id']}",
        scopes=frozenset(row["scopes"]),
        plan=row["plan"],
        state=row["state"],
    )


async def _member(api: ApiWithAccess, user_id: UUID, organization_id: UUID | None) -> Principal:
    """A user as a member of this organization, or of their first. Users may do all that there is, with live
    data."""
    row = await api.credentials.members.get((user_id, organization_id))
    if row is None:
        raise forbidden("This user belongs to no organization.") if organization_id is None else _not_theirs()
    logs.about(organization_id=row["organization_id"], user_id=user_id)
    return Principal(
        organization_id=row["organization_id"],
        livemode=True,
        zone=time_zone(row["time_zone"]),
        actor=f"user {user_id}",
        scopes=frozenset(SCOPES),
        plan=row["plan"],
        state=row["state"],
    )


def _not_theirs() -> ApiError:
    return forbidden("These credentials are not of the organization in x-organization-id.")


def _check_address(address: Address | None, allowed_networks: Sequence[Network]) -> None:
    """Raises the 403 `ApiError` for a request from elsewhere."""
    if address is None or not is_in(address, allowed_networks):
        raise forbidden(f"This API key may not be used from {address or 'an address that is not told'}.")


def _uuid(text: str | None) -> UUID | None:
    try:
        return None if text is None else UUID(text)
    except ValueError:
        raise invalid_parameter("x-organization-id", "must be a UUID") from None
