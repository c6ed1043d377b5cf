"""The event: one immutable fact about one call, as a telephony system publishes it.

Here is the whole contract of the topic: `read` turns a record's value into an `Event` or says, in a
sentence, which rule it breaks. Pure: no I/O, and no clock but the one handed in.
"""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, TypedDict
from uuid import UUID, uuid5

import msgspec
from asyncpg.pgproto.pgproto import UUID as FastUUID  # noqa: N811 (a uuid.UUID, parsed and hashed in C)
from msgspec import Meta

from shared.framing import BYTE_ORDER_MARK, framing

VALUE_BYTES_MAX: Final = 1024 * 1024
EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
AHEAD_MAX: Final = timedelta(days=1)
COST_CENTS_MAX: Final = Decimal("9999999999.9999")
COST_STEP: Final = Decimal("0.0001")
DEPTH_MAX: Final = 100
SHALLOW_LENGTH: Final = 1_000
"""No value as short as this is nested so deeply that a reader would give up."""

Status = Literal[
    "initiated", "ringing", "in_progress", "completed", "failed", "busy", "no_answer", "canceled"
]
Direction = Literal["inbound", "outbound"]
EventType = Literal[
    "call.initiated",
    "call.ringing",
    "call.answered",
    "call.completed",
    "call.failed",
    "call.updated",
    "recording.ready",
    "transcript.ready",
]
MISSING_HANGUP: Final = "callfold.missing_hangup"
"""The one type that no record has: callfold's own event, the end of a call that never ended."""

_Text = Annotated[str, Meta(max_length=2048)]
_Number = Annotated[str, Meta(max_length=256)]
_Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
_Instant = Annotated[datetime, Meta(tz=True)]


class EventData(TypedDict, total=False):
    """What an event says of its call. A field that is absent, or null, says nothing."""

    from_number: _Number
    to_number: _Number
    direction: Direction
    phone_number_id: UUID
    endpoint_id: UUID
    status: Status
    duration: _Count
    cost: Decimal
    latency_ms: _Count
    hangup_cause: _Number
    recording_url: _Text
    transcript: str
    answered_at: datetime
    completed_at: datetime


class Event(msgspec.Struct, frozen=True, gc=False):
    """An event whose every field keeps the contract. `payload` is the record's value, letter by letter."""

    organization_id: UUID
    call_id: UUID
    external_id: str | None
    id: str
    type: str
    timestamp: datetime
    livemode: bool
    data: EventData
    payload: str


class InvalidEvent(ValueError):
    """A record that is not an event; its text is one sentence: where, and which rule.

    `rule` is the same without anything of the record, for where a record's content must not come.
    """

    def __init__(self, sentence: str, rule: str | None = None) -> None:
        super().__init__(sentence)
        self.rule = rule or sentence


class _Data(TypedDict, total=False):
    from_number: _Number | None
    to_number: _Number | None
    direction: Direction | None
    phone_number_id: UUID | None
    endpoint_id: UUID | None
    status: Status | None
    duration: _Count | None
    cost: Decimal | None
    latency_ms: _Count | None
    hangup_cause: _Number | None
    recording_url: _Text | None
    transcript: str | None
    answered_at: _Instant | None
    completed_at: _Instant | None


class _Stored(msgspec.Struct, frozen=True, gc=False):
    organization_id: str
    call_id: Annotated[str, Meta(min_length=1, max_length=256)]
    id: Annotated[str, Meta(min_length=1, max_length=128)]
    type: str
    timestamp: _Instant
    livemode: bool | None = True
    data: _Data | None = None


class _Published(_Stored, frozen=True, gc=False):
    type: EventType


_decode_published = msgspec.json.Decoder(_Published).decode
_decode_stored = msgspec.json.Decoder(_Stored).decode
_decode_anything = msgspec.json.Decoder(float_hook=str).decode  # no number is out of its range


def read(value: bytes | None, now: datetime) -> Event:
    """The event that a record's value is.

    `now` (aware) is the time of the reading: no time in an event may lie more than a day after it.
    A UTF-8 byte-order mark before the value is no part of it.
    Raises `InvalidEvent`; of a value that is in a frame, an envelope or another encoding, it names that.
    """
    try:
        return _read(value, now)
    except InvalidEvent as error:
        if value is None or len(value) > VALUE_BYTES_MAX:
            raise
        broken = error
    text = value.removeprefix(BYTE_ORDER_MARK)
    if len(text) < len(value):
        try:
            return _read(text, now)
        except InvalidEvent as error:
            broken = error
    if found := framing(text):
        raise InvalidEvent(found.sentence, found.rule)
    raise broken


def _read(value: bytes | None, now: datetime) -> Event:
    if value is None:
        raise InvalidEvent("the record has no value")
    if len(value) > VALUE_BYTES_MAX:
        raise InvalidEvent(f"the value has {len(value):,} bytes; at most {VALUE_BYTES_MAX:,} are taken")
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        raise InvalidEvent(f"the value is not UTF-8: byte {error.start} can't be decoded") from None
    if "\\u0000" in text or "\0" in text or (len(text) > SHALLOW_LENGTH and _may_be_deep(text)):
        _look_inside(text)
    event = _event(text, _decode_published)
    latest = now + AHEAD_MAX
    _check_instant("timestamp", event.timestamp, latest)
    data = event.data
    if "answered_at" in data:
        _check_instant("data.answered_at", data["answered_at"], latest)
    if "completed_at" in data:
        _check_instant("data.completed_at", data["completed_at"], latest)
    return event


