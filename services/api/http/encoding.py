"""Encoding: the JSON of answers."""

from collections.abc import Mapping
from decimal import Decimal
from http import HTTPStatus

import msgspec
from fastapi import Response

_encode = msgspec.json.Encoder(decimal_format="number").encode


def encode(content: object) -> bytes:
    """The JSON of an answer. Timestamps are RFC 3339 with Z; decimals are numbers with their exact digits."""
    return _encode(content)


def answer(
    content: object, *, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON answer.

    Handlers build plain dicts from database rows. The models in models.py describe these dicts, and tests
    compare the two. Validating each answer at run time would cost more than the query.
    """
    return Response(encode(content), status, headers, media_type="application/json")


def number(value: Decimal) -> int | Decimal:
    """A decimal without trailing zeros: 12 for 12.0000, 12.5 for 12.5000."""
    whole = int(value)
    return whole if whole == value else value.normalize()
