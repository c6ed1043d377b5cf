"""Credentials: who sends a request, for which organization, and in which mode."""

import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple
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
from services.api.database.counts_state import OF_ORGANIZATION, CountsState, counts_state
from services.api.database.databases import ApiWithDatabases, Database
from services.api.http.errors import ApiError, forbidden, invalid_parameter, unauthorized
from shared.api_keys import SCOPES, key_hash, key_livemode
from shared.calls.zones import time_zone
from shared.database.statement import Statement
from shared.monitoring import logs

if TYPE_CHECKING:
    from services.api.access.tokens import Tokens

# The lookup uses the index on the hash. Its duration reveals nothing about keys, because hashes are not
# secret.
KEYS: Final = Statement(f"""
SELECT key.*, state.*
FROM unnest(:hashes::bytea[]) AS asked (hash), callfold_key(asked.hash) AS key,
    {OF_ORGANIZATION.format("key.organization_id")} AS state
""")
MEMBERS: Final = Statement(f"""
SELECT asked.number, member.*, state.*
FROM unnest(:user_ids::uuid[], :organization_ids::uuid[])
        WITH ORDINALITY AS asked (user_id, organization_id, number),
    callfold_member(asked.user_id, asked.organization_id) AS member,
    {OF_ORGANIZATION.format("member.organization_id")} AS state
""")

_SAY_WHO: Final = frozenset({b"authorization", b"x-api-key", b"x-organization-id"})

_Asked = tuple[UUID, UUID | None]


class Principal(NamedTuple):
    """Who sends a request. A route decides by this alone what it may return."""

    organization_id: UUID
    livemode: bool
    zone: ZoneInfo
    actor: str
    """The actor for the audit log: an API key or a user, by id."""
    scopes: frozenset[str]
    """The scopes that the credentials have."""
    plan: str
    """The organization's plan, which sets its rate limits."""
    state: CountsState
    """The state of the organization's counts at the moment when the credentials were found."""


class _Credentials(SecurityBase):
    """The dependency that gives routes their principal. There is only one, because each dependency costs a
    request more than reading a header. FastAPI documents it as the scheme `Bearer`; `document.py` adds
    `x-api-key`."""

    def __init__(self) -> None:
        self.scheme_name = "Bearer"
        self.model = HTTPBearer(
            description="An API key: `kros_live_…` sees live data, `kros_test_…` sees test data. If the "
            "operator enables it, also a user's JWT of Supabase Auth, which sees live data."
        )

    async def __call__(self, request: Request, needed: SecurityScopes) -> Principal:
        """The principal of the request's credentials, which have the scopes that the route requires.

        Raises `ApiError`: 401 for missing or unknown credentials, 400 for a malformed organization id, 403
        for another organization, a missing scope or a disallowed network. Also 429 beyond the plan's
        limits, and 503 when the database is unavailable.
        """
        said = _said_of_themselves(request)
        principal = await _holder(request, said)
        # Requests that are refused from here on also count: their credentials are known.
        await ApiWithAccess.of(request).rate_limits.count(request.scope, principal.plan, principal.actor)
        _check_permissions(principal, said, needed.scopes)
        return principal


authenticate: Final = _Credentials()


async def principal_again(request: Request, scopes: Sequence[str]) -> Principal:
    """The present principal of a request whose answer is still being sent. Raises the same as a new request
    would, but does not count as one."""
    said = _said_of_themselves(request)
    principal = await _holder(request, said)
    _check_permissions(principal, said, scopes)
    return principal


async def _holder(request: Request, said: Mapping[str, str]) -> Principal:
    """The holder of the credentials in these headers. Raises `ApiError`."""
    scheme, _, bearer = said.get("authorization", "").partition(" ")
    bearer = bearer.strip() if scheme.lower() == "bearer" else ""
    api_key = said.get("x-api-key", "")
    if bearer and api_key and bearer != api_key:
        raise unauthorized("Authorization and x-api-key have different values; send only one of them.")
    api = ApiWithAccess.of(request)
    if api.tokens is not None and bearer and not api_key and key_livemode(bearer) is None:
        user_id = await api.tokens.user(bearer, api.clock())
        return await _member(api, user_id, _uuid(said.get("x-organization-id")))
    return await _holder_of_key(api, request, bearer or api_key)


