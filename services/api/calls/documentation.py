"""OpenAPI descriptions of the routes of calls, beyond their signatures."""

from typing import Any, Final

from fastapi import Response

from services.api.calls import models
from services.api.calls.list_query import CallsQuery, ExportQuery
from services.api.figures import models as figure_models
from services.api.figures.stats_query import parameters_by_action
from services.api.http.common_responses import ERRORS, ETAG, NOT_MODIFIED, TAGGED, error, header, unavailable
from services.api.http.error_codes import ErrorCode
from services.api.http.query import query_parameters

_NO_SUCH_CALL = error(
    "The call does not exist, was deleted, or belongs to another organization or mode.",
    ErrorCode.NOT_FOUND,
    "There is no call with this id in the organization and mode of these credentials.",
)
_NO_RECORDING = error(
    "The call does not exist, has no recording, or has no event `recording.ready` with the id in "
    "`recording`.",
    ErrorCode.NOT_FOUND,
    "This call has no recording yet, or not the one that `recording` names.",
)
_UNAVAILABLE_TO_DELETE = unavailable(
    "`DATABASE_UNAVAILABLE`: the database is unreachable or busy. `TIMED_OUT`: the deletion took longer than "
    "allowed. `REPLICA_BEHIND`: the call is permanently deleted, but lists and counts may still include it. "
    "Repeat the request until it returns 404: from then on they do not."
)
_EXPORT_BUSY = unavailable(
    "`DATABASE_UNAVAILABLE`: the database is unreachable or busy. `EXPORTS_BUSY`: the maximum number of "
    "exports is running."
)


def _with_defaults(parameters: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Parameters that some actions refuse, with their defaults in the description. Generated clients would
    send a default of the schema with every action."""
    documented = []
    for parameter in parameters:
        schema = dict(parameter["schema"])
        default = schema.pop("default", None)
        words = "" if default is None else f" Default: `{str(default).lower()}`."
        documented.append({**parameter, "description": parameter["description"] + words, "schema": schema})
    return documented


GET_CALLS: Final[dict[str, Any]] = {
    "operation_id": "get_calls",
    "summary": "List calls, or get the status breakdown or the daily counts",
    "response_model": models.CallsAnswer,
    "response_description": "The answer to `action`. The list has no `ETag`.",
    "openapi_extra": {"parameters": _with_defaults(query_parameters(CallsQuery) + parameters_by_action())},
    "responses": {
        **ERRORS,
        304: NOT_MODIFIED,
        200: {
            "headers": ETAG,
            "content": {
                "application/json": {
                    "examples": {
                        "list": {
                            "summary": "Without action: a page of the list",
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
EXPORT_CALLS: Final[dict[str, Any]] = {
    "operation_id": "export_calls",
    "summary": "Export all calls of a list as CSV or JSON lines",
    "response_class": Response,
    "response_description": "The calls, as a file.",
    "openapi_extra": {"parameters": query_parameters(ExportQuery)},
    "responses": {
        **ERRORS,
        200: {
            "content": {
                "text/csv": {"schema": {"type": "string"}, "example": models.CSV_EXAMPLE},
                "application/x-ndjson": {"schema": {"type": "string"}, "example": models.NDJSON_EXAMPLE},
            },
            "headers": {"Content-Disposition": header("The suggested file name.")},
        },
        503: _EXPORT_BUSY,
    },
}
GET_CALL: Final[dict[str, Any]] = {
    "operation_id": "get_call",
    "summary": "Get one call with its events",
    "response_model": models.CallDetail,
    "response_description": "The call.",
    "responses": {**ERRORS, 200: TAGGED, 304: NOT_MODIFIED, 404: _NO_SUCH_CALL},
}
GET_EVENTS: Final[dict[str, Any]] = {
    "operation_id": "get_call_events",
    "summary": "List the events of one call",
    "response_model": models.EventList,
    "response_description": "A page of events.",
    "responses": {**ERRORS, 200: TAGGED, 304: NOT_MODIFIED, 404: _NO_SUCH_CALL},
}
GET_RECORDING: Final[dict[str, Any]] = {
    "operation_id": "get_call_recording",
    "summary": "Get a link to the recording of one call",
    "response_model": models.RecordingLink,
    "response_description": "The link.",
    "responses": {**ERRORS, 404: _NO_RECORDING},
}
DELETE_CALL: Final[dict[str, Any]] = {
    "operation_id": "delete_call",
    "summary": "Delete a call permanently",
    "status_code": 204,
    "response_model": None,
    "response_description": "The call is deleted. Lists and counts no longer include it.",
    "responses": {**ERRORS, 404: _NO_SUCH_CALL, 503: _UNAVAILABLE_TO_DELETE},
}

SAMPLES: Final[dict[str, tuple[str, ...]]] = {
    "get_calls": (
        "/calls?status=completed,busy&start_date=2026-11-01&limit=50",
        "/calls?action=stats&start_date=2026-11-01",
        "/calls?action=trends&direction=inbound",
    ),
    "export_calls": (
        "/calls/export?format=csv&start_date=2026-11-01&status=completed",
        "/calls/export?format=csv&time_zone=Europe/Berlin&bom=true",
    ),
    "get_call": ("/calls/$ID",),
    "get_call_events": ("/calls/$ID/events?offset=0&limit=100",),
    "get_call_recording": ("/calls/$ID/recording",),
    "delete_call": ("/calls/$ID",),
}
"""Example requests of each operation, for a shell."""
