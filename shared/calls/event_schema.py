"""The JSON Schema of an event: the contract for producers.

`shared.calls.event` accepts an event that conforms without a note. It also reads other spellings, which the
schema leaves out. Limits and words come from the constants of `shared.calls.event`.

The schema uses only keywords that JSON Schema 2020-12 and draft 7 define alike: AsyncAPI 3.0 embeds draft 7.
Its patterns use only syntax that ECMAScript, Python, Java, RE2 and Rust share. Pure.
"""

from collections.abc import Sequence
from typing import Any, Final, get_args

from shared.calls.event import (
    AHEAD_MAX,
    CALL_ID_LENGTH_MAX,
    COST_CENTS_MAX,
    COST_STEP,
    COUNT_MAX,
    DEPTH_MAX,
    EARLIEST,
    ID_LENGTH_MAX,
    NUMBER_LENGTH_MAX,
    URL_LENGTH_MAX,
    VALUE_BYTES_MAX,
    Direction,
    EventType,
    Status,
)
from shared.calls.lenient import UUID_PATTERN

Schema = dict[str, Any]

SCHEMA_ID: Final = "urn:callfold:event:1"
"""Its version changes when an event that conformed no longer does."""
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_UUID_LENGTH: Final = 36
_FIRST_YEAR: Final = EARLIEST.year + 1
"""The first year that lies wholly after `EARLIEST`, with any offset."""
_COST_DIGITS: Final = len(str(int(COST_CENTS_MAX)))
_COST_DECIMALS: Final = -int(COST_STEP.as_tuple().exponent)
_DAYS_AHEAD: Final = f"{AHEAD_MAX.days} day{'s' if AHEAD_MAX.days > 1 else ''}"

_ORGANIZATION: Final = "6f1c1f0e-93a5-4f4f-9a53-0d2f0a0a8a01"
_CALL: Final = "a84b4c76e66710@pbx.example"
_FAILED_CALL: Final = "0b6cf1f4-6d2e-4a3b-9b3e-2f7c5a1d8e90"
_RECORDING_URL: Final = "https://recordings.example.com/a84b4c76e66710.opus"


def event_schema() -> Schema:
    """The JSON Schema of an event of the topic `call-events`."""
    return {
        "$schema": DIALECT,
        "$id": SCHEMA_ID,
        "title": "callfold event",
        "description": "One immutable fact about one call, as a telephony system publishes it. callfold "
        "accepts an event that conforms to this schema and stores every field. Unknown fields are kept.",
        "$comment": "Assert formats when you validate: date-time refuses days that do not exist. A schema "
        f"cannot express these rules. The value is UTF-8 JSON of at most {VALUE_BYTES_MAX:,} bytes, nested "
        f"at most {DEPTH_MAX} levels deep. timestamp is at most {_DAYS_AHEAD} ahead of callfold's clock, and "
        f"answered_at and completed_at are at most {_DAYS_AHEAD} after timestamp. The organization exists, "
        "unless callfold is set to create it (CALLFOLD_UNKNOWN_ORGANIZATIONS). The call was not deleted, is "
        "not older than the retention, and has room for another event.",
        "type": "object",
        "required": ["id", "type", "organization_id", "call_id", "timestamp"],
        "properties": {
            "id": {
                **_text(ID_LENGTH_MAX),
                "description": "Unique within a call. A second event of the call with the same id is "
                "ignored, so that retrying is always safe.",
                "examples": ["evt_7c1e"],
            },
            "type": {
                "type": "string",
                "enum": list(get_args(EventType)),
                "description": "The kind of fact.",
                "examples": ["call.completed"],
            },
            "organization_id": {
                **_uuid(),
                "description": "The organization that the call belongs to.",
                "examples": [_ORGANIZATION],
            },
            "call_id": {
                **_text(CALL_ID_LENGTH_MAX),
                "description": "A UUID, or another text that identifies the call within its organization, "
                "such as a SIP Call-ID.",
                "examples": [_CALL, _FAILED_CALL],
            },
            "timestamp": {
                **_instant(),
                "description": "When it happened. The order of events and the day of a call come from this "
                f"field. At most {_DAYS_AHEAD} ahead of callfold's clock.",
                "examples": ["2026-11-24T10:01:06.123Z", "2026-11-24T11:01:06+01:00"],
            },
            "livemode": _optional(
                {
                    "type": "boolean",
                    "description": "false for test traffic. An event without it does not set the mode.",
                    "examples": [True],
                }
            ),
            "data": _optional(
                {
                    "type": "object",
                    "description": "The facts about the call. A field that is absent or null "
                    "changes nothing. Unknown fields are kept.",
                    "properties": {name: _optional(field) for name, field in _data().items()},
                    "additionalProperties": True,
                    "examples": [{"duration": 60, "cost": 1.25, "hangup_cause": "NORMAL_CLEARING"}],
                }
            ),
        },
        "additionalProperties": True,
        "examples": event_examples(),
    }


