"""Records that can't become an event, one of each kind that telephony systems have been seen to publish."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from services.ops.demo.simulated_call import JSON_HEADERS, Headers, Organization


@dataclass(frozen=True)
class BrokenRecord:
    fault: str
    value: bytes | None
    headers: Headers


def broken_record(
    rng: random.Random, fault: str, organization: Organization, at: datetime, latest: datetime
) -> BrokenRecord:
    """A record with this fault, one of `FAULTS`. Without the fault it would be a valid event of the
    organization. The clocks of readers are not later than `latest`."""
    event = {
        "id": f"evt_{rng.getrandbits(96):024x}",
        "type": "call.initiated",
        "organization_id": str(organization.id),
        "call_id": str(UUID(int=rng.getrandbits(128), version=4)),
        "timestamp": at.isoformat(timespec="milliseconds"),
        "data": {"from_number": organization.phone_numbers[0].number, "direction": "outbound"},
    }
    return BrokenRecord(fault, _BREAK[fault](event, latest), JSON_HEADERS)


def _cut(event: dict[str, Any], _latest: datetime) -> bytes:
    return msgspec.json.encode(event)[:70]


def _without_timestamp(event: dict[str, Any], _latest: datetime) -> bytes:
    del event["timestamp"]
    return msgspec.json.encode(event)


def _timestamp_as_number(event: dict[str, Any], latest: datetime) -> bytes:
    event["timestamp"] = int(latest.timestamp())
    return msgspec.json.encode(event)


def _next_year(event: dict[str, Any], latest: datetime) -> bytes:
    event["timestamp"] = (latest + timedelta(days=366)).isoformat()
    return msgspec.json.encode(event)


def _null_byte(event: dict[str, Any], _latest: datetime) -> bytes:
    event["id"] += "\0"
    return msgspec.json.encode(event)


def _latin_1(event: dict[str, Any], _latest: datetime) -> bytes:
    event["data"]["from_number"] = "sip:jörg@pbx.example.com"
    return msgspec.json.encode(event).decode().encode("latin-1")


def _empty(_event: dict[str, Any], _latest: datetime) -> bytes:
    return b""


_BREAK: Final[dict[str, Callable[[dict[str, Any], datetime], bytes]]] = {
    "not JSON": _cut,
    "missing field": _without_timestamp,
    "wrong type": _timestamp_as_number,
    "far in the future": _next_year,
    "null byte": _null_byte,
    "not UTF-8": _latin_1,
    "empty": _empty,
}
FAULTS: Final = tuple(_BREAK)
