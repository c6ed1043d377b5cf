"""The outcome of reading a record: facts, or the reason why there are no facts.

A dialect returns facts. It raises `Ignored` for a record that tells nothing of a call's course, `Quarantined`
for a record that should tell it and does not, and `Refused` for a request that is not the vendor's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from shared.calls.event import EventType


class Fact(NamedTuple):
    """A statement about one call: an event without its organization. `call_id` is the system's own.
    `data` holds fields of the contract and any others; None in it means absent. `livemode` is false for a
    system's test calls, and None otherwise."""

    id: str
    type: EventType
    call_id: str
    timestamp: datetime
    data: Mapping[str, Any] = {}
    livemode: bool | None = None


class Ignored(Exception):
    """A known record that tells nothing of a call's course. The text is the reason, a clause."""


class Quarantined(Exception):
    """A record that should tell something of a call, but cannot be placed. The text is one sentence."""


class Refused(Exception):
    """A request whose signature or credentials are wrong. The text is a clause without any secret."""


@dataclass(frozen=True)
class Response:
    """The answer to a request. Header names are as the system expects them."""

    status: int = 200
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
