"""What the OpenAPI document says of the routes beyond their signatures: answers, errors, examples."""

from typing import Any, Final

from fastapi import Response

from services.api import figure_models, models
from services.api.call_filters import CallsQuery, ExportQuery
from services.api.count_filters import StatsQuery, TrendsQuery, parameters_by_action
from services.api.filters import query_parameters

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


def _error(description: str, code: str, sentence: str, **details: str) -> dict[str, Any]:
    example = {"error": sentence, "code": code, "details": details}
    return {
        "model": models.Error,
        "description": description,
        "content": {"application/json": {"example": example}},
    }


_BAD_PARAMETER = _error(
    "A parameter breaks a rule: `details` say which, and which rule; or, with the code `TOO_MANY_CALLS`, "
    "more calls would have to be looked at than one request may: narrow the span.",
    "INVALID_PARAMETER",
    "limit must be at most 100.",
    field="limit",
    rule="must be at most 100",
)
_UNAUTHORIZED = _error(
    "No credentials, or none that we know.", "UNAUTHORIZED", "This API key is unknown, expired or revoked."
)
_UNAUTHORIZED["headers"] = {
    "WWW-Authenticate": {"description": "The scheme to use.", "schema": {"type": "string"}}
}
_FORBIDDEN = _error(
    "These credentials may not do this.",
    "FORBIDDEN",
    "These credentials are not of the organization in x-organization-id.",
)
_TOO_MANY = _error(
    "More requests than the organization's plan allows a key or a user.",
    "RATE_LIMIT_EXCEEDED",
    "These are more requests than the plan allows; try again in 1 s.",
)
_TOO_MANY["model"] = models.TooManyRequests
_TOO_MANY["content"]["application/json"]["example"]["retry_after"] = 1
_TOO_MANY["headers"] = {
    name: {"description": description, "schema": {"type": "integer"}}
    for name, description in (
        ("Retry-After", "Seconds to wait before asking again."),
        ("X-RateLimit-Limit", "How many requests the limit allows that is reached first."),
        ("X-RateLimit-Remaining", "How many of them are left."),
        ("X-RateLimit-Reset", "When it begins anew, in seconds since 1970."),
    )
}
_NO_SUCH_CALL = _error(
    "No such call: it never was, was deleted, or belongs to another organization or mode.",
    "NOT_FOUND",
    "There is no such call.",
)
_NO_RECORDING = _error(
    "No such call; or no event of it has a recording, or not the event that `recording` names.",
    "NOT_FOUND",
    "This call has no recording, or none yet.",
)
_ETAG: Final[dict[str, Any]] = {
    "ETag": {
        "description": "Names this answer. In If-None-Match it asks for an answer only if it is another now.",
        "schema": {"type": "string"},
    }
}
_TAGGED: Final[dict[str, Any]] = {"headers": _ETAG}
_NOT_MODIFIED: Final[dict[str, Any]] = {
    "description": "It is still the answer that If-None-Match names.",
    "headers": _ETAG,
}
_UNAVAILABLE = _error(
    "The database can't be asked now; or, with the code `SIGNING_KEYS_UNAVAILABLE`, the keys by which users' "
    "tokens are checked; with `ORGANIZATION_BUSY`, other requests of the organization hold all connections "
    "that one may; with `TIMED_OUT`, the database needed longer than one request may take.",
    "DATABASE_UNAVAILABLE",
    "The database can't be asked now; try again in a moment.",
)
_UNAVAILABLE["headers"] = {
    "Retry-After": {"description": "Seconds to wait before asking again.", "schema": {"type": "integer"}}
}
_UNAVAILABLE_TO_DELETE = {
    **_UNAVAILABLE,
    "description": "The database can't be asked now, or needed longer than it may (`TIMED_OUT`); or, with "
    "the code `REPLICA_BEHIND`: the call is deleted for good, but what answers lists and counts does not "
    "show it yet. Ask again: 404 says that it does.",
}
_ANYTHING_ELSE = _error(
    "Any other error, in the same shape.", "INTERNAL", "Something went wrong on our side."
)

_ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    400: _BAD_PARAMETER,
    401: _UNAUTHORIZED,
    403: _FORBIDDEN,
    429: _TOO_MANY,
    503: _UNAVAILABLE,
    "default": _ANYTHING_ELSE,
}


