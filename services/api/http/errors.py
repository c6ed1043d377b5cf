"""Errors: every answer that is not the asked one has the shape `{"error", "code", "details"}`."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from services.api.http.encoding import answer

_ECHO_MAX = 100


class ApiError(Exception):
    """What a handler raises to answer with an error."""

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        sentence: str,
        *,
        details: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, object] | None = None,
    ) -> None:
        """`more`: what stands beside `error`, `code` and `details`."""
        super().__init__(sentence)
        self.status = status
        self.code = code
        self.sentence = sentence
        self.details = details or {}
        self.headers = headers
        self.more = more or {}


def invalid_parameter(field: str, rule: str) -> ApiError:
    """400: `field` breaks `rule`, which reads on from the field's name ("must be …")."""
    field = field[:_ECHO_MAX]
    return ApiError(
        HTTPStatus.BAD_REQUEST,
        "INVALID_PARAMETER",
        f"{field} {rule}.",
        details={"field": field, "rule": rule},
    )


def too_many_calls(sentence: str, calls_max: int) -> ApiError:
    """400: more calls would have to be looked at than one request may."""
    return ApiError(HTTPStatus.BAD_REQUEST, "TOO_MANY_CALLS", sentence, details={"calls_max": calls_max})


def unauthorized(sentence: str) -> ApiError:
    """401: nobody whom we know."""
    return ApiError(HTTPStatus.UNAUTHORIZED, "UNAUTHORIZED", sentence, headers={"WWW-Authenticate": "Bearer"})


def forbidden(sentence: str) -> ApiError:
    """403: somebody whom we know, and who may not."""
    return ApiError(HTTPStatus.FORBIDDEN, "FORBIDDEN", sentence)


def no_such_call() -> ApiError:
    """404, the same for a call that never was, was deleted, or is another organization's or mode's."""
    return ApiError(HTTPStatus.NOT_FOUND, "NOT_FOUND", "There is no such call.")


def too_many_requests(retry_after_seconds: int) -> ApiError:
    """429: as many requests as the plan has, in this second or on this day."""
    return ApiError(
        HTTPStatus.TOO_MANY_REQUESTS,
        "RATE_LIMIT_EXCEEDED",
        f"These are more requests than the plan allows; try again in {retry_after_seconds} s.",
        headers={"Retry-After": str(retry_after_seconds)},
        more={"retry_after": retry_after_seconds},
    )


def no_recording() -> ApiError:
    """404: the call is there, and it, or the event that is asked for, has no recording."""
    return ApiError(HTTPStatus.NOT_FOUND, "NOT_FOUND", "This call has no recording, or none yet.")


def unavailable(code: str, sentence: str) -> ApiError:
    """503: asking again in a moment may help."""
    return ApiError(HTTPStatus.SERVICE_UNAVAILABLE, code, sentence, headers={"Retry-After": "1"})


def exports_busy() -> ApiError:
    """503: as many exports run as may."""
    sentence = "As many exports are running as may at once; try again when one is done."
    return ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "EXPORTS_BUSY", sentence, headers={"Retry-After": "10"})


def organization_busy() -> ApiError:
    """503: this organization's requests hold as many connections as one may."""
    return unavailable(
        "ORGANIZATION_BUSY",
        "Too many requests of this organization are being answered; try again in a moment.",
    )


def timed_out() -> ApiError:
    """503: the database needed longer than one request may take."""
    sentence = "This took longer than it may; ask for less, such as fewer days, or try again in a moment."
    return ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "TIMED_OUT", sentence, headers={"Retry-After": "5"})


def being_stopped() -> ApiError:
    """503: only a stop that has waited long enough cancels a request; it is still answered."""
    return unavailable("DATABASE_UNAVAILABLE", "This process is being stopped; try again in a moment.")


def outdated() -> ApiError:
    """503: the database's tables are older than this service."""
    return unavailable("DATABASE_OUTDATED", "The database's tables are not migrated yet.")


def handle_errors(app: FastAPI) -> None:
    """Registers one handler for each kind of error that can reach the edge."""
    app.exception_handler(ApiError)(_api_error)
    app.exception_handler(RequestValidationError)(_validation_error)
    app.exception_handler(HTTPException)(_http_exception)
    app.exception_handler(Exception)(_anything_else)


async def _api_error(_: Request, error: ApiError) -> Response:
    return answer(
        {"error": error.sentence, "code": error.code, **error.more, "details": error.details},
        status=error.status,
        headers=error.headers,
    )


async def _validation_error(request: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    _, *loc = first["loc"]
    return await _api_error(request, broken_rule({**first, "loc": loc}))


def broken_rule(broken: Mapping[str, Any]) -> ApiError:
    """400, from the first of Pydantic's complaints."""
    field, *_ = broken["loc"]  # and then which branch of its type refused it
    return invalid_parameter(str(field), _rule(broken))


def _rule(broken: Mapping[str, Any]) -> str:
    """Pydantic's complaint as the end of a sentence that begins with the field."""
    context = broken.get("ctx", {})
    match broken["type"]:
        case "literal_error":
            several = " or " in context["expected"]
            return f"must be {'one of ' if several else ''}{context['expected']}"
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
        case "value_error":
            return str(context["error"])
        case _:
            return f"is not valid: {broken['msg']}"


_OF_ROUTING = {
    404: ("NOT_FOUND", "There is no such route."),
    405: ("METHOD_NOT_ALLOWED", "This route has no such method."),
}


async def _http_exception(request: Request, error: HTTPException) -> Response:
    status = HTTPStatus(error.status_code)
    headers = error.headers
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {"Allow": ", ".join(_methods(request))}
    code, sentence = _OF_ROUTING.get(status, (status.name, f"{status.phrase}."))
    return answer({"error": sentence, "code": code, "details": {}}, status=status, headers=headers)


def _methods(request: Request) -> list[str]:
    """The methods that a path has. Starlette names those of the first route with that path alone."""
    routes = request.app.router.routes
    return [
        method
        for method in ("GET", "HEAD", "DELETE")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]


async def _anything_else(_: Request, __: Exception) -> Response:
    """The server logs the traceback; the client learns nothing of our inside."""
    return answer(
        {"error": "Something went wrong on our side.", "code": "INTERNAL", "details": {}},
        status=HTTPStatus.INTERNAL_SERVER_ERROR,
    )
