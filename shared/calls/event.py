"""The event: one immutable fact about one call, as a telephony system publishes it.

This module is the whole contract of the topic. `read` turns a record's value into an `Event`, or reports in
one sentence the rule that the value breaks. A record must give the event's id, its call and its time; without
them it is not an event. All other fields are optional. A field in another notation that has one clear meaning
is read (`shared.calls.lenient`). A field without a clear meaning is left out with a note on the event: a bad
price must not cost the call its end.

Pure: no I/O, and no clock but the one passed in. The meaning of a stored payload depends only on the payload.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from functools import lru_cache
from hashlib import sha1
from typing import Annotated, Any, Final, Literal, NamedTuple, TypedDict, get_args
from uuid import UUID

import msgspec
from asyncpg.pgproto.pgproto import UUID as FastUUID  # noqa: N811 (a uuid.UUID, parsed and hashed in C)
from msgspec import Meta

from shared.calls import lenient
from shared.calls.framing import BYTE_ORDER_MARK, framing
from shared.calls.hangup import SPELLINGS, spelled
from shared.calls.lenient import Unreadable, is_uuid

VALUE_BYTES_MAX: Final = 1024 * 1024
EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
AHEAD_MAX: Final = timedelta(days=1)
COST_CENTS_MAX: Final = Decimal("9999999999.9999")
COST_STEP: Final = Decimal("0.0001")
DEPTH_MAX: Final = 100
SHALLOW_LENGTH: Final = 1_000
"""A value this short cannot be nested too deeply for any reader."""

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
"""The type of callfold's own event, which ends a call that never ended. No record has it."""

ID_LENGTH_MAX: Final = 128
CALL_ID_LENGTH_MAX: Final = 256
COUNT_MAX: Final = 2**31 - 1
NUMBER_LENGTH_MAX: Final = 256
URL_LENGTH_MAX: Final = 8_192

_Text = Annotated[str, Meta(min_length=1)]  # an empty text means null: `_read_leniently` leaves it out
_Url = Annotated[str, Meta(min_length=1, max_length=URL_LENGTH_MAX)]
_Number = Annotated[str, Meta(min_length=1, max_length=NUMBER_LENGTH_MAX)]
_Count = Annotated[int, Meta(ge=0, le=COUNT_MAX)]
_Instant = Annotated[datetime, Meta(tz=True)]


class EventData(TypedDict, total=False):
    """The call's fields in an event. A field that is absent or null has no effect."""

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
    recording_url: _Url
    transcript: _Text
    answered_at: datetime
    completed_at: datetime


class Note(NamedTuple):
    """A field that was left out of an event: its path, and the rule that it breaks."""

    field: str
    rule: str

    def __str__(self) -> str:
        return f"{self.field}: {self.rule}; left out"


class Event(msgspec.Struct, frozen=True, gc=False):
    """An event whose fields all meet the contract. `payload` is the record's value, verbatim. `livemode` is
    None where the event does not give it."""

    organization_id: UUID
    call_id: UUID
    external_id: str | None
    id: str
    type: str
    timestamp: datetime
    livemode: bool | None
    data: EventData
    payload: str
    notes: tuple[Note, ...] = ()


class InvalidEvent(ValueError):
    """A record that is not an event. The text is one sentence: the field and the rule.

    `rule` is the same without any content of the record, for places where content must not appear.
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
    recording_url: _Url | None
    transcript: _Text | None
    answered_at: _Instant | None
    completed_at: _Instant | None


class _Stored(msgspec.Struct, frozen=True, gc=False):
    organization_id: str
    call_id: Annotated[str, Meta(min_length=1, max_length=CALL_ID_LENGTH_MAX)]
    id: Annotated[str, Meta(min_length=1, max_length=ID_LENGTH_MAX)]
    type: str
    timestamp: _Instant
    livemode: bool | None = None
    data: _Data | None = None


class _Published(_Stored, frozen=True, gc=False):
    type: EventType


_decode_published = msgspec.json.Decoder(_Published).decode
_decode_stored = msgspec.json.Decoder(_Stored).decode


def number(text: str) -> Decimal:
    """A JSON number with a fraction or an exponent; NaN where its exponent exceeds the range of Decimal."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("NaN")


_decode_anything = msgspec.json.Decoder(float_hook=number).decode


