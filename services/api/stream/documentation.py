"""OpenAPI descriptions of the stream, beyond its signature."""

import json
from typing import Any, Final

from fastapi import Response

from services.api.calls.models import CALL_EXAMPLE
from services.api.figures.cell_filters import StateQuery
from services.api.http.common_responses import ERRORS, error, header, unavailable
from services.api.http.error_codes import ErrorCode
from services.api.http.models import TooManyRequests
from services.api.http.query import query_parameters

_ID: Final = "AYfvGJ2cN0Ew9NrGyQYCBQebHkZr"
EVENTS_EXAMPLE: Final = (
    f"retry: 2417\nid: {_ID}\n\n"
    f"id: {_ID}\nevent: call.changed\ndata: {json.dumps(CALL_EXAMPLE, separators=(',', ':'))}\n\n"
)
_LAST_EVENT_ID: Final[dict[str, Any]] = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "The `id` of the last event that the client received. Without it, the stream begins now.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]*$"},
}
_TOO_MANY: Final = error(
    "`TOO_MANY_STREAMS`: these credentials have as many open streams as one process allows. "
    "`RATE_LIMIT_EXCEEDED`: the key or user has sent more requests than the organization's plan allows; "
    "opening a stream counts once.",
    ErrorCode.TOO_MANY_STREAMS,
    "These credentials already have 20 open streams; close one of them, then retry.",
    model=TooManyRequests,
    more={"retry_after": 10},
    headers={"Retry-After": header("Seconds to wait before a retry.", "integer")},
)
_UNAVAILABLE: Final = unavailable(
    "`CHANGES_UNAVAILABLE`: the API cannot read the topic of calls. `STREAMS_BUSY`: the process has reached "
    "its limit of streams. `DATABASE_UNAVAILABLE`: the database, which has the credentials, is unreachable "
    "or busy."
)

STREAM_CALLS: Final[dict[str, Any]] = {
    "operation_id": "stream_calls",
    "summary": "Follow the changes of calls as server-sent events",
    "response_class": Response,
    "response_description": "The events, without an end.",
    "openapi_extra": {"parameters": [*query_parameters(StateQuery), _LAST_EVENT_ID]},
    "responses": {
        **ERRORS,
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}, "example": EVENTS_EXAMPLE}}},
        429: _TOO_MANY,
        503: _UNAVAILABLE,
    },
}
SAMPLES: Final[dict[str, tuple[str, ...]]] = {
    "stream_calls": ("/calls/stream?status=ringing,in_progress",),
}
"""Example requests of each operation, for a shell."""
