"""The OpenAPI document's description of the whole API, and the responses that several routes share.

The descriptions of single routes are in their packages' `documentation`. This module knows no route, and
all of its values are constants.
"""

from collections.abc import Mapping
from typing import Any, Final

from services.api.http.error_codes import ErrorCode
from services.api.http.models import Error, TooManyRequests

TITLE: Final = "callfold"
DESCRIPTION: Final = """
Exact call records and exact daily counts, computed from the events that telephony systems publish.

**Credentials.** Every route except health needs an API key, as `Authorization: Bearer kros_live_…` or in
`x-api-key`. A `kros_live_…` key sees live data and a `kros_test_…` key sees test data; the two never mix. A
request with two different keys is refused. `x-organization-id` is optional; it must name the key's own
organization.

If the operator enables it, the API also accepts a user's JWT of Supabase Auth as Bearer. It sees the live
data of the organizations that the user is a member of.

**Scopes.** Each route lists the scope that it requires. A key has all scopes unless it was created with
fewer.

**Rate limits.** If the organization's plan has limits, answers to its keys and users have the headers
`X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset`. They describe the limit that will be
reached first. A request beyond the limit gets 429 with `Retry-After`.

**Values.** Days are days of the organization's time zone. Timestamps are RFC 3339 in UTC. Money is in cents,
with up to 4 decimals.

**Errors** have one shape: `error` (a sentence), `code` and `details`. An unknown or repeated parameter is
refused, not ignored.

**Browsers.** Pages of the origins that the operator lists may read every answer (CORS). They send credentials
in headers; the API uses no cookies.

Every route except health is also available under `/v1`.
"""
SERVERS: Final[list[dict[str, Any]]] = [
    {"url": "/", "description": "The latest version."},
    {"url": "/v1", "description": "Version 1, today identical to the latest."},
]


def error(
    description: str,
    code: ErrorCode,
    sentence: str,
    *,
    model: type[Error] = Error,
    details: Mapping[str, object] | None = None,
    more: Mapping[str, object] | None = None,
    headers: Mapping[str, object] | None = None,
) -> dict[str, Any]:
    """An error for a route's `responses`: when the route returns it, and an example with these values.
    `more` holds further fields beside `error`, `code` and `details`, as in `ApiError`."""
    example = {"error": sentence, "code": code.name, "details": dict(details or {}), **(more or {})}
    answer = {
        "model": model,
        "description": description,
        "content": {"application/json": {"example": example}},
    }
    return answer if headers is None else {**answer, "headers": headers}


def unavailable(description: str) -> dict[str, Any]:
    """The 503 of a route, with the description of when the route returns it."""
    return error(
        description,
        ErrorCode.DATABASE_UNAVAILABLE,
        "The database is unavailable; retry in a moment.",
        headers={"Retry-After": header("Seconds to wait before a retry.", "integer")},
    )


def header(description: str, type_: str = "string") -> dict[str, Any]:
    """A header of an answer, for a route's `responses`."""
    return {"description": description, "schema": {"type": type_}}


_BAD_PARAMETER = error(
    "A parameter breaks a rule; `details` names both. With the code `TOO_MANY_CALLS`, the request would have "
    "to examine more calls than one request may: narrow the dates.",
    ErrorCode.INVALID_PARAMETER,
    "limit must be at most 100.",
    details={"field": "limit", "rule": "must be at most 100"},
)
_UNAUTHORIZED = error(
    "The credentials are missing, unknown, expired or revoked.",
    ErrorCode.UNAUTHORIZED,
    "This API key is unknown, expired or revoked; send a valid key.",
    headers={"WWW-Authenticate": header("The authentication scheme to use.")},
)
_FORBIDDEN = error(
    "The credentials do not permit this request: wrong scope, organization or network.",
    ErrorCode.FORBIDDEN,
    "These credentials do not belong to the organization in x-organization-id; omit the header or correct "
    "it.",
)
_TOO_MANY = error(
    "The key or user has sent more requests than the organization's plan allows.",
    ErrorCode.RATE_LIMIT_EXCEEDED,
    "The plan's rate limit is reached; retry in 1 s.",
    model=TooManyRequests,
    more={"retry_after": 1},
    headers={
        "Retry-After": header("Seconds to wait before a retry.", "integer"),
        "X-RateLimit-Limit": header(
            "How many requests the limit allows: of several limits, the one that will be reached first.",
            "integer",
        ),
        "X-RateLimit-Remaining": header("How many of these requests are left.", "integer"),
        "X-RateLimit-Reset": header("When the window resets, in seconds since 1970.", "integer"),
    },
)
UNAVAILABLE: Final = unavailable(
    "The API cannot answer now. `DATABASE_UNAVAILABLE`: the database is unreachable or busy. "
    "`DATABASE_OUTDATED`: its tables are missing or too old. `SIGNING_KEYS_UNAVAILABLE`: the keys that "
    "verify users' tokens cannot be read. `ORGANIZATION_BUSY`: other requests of the organization hold all "
    "connections that one organization may use. `TIMED_OUT`: the database query took longer than allowed."
)
_ANYTHING_ELSE = error(
    "Any other error, in the same shape.",
    ErrorCode.INTERNAL,
    "The API failed with an internal error; report it to the operator.",
)

ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    400: _BAD_PARAMETER,
    401: _UNAUTHORIZED,
    403: _FORBIDDEN,
    429: _TOO_MANY,
    503: UNAVAILABLE,
    "default": _ANYTHING_ELSE,
}
"""The `responses` of every route that needs credentials."""

ETAG: Final = {
    "ETag": header("Identifies this answer. Send it in If-None-Match to get 304 while it is unchanged.")
}
TAGGED: Final[dict[str, Any]] = {"headers": ETAG}
"""The 200 of a route whose answers have an `ETag`."""
NOT_MODIFIED: Final[dict[str, Any]] = {
    "description": "The answer that If-None-Match names is unchanged.",
    "headers": ETAG,
}
"""The 304 of such a route."""
