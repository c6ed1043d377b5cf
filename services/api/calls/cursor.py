"""The cursor: where a list goes on, in letters that a client hands back as they are."""

import binascii
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from hashlib import blake2b
from typing import Final
from uuid import UUID

import msgspec

from services.api.http.errors import invalid_parameter
from shared.calls.event import COST_CENTS_MAX, EARLIEST

_DIGEST_BYTES: Final = 16
_EXPONENTS: Final = range(-4, 1)
"""Of the values as PostgreSQL tells them: cents have 4 decimals, seconds none."""


class Place(msgspec.Struct, array_like=True, frozen=True):
    """The last call that was answered, by what its list is ordered by."""

    value: Decimal
    """What it is sorted by; 0 in a list by time alone."""
    created_at: datetime
    id: UUID


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Place).decode


def cursor(place: Place, question: Sequence[object]) -> str:
    """The cursor of a place in the list that answers this question: organization, mode, filters, order.

    Its digest binds it to the question, so that it is no answer to another one. There is no secret in that:
    whoever makes up a cursor names a place in their own list, as they may with dates, too.
    """
    packed = _encode(place)
    return _written(_digest(packed, question) + packed)


def place_of(text: str, question: Sequence[object]) -> Place:
    """The place that a cursor of this question names. Raises the 400 `ApiError` for any other text."""
    try:
        decoded = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        digest, packed = decoded[:_DIGEST_BYTES], decoded[_DIGEST_BYTES:]
        same = hmac.compare_digest(digest, _digest(packed, question))
        if same and _written(decoded) == text:  # decoding passes over letters that are none
            return _checked(_decode(packed))
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        pass
    raise invalid_parameter("cursor", "must be the next_cursor of a list with the same filters and order")


def _checked(place: Place) -> Place:
    """The place. Raises ValueError where no call can be there: a digest that anybody can make says nothing of
    numbers and times that neither PostgreSQL nor the calendar can take."""
    value, created_at = place.value, place.created_at
    is_known = value.as_tuple().exponent in _EXPONENTS and -1 <= value <= COST_CENTS_MAX
    if not is_known and str(value) != "Infinity":
        raise ValueError("no call is sorted by such a value")
    if created_at.tzinfo is None or created_at < EARLIEST or created_at.year == date.max.year:
        raise ValueError("no call is created then")
    return place


def _written(bound: bytes) -> str:
    return urlsafe_b64encode(bound).rstrip(b"=").decode()


def _digest(packed: bytes, question: Sequence[object]) -> bytes:
    key = blake2b(_encode(question), person=b"callfold cursor").digest()
    return blake2b(packed, key=key, digest_size=_DIGEST_BYTES).digest()
