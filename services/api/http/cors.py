"""Cross-origin requests (CORS): which pages of other origins may read the API's answers in a browser."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from fastapi import FastAPI, Response
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware

from services.api.http.answers import answer
from services.api.http.error_codes import ErrorCode

METHODS: Final = ("GET", "HEAD", "POST", "PATCH", "DELETE")
REQUEST_HEADERS: Final = (
    "Authorization",
    "x-api-key",
    "x-organization-id",
    "Content-Type",
    "If-None-Match",
    "Last-Event-ID",
    "traceparent",
    "tracestate",
)
ANSWER_HEADERS: Final = (
    "ETag",
    "Retry-After",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
    "Content-Disposition",
    "WWW-Authenticate",
)
"""The headers that a page may read, beside those that CORS always allows."""
PREFLIGHT_SECONDS: Final = 600
"""How long a browser may cache the answer to a preflight."""


class CrossOrigin(CORSMiddleware):
    """Starlette's middleware, but preflights get the API's kind of answer: 204 without a body, or an error in
    JSON."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """The answer to a preflight request."""
        made = super().preflight_response(request_headers)
        headers = {
            name: value for name, value in made.headers.items() if not name.lower().startswith("content-")
        }
        if made.status_code == HTTPStatus.OK:
            return Response(status_code=HTTPStatus.NO_CONTENT, headers=headers)
        code = ErrorCode.CORS_REFUSED
        sentence = "The API does not allow cross-origin requests with this origin, method or header."
        return answer(
            {"error": sentence, "code": code.name, "details": {}}, status=code.status, headers=headers
        )


def allow_origins(app: FastAPI, origins: Sequence[str]) -> None:
    """Lets pages of these origins (`*`: of all) read every answer of the application.

    It wraps the whole stack of middleware, including the one that answers 500, so that pages can also read
    those answers. No middleware can be added afterwards.
    """
    app.middleware_stack = CrossOrigin(
        app.build_middleware_stack(),
        allow_origins=origins,
        allow_methods=METHODS,
        allow_headers=REQUEST_HEADERS,
        expose_headers=ANSWER_HEADERS,
        max_age=PREFLIGHT_SECONDS,
    )