def _defaults_told(parameters: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Parameters that not every action has, with their defaults in words: a generated client would send them
    along with an action that refuses them."""
    told = []
    for parameter in parameters:
        schema = dict(parameter["schema"])
        default = schema.pop("default", None)
        words = "" if default is None else f" `{str(default).lower()}` without it."
        told.append({**parameter, "description": parameter["description"] + words, "schema": schema})
    return told


GET_CALLS: Final[dict[str, Any]] = {
    "operation_id": "get_calls",
    "summary": "The list of calls, the status breakdown, or the daily counts",
    "response_model": models.CallsAnswer,
    "response_description": "What `action` asks for; the list has no `ETag`.",
    "openapi_extra": {"parameters": _defaults_told(query_parameters(CallsQuery) + parameters_by_action())},
    "responses": {
        **_ERRORS,
        304: _NOT_MODIFIED,
        200: {
            "headers": _ETAG,
            "content": {
                "application/json": {
                    "examples": {
                        "list": {
                            "summary": "No action: a page of the list",
                            "value": models.LIST_EXAMPLE,
                        },
                        "stats": {
                            "summary": "action=stats: the status breakdown",
                            "value": figure_models.STATS_EXAMPLE,
                        },
                        "trends": {
                            "summary": "action=trends: the daily counts",
                            "value": figure_models.TRENDS_EXAMPLE,
                        },
                    }
                }
            },
        },
    },
}
GET_STATS: Final[dict[str, Any]] = {
    "operation_id": "get_stats",
    "summary": "The status breakdown and the figures",
    "response_model": figure_models.CallStats,
    "response_description": "The figures.",
    "openapi_extra": {"parameters": query_parameters(StatsQuery)},
    "responses": {**_ERRORS, 200: _TAGGED, 304: _NOT_MODIFIED},
}
GET_TRENDS: Final[dict[str, Any]] = {
    "operation_id": "get_trends",
    "summary": "The counts by the hour, day, week or month",
    "response_model": figure_models.CallTrends,
    "response_description": "A row for each interval.",
    "openapi_extra": {"parameters": query_parameters(TrendsQuery)},
    "responses": {**_ERRORS, 200: _TAGGED, 304: _NOT_MODIFIED},
}
_EXPORT_BUSY = {
    **_UNAVAILABLE,
    "description": "The database can't be asked now; or, with the code `EXPORTS_BUSY`, as many exports run "
    "as may at once.",
}
EXPORT_CALLS: Final[dict[str, Any]] = {
    "operation_id": "export_calls",
    "summary": "All calls of a list, as CSV or JSON lines",
    "response_class": Response,
    "response_description": "The calls, as a file.",
    "openapi_extra": {"parameters": query_parameters(ExportQuery)},
    "responses": {
        **_ERRORS,
        200: {
            "content": {
                "text/csv": {"schema": {"type": "string"}, "example": models.CSV_EXAMPLE},
                "application/x-ndjson": {"schema": {"type": "string"}, "example": models.NDJSON_EXAMPLE},
            },
            "headers": {
                "Content-Disposition": {
                    "description": "What to call the file.",
                    "schema": {"type": "string"},
                }
            },
        },
        503: _EXPORT_BUSY,
    },
}
GET_CALL: Final[dict[str, Any]] = {
    "operation_id": "get_call",
    "summary": "One call with its events",
    "response_model": models.CallDetail,
    "response_description": "The call.",
    "responses": {**_ERRORS, 200: _TAGGED, 304: _NOT_MODIFIED, 404: _NO_SUCH_CALL},
}
GET_EVENTS: Final[dict[str, Any]] = {
    "operation_id": "get_call_events",
    "summary": "The events of one call",
    "response_model": models.EventList,
    "response_description": "A page of them.",
    "responses": {**_ERRORS, 200: _TAGGED, 304: _NOT_MODIFIED, 404: _NO_SUCH_CALL},
}
GET_RECORDING: Final[dict[str, Any]] = {
    "operation_id": "get_call_recording",
    "summary": "A link to the recording of one call",
    "response_model": models.RecordingLink,
    "response_description": "The link.",
    "responses": {**_ERRORS, 404: _NO_RECORDING},
}
DELETE_CALL: Final[dict[str, Any]] = {
    "operation_id": "delete_call",
    "summary": "Delete a call for good",
    "status_code": 204,
    "response_model": None,
    "response_description": "It is gone.",
    "responses": {**_ERRORS, 404: _NO_SUCH_CALL, 503: _UNAVAILABLE_TO_DELETE},
}
_AT_THE_ROOT: Final = {"servers": [{"url": "/", "description": "Health has no versions."}]}
LIVE: Final[dict[str, Any]] = {
    "operation_id": "live",
    "summary": "Is the process up?",
    "response_model": models.Health,
    "response_description": "It is.",
    "openapi_extra": _AT_THE_ROOT,
}
READY: Final[dict[str, Any]] = {
    "operation_id": "ready",
    "summary": "Can it answer?",
    "response_model": models.Health,
    "response_description": "It can.",
    "responses": {503: _UNAVAILABLE},
    "openapi_extra": _AT_THE_ROOT,
}

SAMPLES: Final[dict[str, tuple[str, ...]]] = {
    "get_calls": (
        "/calls?status=completed,busy&start_date=2026-11-01&limit=50",
        "/calls?action=stats&start_date=2026-11-01",
        "/calls?action=trends&direction=inbound",
    ),
    "get_stats": (
        "/calls/stats?start_date=2026-11-01&end_date=2026-11-30&compare=previous",
        "/calls/stats?group_by=phone_number",
    ),
    "get_trends": (
        "/calls/trends?interval=week&start_date=2026-09-01&end_date=2026-11-30",
        "/calls/trends?interval=week&week_start=sunday&compare=previous",
    ),
    "export_calls": (
        "/calls/export?format=csv&start_date=2026-11-01&status=completed",
        "/calls/export?format=csv&time_zone=Europe/Berlin&bom=true",
    ),
    "get_call": ("/calls/$ID",),
    "get_call_events": ("/calls/$ID/events?offset=0&limit=100",),
    "get_call_recording": ("/calls/$ID/recording",),
    "delete_call": ("/calls/$ID",),
    "live": ("/health/live",),
    "ready": ("/health/ready",),
}
"""What each operation may be asked, to be tried in a shell."""
