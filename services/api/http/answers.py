"""Answers in JSON."""

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import Response

from shared.encoding import encode


def answer(
    content: object, *, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON answer.

    Handlers build plain dicts from database rows. The models in models.py describe these dicts, and tests
    compare the two. Validating each answer at run time would cost more than the query.
    """
    return Response(encode(content), status, headers, media_type="application/json")
