"""The JSON that clients get: in answers, and in the topic of calls. Pure."""

from decimal import Decimal

import msgspec

_encode = msgspec.json.Encoder(decimal_format="number").encode


def encode(content: object) -> bytes:
    """The JSON of an answer. Timestamps are RFC 3339 with Z; decimals are numbers with their exact digits."""
    return _encode(content)


def number(value: Decimal) -> int | Decimal:
    """A decimal without trailing zeros: 12 for 12.0000, 12.5 for 12.5000."""
    whole = int(value)
    return whole if whole == value else value.normalize()
