"""Encoding: how values look in an answer's JSON."""

from collections.abc import Mapping
from decimal import Decimal
from http import HTTPStatus

import msgspec
from fastapi import Response

_encode = msgspec.json.Encoder(decimal_format="number").encode


def encode(content: object) -> bytes:
    """The JSON of an answer. Instants are written in RFC 3339 with Z, decimals as numbers digit by digit."""
    return _encode(content)


def answer(
    content: object, *, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON answer.

    Handlers build plain dicts of what the database said; the models in models.py describe them, and the
    tests hold the two together. Validating each answer at run time would cost more than the query.
    """
    return Response(encode(content), status, headers, media_type="application/json")


def number(value: Decimal) -> int | Decimal:
    """A decimal as it is best written: 12 for 12.0000, 12.5 for 12.5000."""
    whole = int(value)
    return whole if whole == value else value.normalize()
