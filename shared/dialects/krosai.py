"""KrosAI: webhooks in the three vocabularies of its documentation.

The vocabularies name one fact differently, and never give one name to two facts. So one table reads all.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from shared.calls.event import EventType
from shared.calls.lenient import is_uuid
from shared.sources.delivery import Delivery
from shared.sources.dialect import Dialect, Secret
from shared.sources.instants import iso, needed_instant
from shared.sources.money import cents
from shared.sources.outcome import Fact, Ignored, Quarantined
from shared.sources.parties import direction, number
from shared.sources.record import Record, needed, shortened, text, whole
from shared.sources.signatures import check_equal, header, hmac_sha256, secret
from shared.sources.source import Source

EVENTS: Final[Mapping[str, EventType]] = {
    "call.initiated": "call.initiated",
    "call.ringing": "call.ringing",
    "call.answered": "call.answered",
    "call.started": "call.answered",
    "call.completed": "call.completed",
    "call.ended": "call.completed",
    "call.failed": "call.failed",
    "recording.ready": "recording.ready",
    "call.recording.completed": "recording.ready",
    "call.recording.ready": "recording.ready",
    "transcript.ready": "transcript.ready",
    "transcription.completed": "transcript.ready",
}
"""event: the event's type, which the data's status may change. `call.started` means connected."""
STARTED: Final[Mapping[str, EventType]] = {"initiated": "call.initiated", "ringing": "call.ringing"}
"""status in `call.started`: the event's type, where it is not the answer."""
ENDS: Final[Mapping[str, str | None]] = {
    "completed": None,
    "answered": None,
    "failed": "failed",
    "busy": "busy",
    "no_answer": "no_answer",
    "canceled": "canceled",
}
"""status in the event of an end: the status of a failed call, or None for a completed one."""
ERROR_CODES: Final = {"NO_ANSWER": "no_answer", "BUSY": "busy"}


def read(record: Record) -> Sequence[Fact]:
    """The fact of a webhook about a call, its recording or its transcript."""
    fields = record.fields()
    name = needed(fields.get("event"), "event")
    if name not in EVENTS:
        if name.startswith("call."):
            raise Quarantined(f"event: {name[:60]!r} is not an event that KrosAI documents.")
        raise Ignored("it is not of a call")
    content = fields.get("data")
    if not isinstance(content, dict):
        raise Quarantined("data: is not an object.")
    type_ = EVENTS[name]
    data = _facts_of_call(content)
    if name == "call.started":
        type_ = STARTED.get(text(content.get("status")) or "", type_)
    elif type_ in ("call.completed", "call.failed"):
        data["status"] = failure = _failure(content, type_)
        if failure is not None:
            type_, data["answered_at"] = "call.failed", None
        else:
            type_ = "call.completed"
    elif type_ == "recording.ready":
        needed(data["recording_url"], "data.recording_url")
    elif type_ == "transcript.ready":
        needed(data["transcript"], "data.transcript")
    return [
        Fact(
            text(fields.get("id")) or record.derived_id(),
            type_,
            needed(content.get("call_id"), "data.call_id"),
            _time(fields),
            data,
        )
    ]


def _failure(content: Mapping[str, Any], type_: EventType) -> str | None:
    """The status of a failed call; None for a completed one."""
    word = text(content.get("status"))
    if word is None:
        if type_ == "call.completed":
            return None
        return ERROR_CODES.get(text(content.get("error_code")) or "", "failed")
    if word not in ENDS:
        raise Quarantined(f"data.status: {word[:60]!r} is not the status of a call that ended.")
    return ENDS[word]


def _facts_of_call(content: Mapping[str, Any]) -> dict[str, Any]:
    error_code = text(content.get("error_code"))
    return {
        "from_number": number(content.get("from_number")),
        "to_number": number(content.get("to_number")),
        "direction": direction(content.get("direction")),
        "phone_number_id": _uuid(content.get("phone_number_id")),
        "endpoint_id": _uuid(content.get("endpoint_id")),
        "duration": whole(content.get("duration")),
        "cost": cents(content.get("cost_cents")),
        "hangup_cause": shortened(text(content.get("hangup_cause")) or error_code),
        "recording_url": text(content.get("recording_url")),
        "transcript": text(content.get("transcript")),
        "answered_at": iso(content.get("answered_at"), "data.answered_at"),
        "error_code": error_code,
    }


def _uuid(value: Any) -> str | None:
    """The id of a number or an endpoint, unless it is of the form `pn_…` or `ep_…`."""
    given = text(value)
    return given if given is not None and is_uuid(given) else None


def _time(fields: Mapping[str, Any]) -> datetime:
    return needed_instant(iso(fields.get("timestamp"), "timestamp"), "timestamp")


def verify(delivery: Delivery, source: Source) -> None:
    """Checks X-Webhook-Signature over the body."""
    signature = "sha256=" + hmac_sha256(secret(source, "secret"), delivery.body or b"").hex()
    check_equal(signature, header(delivery, "x-webhook-signature"))


KROSAI: Final = Dialect(
    name="krosai",
    title="KrosAI",
    ways=("http",),
    read=read,
    verify=verify,
    secrets=(
        Secret("secret", "The webhook's secret, which KrosAI shows once, when the webhook is created."),
    ),
    setup="""\
1. In KrosAI, create a webhook with the source's address.
2. Choose all events whose names begin with `call.`, `recording.`, `transcript.` or `transcription.`.
3. Give the webhook's secret to the source as `secret`.

A webhook belongs to one organization, and its requests do not name it. So each organization needs a source of
its own.""",
    gives="""\
Status, direction, both numbers, the duration in seconds, the cost in cents, causes, recordings and
transcripts. Ids of numbers and endpoints are kept if they are UUIDs.""",
    lacks="""\
The signature has no time: a recorded request can be sent again, and has no effect then. KrosAI repeats a
request for about two hours and a half.""",
    from_memory="""\
The fields `recording_url` and `transcript` of a recording's and a transcript's own event, and the words
`NO_ANSWER` and `BUSY` of `error_code`.""",
)
