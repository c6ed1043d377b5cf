"""Errors: every answer that is not a success has the shape `{"error", "code", "details"}`.

`error_codes` has the status, the cause and the remedy of each code. The functions here add what one request
knows: the parameter, the limit, the seconds to wait.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from services.api.http.answers import answer
from services.api.http.error_codes import ErrorCode

_ECHO_MAX = 100
"""The most characters of a parameter's name that an answer repeats."""


class ApiError(Exception):
    """A handler raises this to answer with an error."""

    def __init__(
        self,
        code: ErrorCode,
        sentence: str,
        *,
        details: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, object] | None = None,
    ) -> None:
        """`more` holds further fields of the answer, beside `error`, `code` and `details`."""
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.details = details or {}
        self.headers = headers
        self.more = more or {}

    @property
    def status(self) -> HTTPStatus:
        return self.code.status


def invalid_parameter(field: str, rule: str) -> ApiError:
    """400: `field` breaks `rule`, which continues a sentence that begins with the field ("must be …")."""
    field = field[:_ECHO_MAX]
    return ApiError(ErrorCode.INVALID_PARAMETER, f"{field} {rule}.", details={"field": field, "rule": rule})


def too_many_calls(sentence: str, calls_max: int) -> ApiError:
    """400: the request would have to examine more than `calls_max` calls."""
    return ApiError(ErrorCode.TOO_MANY_CALLS, sentence, details={"calls_max": calls_max})


def unauthorized(sentence: str) -> ApiError:
    """401: the credentials are missing or unknown."""
    return ApiError(ErrorCode.UNAUTHORIZED, sentence, headers={"WWW-Authenticate": "Bearer"})


def forbidden(sentence: str) -> ApiError:
    """403: the credentials are known, but not permitted to do this."""
    return ApiError(ErrorCode.FORBIDDEN, sentence)


def no_such_call() -> ApiError:
    """404: the same for a call that never existed, was deleted, or is of another organization or mode."""
    sentence = "There is no call with this id in the organization and mode of these credentials."
    return ApiError(ErrorCode.NOT_FOUND, sentence)


def too_many_requests(retry_after_seconds: int) -> ApiError:
    """429: the plan allows no further request in this second or on this day."""
    return ApiError(
        ErrorCode.RATE_LIMIT_EXCEEDED,
        f"The plan's rate limit is reached; retry in {retry_after_seconds} s.",
        headers={"Retry-After": str(retry_after_seconds)},
        more={"retry_after": retry_after_seconds},
    )


def no_recording() -> ApiError:
    """404: the call exists, but has no recording, or not the requested one."""
    return ApiError(
        ErrorCode.NOT_FOUND, "This call has no recording yet, or not the one that `recording` names."
    )


def unavailable(code: ErrorCode, sentence: str) -> ApiError:
    """503: a retry after a moment may succeed."""
    return ApiError(code, sentence, headers={"Retry-After": "1"})


def exports_busy() -> ApiError:
    """503: the maximum number of exports is running."""
    sentence = "Too many exports are running; retry when one has finished."
    return ApiError(ErrorCode.EXPORTS_BUSY, sentence, headers={"Retry-After": "10"})


def changes_unavailable() -> ApiError:
    """503: the topic of calls cannot be read now, or this installation has no Kafka."""
    return ApiError(
        ErrorCode.CHANGES_UNAVAILABLE,
        "The API cannot read the changes of calls from Kafka; retry in a moment, or poll GET /calls.",
        headers={"Retry-After": "5"},
    )


def too_many_streams(streams_max: int) -> ApiError:
    """429: the key or the user has as many open streams as one may have in a process."""
    seconds = 10
    return ApiError(
        ErrorCode.TOO_MANY_STREAMS,
        f"These credentials already have {streams_max} open streams; close one of them, then retry.",
        headers={"Retry-After": str(seconds)},
        more={"retry_after": seconds},
    )


def streams_busy() -> ApiError:
    """503: the process has as many open streams as it may have."""
    sentence = "This API process has reached its limit of open streams; retry in a moment."
    return ApiError(ErrorCode.STREAMS_BUSY, sentence, headers={"Retry-After": "5"})


def organization_busy() -> ApiError:
    """503: this organization's requests hold as many connections as one organization may."""
    return unavailable(
        ErrorCode.ORGANIZATION_BUSY,
        "Too many requests of this organization are in progress; retry in a moment.",
    )


