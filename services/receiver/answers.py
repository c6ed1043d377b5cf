"""Answers: each error has the shape `{"error", "code", "details"}`, as those of the API."""

import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import msgspec
from fastapi import Response

from shared.sources import outcome

METHODS: Final = ("GET", "POST")
_NOSNIFF: Final = {"X-Content-Type-Options": "nosniff"}
_PLAIN: Final = "text/plain; charset=utf-8"


def error(status: HTTPStatus, code: str, sentence: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error with a sentence for people and a code for programs."""
    body = msgspec.json.encode({"error": sentence, "code": code, "details": {}})
    return Response(body, status, headers, media_type="application/json")


def not_found() -> Response:
    """404: the same for an unknown path, an id that is no UUID, and a source that is unknown or takes no
    requests."""
    return error(HTTPStatus.NOT_FOUND, "NOT_FOUND", "No source takes requests at this address.")


def method_not_allowed() -> Response:
    """405: the systems call by GET or POST."""
    return error(
        HTTPStatus.METHOD_NOT_ALLOWED,
        "METHOD_NOT_ALLOWED",
        "A source takes only GET and POST.",
        {"Allow": ", ".join(METHODS)},
    )


def get_with_body() -> Response:
    """400: signatures of GET requests cover no body."""
    return error(HTTPStatus.BAD_REQUEST, "BAD_REQUEST", "A GET request to a source must have no body.")


def unauthorized(reason: str, *, basic: bool) -> Response:
    """401: the request has no credentials. With `basic`, it asks for HTTP basic credentials."""
    headers = {"WWW-Authenticate": 'Basic realm="callfold", charset="UTF-8"'} if basic else None
    return error(HTTPStatus.UNAUTHORIZED, "UNAUTHORIZED", f"The request is refused: {reason}.", headers)


def forbidden(reason: str) -> Response:
    """403: the request's signature or credentials are wrong."""
    return error(HTTPStatus.FORBIDDEN, "FORBIDDEN", f"The request is refused: {reason}.")


def too_large(sentence: str) -> Response:
    """413: the sentence says whose limit the body exceeds."""
    return error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "BODY_TOO_LARGE", sentence)


def unavailable(sentence: str, retry_seconds: int) -> Response:
    """503: the request can't be verified or stored now."""
    return error(HTTPStatus.SERVICE_UNAVAILABLE, "UNAVAILABLE", sentence, {"Retry-After": str(retry_seconds)})


def broken() -> Response:
    """500: a bug, which the server logs. The client gets no internal details."""
    sentence = "The receiver failed with an internal error; report it to the operator."
    return error(HTTPStatus.INTERNAL_SERVER_ERROR, "INTERNAL", sentence)


def accepted(headers: Mapping[str, str]) -> Response:
    """200: the broker has stored the request. Amazon Data Firehose expects its request's id and a time."""
    firehose_id = headers.get("x-amz-firehose-request-id")
    if firehose_id is None:
        return Response()
    text = firehose_id.encode(errors="replace").decode()  # it may have bytes that are no UTF-8
    body = msgspec.json.encode({"requestId": text, "timestamp": int(time.time() * 1000)})
    return Response(body, media_type="application/json")


def as_the_system_wants(wanted: outcome.Response) -> Response:
    """The answer that the dialect makes, to a handshake or to a stored request. A header that could end its
    line is left out: its value may be the client's."""
    headers = {
        name: value
        for name, value in wanted.headers.items()
        if name.isascii() and name.isprintable() and value.isascii() and value.isprintable()
    }
    typed = any(name.lower() == "content-type" for name in headers)
    return Response(
        wanted.body.encode(errors="replace"),
        wanted.status,
        headers | _NOSNIFF,
        media_type=None if typed else _PLAIN,
    )
