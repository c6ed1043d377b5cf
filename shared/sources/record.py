"""A record: one statement of a telephony system, without its envelopes."""

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, NamedTuple

import msgspec

from shared.sources.outcome import Quarantined
from shared.sources.source import Source

_encode = msgspec.json.Encoder(order="deterministic", decimal_format="number").encode
TEXT_LENGTH_MAX: Final = 256


class Record(NamedTuple):
    """`value` is a JSON value whose fractions are Decimal, a form's fields, or what the dialect decodes.
    `offered_id` and `offered_at` come from the innermost envelope that gives them. `content` holds the
    record's own bytes where the record is the whole delivery."""

    value: Any
    source: Source
    received_at: datetime
    headers: Mapping[str, str]
    url: str = ""
    key: bytes | None = None
    offered_id: str | None = None
    offered_at: datetime | None = None
    content: bytes | None = None

    def fields(self) -> Mapping[str, Any]:
        """The value as an object. Raises Quarantined if it is not one."""
        if not isinstance(self.value, dict):
            raise Quarantined(f"The record is {_kind(self.value)}, not an object.")
        return self.value

    def derived_id(self) -> str:
        """The envelope's id if it offers one. Otherwise the dialect's name and 32 hexadecimal digits of the
        SHA-256 of the record's bytes, or of its value serialized with sorted keys: the same for each
        delivery of the same record. Raises Quarantined for a value that is nested too deeply."""
        if self.offered_id is not None:
            return self.offered_id
        try:
            content = self.content if self.content is not None else _encode(self.value)
        except RecursionError:
            raise Quarantined("The record is nested too deeply.") from None
        return f"{self.source.dialect}_{sha256(content).hexdigest()[:32]}"

    def serialized(self) -> bytes:
        """The value as JSON with sorted keys. Raises RecursionError for a value that is nested too deeply."""
        return _encode(self.value)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    return "a list" if isinstance(value, list) else "a text" if isinstance(value, str) else "a number"


def at(value: Any, path: str) -> Any:
    """The value at a dotted path of object keys; None where the path leads nowhere."""
    for name in path.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def text(value: Any) -> str | None:
    """A text or a number as text. None for null, an empty text, "null", and every other kind."""
    if isinstance(value, str):
        stripped = value.strip()
        return stripped if stripped and stripped not in ("null", "NULL", "<null>") else None
    if isinstance(value, bool) or value is None or isinstance(value, dict | list):
        return None
    return str(value)


def verbatim(value: Any) -> str | None:
    """A longer text, such as a transcript, with its outer spaces and lines; None for anything else."""
    return value if text(value) is not None and isinstance(value, str) else None


def needed(value: Any, name: str) -> str:
    """The same, for a field without which the record cannot be placed. Raises Quarantined."""
    given = text(value)
    if given is None:
        raise Quarantined(f"{name}: is missing.")
    return given


def shortened(value: str | None) -> str | None:
    """A number or a cause, cut to the length that an event may have."""
    return value and value[:TEXT_LENGTH_MAX]


def whole(value: Any) -> int | None:
    """A count that is not negative, from a number or its text, rounded down; None for anything else."""
    given = text(value)
    if given is None:
        return None
    try:
        number = int(given) if given.isdecimal() else int(float(given))
    except (ValueError, OverflowError):
        return None
    return number if 0 <= number < 2**31 else None