def read_stored(payload: str) -> Event:
    """The event that was stored with this payload; it passed `read` then, or callfold made it itself."""
    return _event(payload, _decode_stored)


def call_uuid(organization_id: UUID, call_id: str) -> UUID:
    """A call's id: `call_id` itself where it is written as a UUID, else its UUIDv5 in the organization's
    namespace (RFC 9562, 5.5)."""
    return FastUUID(call_id) if _is_uuid(call_id) else uuid5(organization_id, call_id)


_is_uuid = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}").fullmatch


@lru_cache(maxsize=10_000)
def _organization_uuid(text: str) -> UUID:
    if not _is_uuid(text):
        raise InvalidEvent("organization_id: invalid UUID")
    return FastUUID(text)


def _event(text: str, decode: Any) -> Event:
    try:
        wire: _Stored = decode(text)
    except msgspec.ValidationError as error:
        raise _rule_broken(str(error)) from None
    except msgspec.DecodeError as error:
        raise _not_json(error) from None
    except RecursionError:
        raise _too_deep() from None
    organization_id = _organization_uuid(wire.organization_id)
    data: Any = wire.data or {}
    if "null" in text:
        data = {field: said for field, said in data.items() if said is not None}
    if "cost" in data:
        data["cost"] = _cents(data["cost"])
    return Event(
        organization_id,
        call_uuid(organization_id, wire.call_id),
        None if _is_uuid(wire.call_id) else wire.call_id,
        wire.id,
        wire.type,
        wire.timestamp,
        wire.livemode is not False,
        data,
        text,
    )


def _check_instant(field: str, instant: datetime, latest: datetime) -> None:
    if not EARLIEST <= instant <= latest:
        where = "before 1970" if instant < EARLIEST else "more than a day ahead"
        raise InvalidEvent(f"{field}: {instant.isoformat()} lies {where}", f"{field}: lies {where}")


def _cents(cost: Decimal) -> Decimal:
    """The amount with 4 decimals, however it was written."""
    if not cost.is_finite() or not 0 <= cost <= COST_CENTS_MAX:
        rule = f"data.cost: expected cents from 0 to {COST_CENTS_MAX}"
        raise InvalidEvent(f"{rule}, got {cost:.12g}", rule)
    cents = cost.quantize(COST_STEP)
    if cents != cost:
        rule = "data.cost: expected at most 4 decimals"
        raise InvalidEvent(f"{rule}, got {cost:.12g}", rule)
    return cents


def _may_be_deep(text: str) -> bool:
    return text.count("{") + text.count("[") > DEPTH_MAX


def _look_inside(text: str) -> None:
    """Refuses null bytes, which PostgreSQL stores in no text, and a nesting that later readers might not
    follow. An escaped backslash before `u0000` is no null byte."""
    if "\0" in text:
        raise InvalidEvent("the value has a null byte")

    def walk(node: object, path: str, depth: int) -> None:
        if depth > DEPTH_MAX:
            raise _too_deep()
        if isinstance(node, str) and "\0" in node:
            raise InvalidEvent(f"{path}: has a null byte", "the value has a null byte")
        if isinstance(node, dict):
            for key, child in node.items():
                walk(key, f"a key of {path}", depth)
                walk(child, key if path == "the value" else f"{path}.{key}", depth + 1)
        if isinstance(node, list):
            for child in node:
                walk(child, path, depth + 1)

    try:
        walk(_decode_anything(text), "the value", 0)
    except msgspec.DecodeError as error:
        raise _not_json(error) from None
    except RecursionError:
        raise _too_deep() from None


def _not_json(error: msgspec.DecodeError) -> InvalidEvent:
    return InvalidEvent(f"the value is not JSON: {str(error).removeprefix('JSON is malformed: ')}")


def _too_deep() -> InvalidEvent:
    return InvalidEvent(f"the value is nested deeper than {DEPTH_MAX} levels")


_AT = re.compile(r"^(?P<rule>.*) - at `\$\.?(?P<path>.*)`$", re.DOTALL)
_CHOICES: Final = {"type": EventType, "data.status": Status, "data.direction": Direction}


def _rule_broken(complaint: str) -> InvalidEvent:
    """msgspec's complaint as a sentence that begins with the field."""
    found = _AT.match(complaint)
    rule, path = (found["rule"], found["path"]) if found else (complaint, "")
    rule = rule.replace("`", "").replace(" | null", "")
    if rule.startswith("Invalid enum value") and path in _CHOICES:
        choices = ", ".join(_CHOICES[path].__args__)  # type: ignore[attr-defined]
        said = rule.removeprefix("Invalid enum value ")
        return InvalidEvent(f"{path}: {said} is none of {choices}", f"{path}: is none of {choices}")
    if rule.startswith("Object missing required field"):
        missing = rule.removeprefix("Object missing required field ")
        path, rule = (f"{path}.{missing}" if path else missing), "is missing"
    elif not path:
        path = "the value"
    return InvalidEvent(f"{path}: {rule[0].lower()}{rule[1:]}")
