"""The cursor: where the next page of a list begins, as an opaque text that the client sends back."""

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
"""The exponents of values from PostgreSQL: cents have 4 decimals, seconds have none."""


class Place(msgspec.Struct, array_like=True, frozen=True):
    """The position of the last call of a page, by the sort keys of its list."""

    value: Decimal
    """The sort key; 0 in a list ordered only by time."""
    created_at: datetime
    id: UUID


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Place).decode


def cursor(place: Place, question: Sequence[object]) -> str:
    """The cursor of a place in the list of this question: organization, mode, filters, order.

    Its digest binds it to the question, so that another list refuses it. The digest needs no secret: a forged
    cursor only names a place in the client's own list, as dates also do.
    """
    packed = _encode(place)
    return _written(_digest(packed, question) + packed)


def place_of(text: str, question: Sequence[object]) -> Place:
    """The place in a cursor of this question. Raises the 400 `ApiError` for any other text."""
    try:
        decoded = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        digest, packed = decoded[:_DIGEST_BYTES], decoded[_DIGEST_BYTES:]
        same = hmac.compare_digest(digest, _digest(packed, question))
        if same and _written(decoded) == text:  # decoding ignores characters outside of the alphabet
            return _checked(_decode(packed))
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        pass
    raise invalid_parameter("cursor", "must be a next_cursor from a list with the same filters and order")


def _checked(place: Place) -> Place:
    """The place. Raises ValueError where no call can be: a forged digest may cover numbers and times that
    PostgreSQL or the calendar does not accept."""
    value, created_at = place.value, place.created_at
    is_known = value.as_tuple().exponent in _EXPONENTS and -1 <= value <= COST_CENTS_MAX
    if not is_known and str(value) != "Infinity":
        raise ValueError("no call has this sort key")
    if created_at.tzinfo is None or created_at < EARLIEST or created_at.year == date.max.year:
        raise ValueError("no call is created at this time")
    return place


def _written(bound: bytes) -> str:
    return urlsafe_b64encode(bound).rstrip(b"=").decode()


def _digest(packed: bytes, question: Sequence[object]) -> bytes:
    key = blake2b(_encode(question), person=b"callfold cursor").digest()
    return blake2b(packed, key=key, digest_size=_DIGEST_BYTES).digest()