def timed_out() -> ApiError:
    """503: the database needed longer than one request may take."""
    sentence = "The database query timed out; request less, such as fewer days, or retry in a moment."
    return ApiError(ErrorCode.TIMED_OUT, sentence, headers={"Retry-After": "5"})


def being_stopped() -> ApiError:
    """503: the process is stopping. A request is cancelled only when the stop's grace period has passed."""
    return unavailable(ErrorCode.DATABASE_UNAVAILABLE, "This API process is stopping; retry in a moment.")


def outdated() -> ApiError:
    """503: the database's tables do not exist or are older than this service."""
    return unavailable(
        ErrorCode.DATABASE_OUTDATED,
        "The database's tables are missing or older than this API; the operator must run callfold migrate.",
    )


def handle_errors(app: FastAPI) -> None:
    """Registers one handler for each kind of error that a route can raise."""
    app.exception_handler(ApiError)(_api_error)
    app.exception_handler(RequestValidationError)(_validation_error)
    app.exception_handler(HTTPException)(_http_exception)
    app.exception_handler(Exception)(_anything_else)


async def _api_error(_: Request, error: ApiError) -> Response:
    return answer(
        {"error": error.sentence, "code": error.code.name, **error.more, "details": error.details},
        status=error.status,
        headers=error.headers,
    )


async def _validation_error(request: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    if first["type"] == "json_invalid":  # its place is a number of bytes
        return await _api_error(request, invalid_parameter("body", "must be valid JSON"))
    _, *loc = first["loc"]
    return await _api_error(request, broken_rule({**first, "loc": loc}))


def broken_rule(broken: Mapping[str, Any]) -> ApiError:
    """400, from the first error that Pydantic reports."""
    field, *_ = broken["loc"] or ["body"]  # the rest is the branch of the field's type that failed
    return invalid_parameter(str(field), _rule(broken))


def _rule(broken: Mapping[str, Any]) -> str:
    """Pydantic's error as the end of a sentence that begins with the field."""
    context = broken.get("ctx", {})
    match broken["type"]:
        case "literal_error":
            return f"must be {context['expected']}"
        case "int_parsing" | "int_parsing_size" | "int_from_float":
            return "must be a whole number"
        case "greater_than_equal":
            return f"must be at least {context['ge']}"
        case "less_than_equal":
            return f"must be at most {context['le']}"
        case "string_too_long":
            return f"must have at most {context['max_length']} characters"
        case "uuid_parsing":
            return "must be a UUID"
        case "missing":
            return "must be given"
        case "extra_forbidden":
            return "is not a field of this body"
        case "model_attributes_type" | "dict_type" | "model_type":
            return "must be a JSON object, with the header Content-Type: application/json"
        case "string_type":
            return "must be a text"
        case "bool_type" | "bool_parsing":
            return "must be true or false"
        case "list_type":
            return "must be a list"
        case "too_long":
            return f"must have at most {context['max_length']} entries"
        case "value_error":
            return str(context["error"])
        case _:
            return f"is not valid: {broken['msg']}"


_OF_ROUTING = {
    404: (ErrorCode.NOT_FOUND.name, "There is no route with this path."),
    405: (
        ErrorCode.METHOD_NOT_ALLOWED.name,
        "This route does not support this method; see the Allow header.",
    ),
}


async def _http_exception(request: Request, error: HTTPException) -> Response:
    status = HTTPStatus(error.status_code)
    if status == HTTPStatus.BAD_REQUEST:  # FastAPI cannot decode the body
        return await _api_error(request, invalid_parameter("body", "must be JSON in UTF-8"))
    headers = error.headers
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {"Allow": ", ".join(_methods(request))}
    code, sentence = _OF_ROUTING.get(status, (status.name, f"{status.phrase}."))
    return answer({"error": sentence, "code": code, "details": {}}, status=status, headers=headers)


def _methods(request: Request) -> list[str]:
    """The methods that a path supports. Starlette names only those of the first route with that path."""
    routes = request.app.router.routes
    return [
        method
        for method in ("GET", "HEAD", "POST", "PATCH", "DELETE")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]


async def _anything_else(_: Request, __: Exception) -> Response:
    """The server logs the traceback; the client gets no internal details."""
    code = ErrorCode.INTERNAL
    sentence = "The API failed with an internal error; report it to the operator."
    return answer({"error": sentence, "code": code.name, "details": {}}, status=code.status)