def _check_permissions(principal: Principal, said: Mapping[str, str], scopes: Sequence[str]) -> None:
    """Raises `ApiError` unless the principal has the organization that the headers name, and the scopes."""
    if _uuid(said.get("x-organization-id")) not in (None, principal.organization_id):
        raise _not_theirs()
    for scope in scopes:
        require(principal, scope)


def _said_of_themselves(request: Request) -> dict[str, str]:
    """The headers that identify the client, by name. Raises the 401 `ApiError` for two headers of one name
    with different values, because a proxy before us may have checked the other one."""
    said: dict[bytes, bytes] = {}
    for name, value in request.scope["headers"]:
        if name in _SAY_WHO and said.setdefault(name, value) != value:
            raise unauthorized(
                f"The header {name.decode()} appears twice with different values; send it once."
            )
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in said.items()}


def require(principal: Principal, scope: str) -> None:
    """Raises the 403 `ApiError` if the principal lacks this scope: for routes whose query decides the
    scope."""
    if scope not in principal.scopes:
        raise forbidden(f"These credentials lack the scope {scope}, which this request requires.")


class CredentialLookups:
    """Finds credentials in the database: those of all waiting requests, in one statement."""

    def __init__(self, primary: Database) -> None:
        self._primary = primary
        self.keys = Lookups(self._keys)
        """By the key's hash."""
        self.members = Lookups(self._members)
        """By the user, and the organization that they request."""

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
    """The parts of the running API that identify who sends a request."""

    clock: Callable[[], datetime]
    """Returns the current time in UTC."""
    credentials: CredentialLookups
    tokens: "Tokens | None"
    """None: users' tokens are not accepted."""
    key_uses: KeyUses
    rate_limits: RateLimits
    trusted_proxies: Sequence[Network]


AnyPrincipal = Annotated[Principal, Depends(authenticate)]
MayReadCalls = Annotated[Principal, Security(authenticate, scopes=["calls:read"])]
MayDeleteCalls = Annotated[Principal, Security(authenticate, scopes=["calls:write"])]
MayManageWebhooks = Annotated[Principal, Security(authenticate, scopes=["webhooks:write"])]
MayReadFigures = Annotated[Principal, Security(authenticate, scopes=["analytics:read"])]


async def _holder_of_key(api: ApiWithAccess, request: Request, key: str) -> Principal:
    if not key:
        raise unauthorized(
            "The request has no API key; send one as Authorization: Bearer kros_live_… or in x-api-key."
        )
    livemode = key_livemode(key)
    if livemode is None:
        raise unauthorized(
            "These credentials are not an API key; a key begins with kros_live_ or kros_test_."
        )
    hashed = key_hash(key)
    row = await api.credentials.keys.get(hashed)
    # Up to here, unknown and known keys take the same path.
    same = hmac.compare_digest(row["key_hash"] if row else bytes(len(hashed)), hashed)
    now = api.clock()
    expired = row is not None and row["expires_at"] is not None and row["expires_at"] <= now
    if row is None or not same or row["livemode"] != livemode or expired:
        raise unauthorized("This API key is unknown, expired or revoked; send a valid key.")
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
        state=counts_state(row),
    )


async def _member(api: ApiWithAccess, user_id: UUID, organization_id: UUID | None) -> Principal:
    """A user as a member of this organization, or else of their first one. Users have all scopes, for live
    data."""
    row = await api.credentials.members.get((user_id, organization_id))
    if row is None:
        raise (
            forbidden("This user is not a member of any organization; ask the operator to add them.")
            if organization_id is None
            else _not_theirs()
        )
    logs.about(organization_id=row["organization_id"], user_id=user_id)
    return Principal(
        organization_id=row["organization_id"],
        livemode=True,
        zone=time_zone(row["time_zone"]),
        actor=f"user {user_id}",
        scopes=frozenset(SCOPES),
        plan=row["plan"],
        state=counts_state(row),
    )


def _not_theirs() -> ApiError:
    return forbidden(
        "These credentials do not belong to the organization in x-organization-id; omit the header or "
        "correct it."
    )


def _check_address(address: Address | None, allowed_networks: Sequence[Network]) -> None:
    """Raises the 403 `ApiError` for a request from another network."""
    if address is None or not is_in(address, allowed_networks):
        raise forbidden(
            f"This API key must not be used from {address or 'an unknown address'}: its networks are "
            "restricted."
        )


def _uuid(text: str | None) -> UUID | None:
    try:
        return None if text is None else UUID(text)
    except ValueError:
        raise invalid_parameter("x-organization-id", "must be a UUID") from None