def read(value: bytes | None, now: datetime) -> Event:
    """Reads the event in a record's value.

    `now` (aware) is the time of reading: an event may lie at most one day after it. A UTF-8 byte-order mark
    before the value is ignored. Raises `InvalidEvent`. For a value in a frame, an envelope or another
    encoding, the sentence names it.
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
        raise InvalidEvent(f"the value has {len(value):,} bytes; the limit is {VALUE_BYTES_MAX:,}")
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        raise InvalidEvent(f"the value is not UTF-8 at byte {error.start}") from None
    if "\0" in text:
        raise InvalidEvent("the value contains a null byte")
    if len(text) > SHALLOW_LENGTH and _may_be_deep(text):
        _check_depth(text)
    event = _event(text, _Published, _decode_published)
    if not EARLIEST <= event.timestamp <= now + AHEAD_MAX:
        rule = _out_of_time(event.timestamp)
        raise InvalidEvent(f"timestamp: {event.timestamp.isoformat()} {rule}", f"timestamp: {rule}")
    return event


def read_stored(payload: str) -> Event:
    """The event stored with this payload. It passed `read` when it was stored, or callfold generated it."""
    return _event(payload, _Stored, _decode_stored)


def call_uuid(organization_id: UUID, call_id: str) -> UUID:
    """A call's id: `call_id` itself if it is a UUID, otherwise its UUIDv5 in the organization's namespace
    (RFC 9562, 5.5), as `uuid.uuid5` makes it, in half the time."""
    if is_uuid(call_id):
        return FastUUID(call_id)
    digest = bytearray(sha1(organization_id.bytes + call_id.encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    return FastUUID(bytes(digest))


@lru_cache(maxsize=10_000)
def _organization_uuid(text: str) -> UUID:
    if not is_uuid(text):
        raise InvalidEvent("organization_id: invalid UUID")
    return FastUUID(text)


def _event(text: str, form: type[_Stored], decode: Any) -> Event:
    notes: tuple[Note, ...] = ()
    try:
        wire: _Stored | None = None if "\\u0000" in text else decode(text)
    except msgspec.ValidationError:
        wire = None
    except msgspec.DecodeError as error:
        raise _not_json(error) from None
    except RecursionError:
        raise _too_deep() from None
    if wire is None:
        wire, notes = _read_leniently(text, form)
    organization_id = _organization_uuid(wire.organization_id)
    has_uuid = is_uuid(wire.call_id)
    data: Any = wire.data or {}
    if "null" in text:
        data = {field: given for field, given in data.items() if given is not None}
    if not _SETTLED.isdisjoint(data):
        notes += _settle(data, wire.timestamp)
    return Event(
        organization_id,
        FastUUID(wire.call_id) if has_uuid else call_uuid(organization_id, wire.call_id),
        None if has_uuid else wire.call_id,
        wire.id,
        wire.type,
        wire.timestamp,
        wire.livemode,
        data,
        text,
        notes,
    )


_SETTLED: Final = frozenset({"hangup_cause", "cost", "answered_at", "completed_at"})


def _settle(data: dict[str, Any], timestamp: datetime) -> tuple[Note, ...]:
    """Normalizes fields that have several spellings, in place. Leaves out fields that break a rule."""
    notes: tuple[Note, ...] = ()
    cause = data.get("hangup_cause")
    if cause is not None and cause not in SPELLINGS:
        data["hangup_cause"] = spelled(cause)
    if "cost" in data:
        cost = data["cost"]
        if cost.is_finite() and 0 <= cost <= COST_CENTS_MAX:
            data["cost"] = cost.quantize(COST_STEP, ROUND_HALF_EVEN)
        else:
            del data["cost"]
            notes += (Note("data.cost", f"expected cents from 0 to {COST_CENTS_MAX}"),)
    for field in ("answered_at", "completed_at"):
        # Bounded by the event's own time, so that a payload reads the same at any time. Compared by a
        # difference, because a sum would overflow on the last representable days.
        if field in data and not (data[field] >= EARLIEST and data[field] - timestamp <= AHEAD_MAX):
            rule = "is before 1970" if data[field] < EARLIEST else "is more than a day after the event"
            del data[field]
            notes += (Note(f"data.{field}", rule),)
    return notes


_DATA: Final[Mapping[str, lenient.Reader]] = {
    "from_number": lenient.text(NUMBER_LENGTH_MAX),
    "to_number": lenient.text(NUMBER_LENGTH_MAX),
    "direction": lenient.choice(get_args(Direction)),
    "phone_number_id": lenient.uuid,
    "endpoint_id": lenient.uuid,
    "status": lenient.choice(get_args(Status), ("cancelled", "canceled")),
    "duration": lenient.count(COUNT_MAX),
    "cost": lenient.amount(COST_CENTS_MAX, COST_STEP),
    "latency_ms": lenient.count(COUNT_MAX, ROUND_HALF_EVEN),
    "hangup_cause": lenient.text(NUMBER_LENGTH_MAX),
    "recording_url": lenient.text(URL_LENGTH_MAX),
    "transcript": lenient.text(),
    "answered_at": lenient.instant,
    "completed_at": lenient.instant,
}
READ_FIELDS: Final = ("livemode", "data", *(f"data.{field}" for field in _DATA))
"""The fields that a note can name."""
_REQUIRED_TEXTS: Final = ("id", "type", "organization_id", "call_id")


def _read_leniently(text: str, form: type[_Stored]) -> tuple[_Stored, tuple[Note, ...]]:
    """Reads a value field by field and leaves out fields without a clear meaning. Raises `InvalidEvent` if
    the event's call or time cannot be determined."""
    try:
        written = _decode_anything(text)
    except msgspec.DecodeError as error:
        raise _not_json(error) from None
    except RecursionError:
        raise _too_deep() from None
    notes: list[Note] = []

    def settled(path: str, value: Any, reader: lenient.Reader) -> Any:
        try:
            return reader(value)
        except Unreadable as unreadable:
            notes.append(Note(path, str(unreadable)))
            return None

    if isinstance(written, dict):
        for name in _REQUIRED_TEXTS:
            if isinstance(written.get(name), str) and "\0" in written[name]:
                raise InvalidEvent(f"{name}: contains a null byte")
        if isinstance(written.get("timestamp"), str):
            try:
                written["timestamp"] = lenient.instant(written["timestamp"])
            except Unreadable as unreadable:
                raise InvalidEvent(f"timestamp: {unreadable}") from None
        written["livemode"] = settled("livemode", written.get("livemode"), lenient.flag)
        data = written.get("data")
        if isinstance(data, dict):
            read_data = {
                field: settled(f"data.{field}", data[field], reader)
                for field, reader in _DATA.items()
                if field in data
            }
            written["data"] = {field: given for field, given in read_data.items() if given is not None}
        else:
            written["data"] = settled("data", data, _nothing)
    try:
        return msgspec.convert(written, form), tuple(notes)
    except msgspec.ValidationError as error:
        raise _rule_broken(str(error)) from None