def _data() -> dict[str, Schema]:
    return {
        "from_number": {
            **_text(NUMBER_LENGTH_MAX),
            "description": "The calling party. callfold keeps it as sent and adds no country code.",
            "examples": ["+493012345", "anonymous"],
        },
        "to_number": {
            **_text(NUMBER_LENGTH_MAX),
            "description": "The called party. callfold keeps it as sent and adds no country code.",
            "examples": ["+12125550100", "sip:front-desk@pbx.example.com"],
        },
        "direction": {
            **_choice(get_args(Direction)),
            "description": "The direction of the call, as the organization sees it.",
            "examples": ["inbound"],
        },
        "phone_number_id": {
            **_uuid(),
            "description": "The organization's phone number, by which calls are also counted.",
            "examples": ["3d7a8c1e-52b4-4f0b-8a59-1c6e9f2d7b10"],
        },
        "endpoint_id": {
            **_uuid(),
            "description": "The endpoint that handled the call.",
            "examples": ["9e0f4d52-7c3a-4b6e-a1d8-5f2b8c7e6a31"],
        },
        "status": {
            **_choice(get_args(Status)),
            "description": "The status of the call, such as busy in a call.failed event. Without it, the "
            "event type gives the status.",
            "examples": ["busy"],
        },
        "duration": {
            **_count(),
            "description": "Whole seconds, as the source counted them.",
            "examples": [60],
        },
        "cost": {
            "type": ["number", "string"],
            "minimum": 0,
            "maximum": float(COST_CENTS_MAX),
            "pattern": f"^[0-9]{{1,{_COST_DIGITS}}}(?:\\.[0-9]{{1,{_COST_DECIMALS}}})?$",
            "description": f"Cents, rounded half to even to {_COST_DECIMALS} decimals. A text avoids binary "
            "floating point.",
            "examples": [1.25, "1.25"],
        },
        "latency_ms": {
            **_count(),
            "description": "The source's latency in milliseconds.",
            "examples": [120],
        },
        "hangup_cause": {
            **_text(NUMBER_LENGTH_MAX),
            "description": "Why the call ended: a name of ITU-T Q.850 as switches spell it, a SIP status, or "
            "any other text, which is counted as OTHER.",
            "examples": ["NORMAL_CLEARING", "SIP 486"],
        },
        "recording_url": {
            **_text(URL_LENGTH_MAX),
            "description": "Where the recording is stored.",
            "examples": [_RECORDING_URL],
        },
        "transcript": {
            **_text(),
            "description": "The transcript of the call.",
            "examples": ["Hello, how can I help you?"],
        },
        "answered_at": {
            **_instant(),
            "description": f"When the call was answered. At most {_DAYS_AHEAD} after timestamp.",
            "examples": ["2026-11-24T10:00:06.123Z"],
        },
        "completed_at": {
            **_instant(),
            "description": f"When the call ended. At most {_DAYS_AHEAD} after timestamp.",
            "examples": ["2026-11-24T10:01:06.123Z"],
        },
    }


def _optional(schema: Schema) -> Schema:
    """The same, or null."""
    types = schema["type"]
    nullable = {**schema, "type": [*([types] if isinstance(types, str) else types), "null"]}
    if "enum" in schema:
        nullable["enum"] = [*schema["enum"], None]
    return nullable


def _text(length_max: int | None = None) -> Schema:
    limit = {} if length_max is None else {"maxLength": length_max}
    return {"type": "string", "minLength": 1, **limit, "pattern": r"^[^\x00]*$"}


def _choice(words: Sequence[str]) -> Schema:
    return {"type": "string", "enum": list(words)}


def _count() -> Schema:
    return {"type": "integer", "minimum": 0, "maximum": COUNT_MAX}


def _uuid() -> Schema:
    # The length refuses a line break at the end, which `$` allows in Python and Perl.
    return {
        "type": "string",
        "format": "uuid",
        "pattern": f"^{UUID_PATTERN}$",
        "maxLength": _UUID_LENGTH,
    }


def _instant() -> Schema:
    hour, minute = "(?:[01][0-9]|2[0-3])", "[0-5][0-9]"
    day = f"{_years_from(_FIRST_YEAR)}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
    return {
        "type": "string",
        "format": "date-time",
        "pattern": f"^{day}T{hour}:{minute}:{minute}(?:\\.[0-9]{{1,9}})?(?:Z|[+-]{hour}:{minute})$",
    }


def _years_from(first: int) -> str:
    """The pattern of a year with four digits, from the first one on."""
    digits = f"{first:04}"
    later = [
        f"{digits[:at]}[{int(digit) + 1}-9]" + "[0-9]" * (len(digits) - at - 1)
        for at, digit in enumerate(digits)
        if digit < "9"
    ]
    return f"(?:{'|'.join([digits, *later])})"


def event_examples() -> list[dict[str, Any]]:
    """An event of each type: a call that is answered, and one that fails."""

    def event(type_: str, time: str, call_id: str = _CALL, **data: object) -> dict[str, Any]:
        return {
            "id": f"evt_{time.replace(':', '')}",
            "type": type_,
            "organization_id": _ORGANIZATION,
            "call_id": call_id,
            "timestamp": f"2026-11-24T{time}.123Z",
            "livemode": True,
            **({"data": data} if data else {}),
        }

    return [
        event(
            "call.initiated",
            "10:00:00",
            direction="inbound",
            from_number="+493012345",
            to_number="+12125550100",
        ),
        event("call.ringing", "10:00:01"),
        event("call.answered", "10:00:06", latency_ms=120),
        event("call.completed", "10:01:06", duration=60, hangup_cause="NORMAL_CLEARING"),
        event("call.failed", "10:02:00", _FAILED_CALL, status="busy", hangup_cause="USER_BUSY"),
        event("call.updated", "10:05:00", cost=1.25),
        event("recording.ready", "10:02:10", recording_url=_RECORDING_URL),
        event("transcript.ready", "10:03:30", transcript="Hello, how can I help you?"),
    ]
