"""What the OpenAPI document says of the API as a whole, and the answers that several routes have.

Each route's own words stand in its package's documentation. Nothing here knows a route, and nothing is
changed after it is made.
"""

from collections.abc import Mapping
from typing import Any, Final

from services.api.http.error_codes import ErrorCode
from services.api.http.models import Error, TooManyRequests

TITLE: Final = "callfold"
DESCRIPTION: Final = """
Exact call records and exact daily counts, made from the events that telephony systems publish.

**Credentials.** Each request bears an API key, as `Authorization: Bearer kros_live_…` or in `x-api-key`. A
`kros_live_…` key sees live data, a `kros_test_…` key test data; the two never mix. Two different keys in one
request are refused. `x-organization-id` may name the key's own organization, and no other. Where it is set
up, a user's JWT of Supabase Auth is taken as Bearer, too: it sees the live data of the organizations of which
the user is a member. Each route says which scope it needs: a key has all of them unless it was made with
fewer.

**Limits.** Where the organization's plan has limits, the answers to its keys and users say in
`X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset` how much is left of the limit that is
reached first. Beyond it the answer is 429 with `Retry-After`.

**Days** are those of the organization's own time zone. **Instants** are RFC 3339 in UTC. **Money** is in
cents, with up to 4 decimals.

**Errors** have one shape: `error` (a sentence), `code` and `details`. A parameter that is not known, or is
given twice, is refused rather than ignored.

**Browsers.** Pages of the origins that the operator lists may read every answer (CORS), with credentials in
headers; cookies are not used.

The same routes answer under `/v1`.
"""
SERVERS: Final[list[dict[str, Any]]] = [
    {"url": "/", "description": "The newest version."},
    {"url": "/v1", "description": "Version 1, the same today."},
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
    """An error, as a route's `responses` take it: when it is answered, and an example with these contents.
    `more` stands beside `error`, `code` and `details`, as in `ApiError`."""
    example = {"error": sentence, "code": code.name, "details": dict(details or {}), **(more or {})}
    answer = {
        "model": model,
        "description": description,
        "content": {"application/json": {"example": example}},
    }
    return answer if headers is None else {**answer, "headers": headers}


def unavailable(description: str) -> dict[str, Any]:
    """The 503, with the description of when a route answers it."""
    return error(
        description,
        ErrorCode.DATABASE_UNAVAILABLE,
        "The database is unavailable; retry in a moment.",
        headers={"Retry-After": header("Seconds to wait before asking again.", "integer")},
    )


def header(description: str, type_: str = "string") -> dict[str, Any]:
    """A header of an answer, as a route's `responses` take it."""
    return {"description": description, "schema": {"type": type_}}


_BAD_PARAMETER = error(
    "A parameter breaks a rule: `details` say which, and which rule; or, with the code `TOO_MANY_CALLS`, "
    "more calls would have to be looked at than one request may: narrow the span.",
    ErrorCode.INVALID_PARAMETER,
    "limit must be at most 100.",
    details={"field": "limit", "rule": "must be at most 100"},
)
_UNAUTHORIZED = error(
    "No credentials, or none that we know.",
    ErrorCode.UNAUTHORIZED,
    "This API key is unknown, expired or revoked.",
    headers={"WWW-Authenticate": header("The scheme to use.")},
)
_FORBIDDEN = error(
    "These credentials may not do this.",
    ErrorCode.FORBIDDEN,
    "These credentials are not of the organization in x-organization-id.",
)
_TOO_MANY = error(
    "More requests than the organization's plan allows a key or a user.",
    ErrorCode.RATE_LIMIT_EXCEEDED,
    "The plan's rate limit is reached; retry in 1 s.",
    model=TooManyRequests,
    more={"retry_after": 1},
    headers={
        "Retry-After": header("Seconds to wait before asking again.", "integer"),
        "X-RateLimit-Limit": header("How many requests the limit allows that is reached first.", "integer"),
        "X-RateLimit-Remaining": header("How many of them are left.", "integer"),
        "X-RateLimit-Reset": header("When the window resets, in seconds since 1970.", "integer"),
    },
)
UNAVAILABLE: Final = unavailable(
    "The database can't be asked now; or, with the code `SIGNING_KEYS_UNAVAILABLE`, the keys by which users' "
    "tokens are checked; with `ORGANIZATION_BUSY`, other requests of the organization hold all connections "
    "that one may; with `TIMED_OUT`, the database needed longer than one request may take."
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
    "ETag": header("Names this answer. In If-None-Match it asks for an answer only if it is another now.")
}
TAGGED: Final[dict[str, Any]] = {"headers": ETAG}
"""The 200 of a route whose answers have an `ETag`."""
NOT_MODIFIED: Final[dict[str, Any]] = {
    "description": "It is still the answer that If-None-Match names.",
    "headers": ETAG,
}
"""The 304 of such a route."""