def _nothing(value: Any) -> None:
    if not lenient.is_blank(value):
        raise Unreadable("expected an object")


def _out_of_time(instant: datetime) -> str:
    return "is before 1970" if instant < EARLIEST else "is more than a day in the future"


def _may_be_deep(text: str) -> bool:
    return text.count("{") + text.count("[") > DEPTH_MAX


def _check_depth(text: str) -> None:
    """Refuses nesting that later readers might not support."""

    def walk(node: object, depth: int) -> None:
        if depth > DEPTH_MAX:
            raise _too_deep()
        for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            walk(child, depth + 1)

    try:
        walk(_decode_anything(text), 0)
    except msgspec.DecodeError as error:
        raise _not_json(error) from None
    except RecursionError:
        raise _too_deep() from None


def _not_json(error: msgspec.DecodeError) -> InvalidEvent:
    fault = str(error).removeprefix("JSON is malformed: ")
    ends_early = fault == "Input data was truncated"
    return InvalidEvent(f"the value is not JSON: {'it ends too early' if ends_early else fault}")


def _too_deep() -> InvalidEvent:
    return InvalidEvent(f"the value is nested deeper than {DEPTH_MAX} levels")


_AT = re.compile(r"^(?P<rule>.*) - at `\$\.?(?P<path>.*)`$", re.DOTALL)
_CHOICES: Final = {"type": EventType}


def _rule_broken(complaint: str) -> InvalidEvent:
    """msgspec's error as a sentence that begins with the field."""
    found = _AT.match(complaint)
    rule, path = (found["rule"], found["path"]) if found else (complaint, "")
    rule = rule.replace("`", "").replace(" | null", "")
    if rule.startswith("Invalid enum value") and path in _CHOICES:
        choices = ", ".join(_CHOICES[path].__args__)  # type: ignore[attr-defined]
        given = rule.removeprefix("Invalid enum value ")
        return InvalidEvent(f"{path}: {given} is not one of {choices}", f"{path}: is not one of {choices}")
    if rule.startswith("Object missing required field"):
        missing = rule.removeprefix("Object missing required field ")
        path, rule = (f"{path}.{missing}" if path else missing), "is missing"
    elif not path:
        path = "the value"
    return InvalidEvent(f"{path}: {rule[0].lower()}{rule[1:]}")
