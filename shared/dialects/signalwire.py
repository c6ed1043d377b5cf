"""SignalWire: the Compatibility API's callbacks as forms, and the call states of SWML and RELAY as JSON.

A call is SignalWire's call leg. The forms have Twilio's fields, and few words of their own.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from shared.calls.event import EventType
from shared.dialects.twilio import DIRECTIONS, public_urls, verify_form_signature
from shared.dialects.twilio import STATUSES as TWILIO_STATUSES
from shared.sources.causes import sip_cause
from shared.sources.delivery import Delivery
from shared.sources.dialect import Dialect, Secret, always
from shared.sources.envelopes import FORM
from shared.sources.instants import earlier, epoch, iso, later, needed_instant, rfc_2822, seconds_between
from shared.sources.outcome import Fact, Ignored, Quarantined, Refused
from shared.sources.parties import direction, number
from shared.sources.record import Record, at, needed, shortened, text, whole
from shared.sources.signatures import header, hmac_sha1, hmac_sha256, same, secret
from shared.sources.source import Source

STATUSES: Final[Mapping[str, tuple[int, EventType, str | None]]] = {
    **TWILIO_STATUSES,
    "answered": (2, "call.answered", None),
}
"""CallStatus: as at Twilio. SignalWire may send both `answered` and `in-progress`."""
STATES: Final[Mapping[str, tuple[int, EventType]]] = {
    "created": (0, "call.initiated"),
    "ringing": (1, "call.ringing"),
    "answered": (2, "call.answered"),
    "ended": (4, "call.completed"),
}
"""call_state: the step's rank in the event's id, and the event's type. end_reason decides the end's type."""
END_REASONS: Final[Mapping[str, str | None]] = {
    "hangup": None,
    "max_duration": None,
    "busy": "busy",
    "noAnswer": "no_answer",
    "no_answer": "no_answer",
    "cancel": "canceled",
    "abandoned": "canceled",
    "decline": "failed",
    "declined": "failed",
    "error": "failed",
    "not_found": "failed",
}
"""end_reason in the spellings of RELAY and SWML: the status of a failed call; None for a completed one."""


def read(record: Record) -> Sequence[Fact]:
    """The facts of a callback of either form."""
    fields = record.fields()
    if "event_type" in fields or "call_state" in fields:
        return _event(fields)
    if text(fields.get("RecordingSid")) and text(fields.get("RecordingStatus")):
        return [_recording(fields, record)]
    for name in ("ConferenceSid", "DialCallSid", "TranscriptionSid"):
        if text(fields.get(name)):
            raise Ignored(f"it reports {name}, not a call")
    if text(fields.get("CallStatus")) is None:
        if "CallSid" in fields or "AccountSid" in fields:
            raise Ignored("it has no CallStatus")
        raise Quarantined("The record has neither CallSid nor event_type.")
    if text(fields.get("CallbackSource")) is None and text(fields.get("Timestamp")) is None:
        raise Ignored("it is not a status callback")
    return _status_callback(fields, record)


def _status_callback(fields: Mapping[str, Any], record: Record) -> list[Fact]:
    call_id, word = needed(fields.get("CallSid"), "CallSid"), needed(fields.get("CallStatus"), "CallStatus")
    if word not in STATUSES:
        raise Quarantined(f"CallStatus: {word[:60]!r} is not a status that SignalWire documents.")
    rank, type_, failure = STATUSES[word]
    at_ = rfc_2822(fields.get("Timestamp"), "Timestamp") or record.received_at
    data: dict[str, Any] = {
        "from_number": number(fields.get("From")),
        "to_number": number(fields.get("To")),
        "direction": DIRECTIONS.get(text(fields.get("Direction")) or ""),
    }
    facts = []
    if rank == 3:
        duration = whole(fields.get("CallDuration"))
        data |= {
            "status": failure,
            "duration": duration,
            "hangup_cause": sip_cause(fields.get("SipResultCode")),
            "recording_url": text(fields.get("RecordingUrl")),
        }
        if "Direction" not in fields and "SequenceNumber" not in fields:
            # A phone number's callback: an inbound call's only one. Its time is that of the begin.
            data["direction"] = "inbound"
            facts.append(Fact(f"{call_id}:0:begin", "call.initiated", call_id, at_))
            at_ = later(at_, duration)
        elif type_ == "call.completed" and duration:
            data["answered_at"] = answered_at = earlier(at_, duration)
            # By default SignalWire sends no earlier request, so the answer is the earliest time.
            facts.append(Fact(f"{call_id}:0:begin", "call.updated", call_id, answered_at))
    facts.append(Fact(f"{call_id}:{rank}:{word}", type_, call_id, at_, data))
    return facts


def _recording(fields: Mapping[str, Any], record: Record) -> Fact:
    if fields["RecordingStatus"] != "completed":
        raise Ignored("the recording is not completed")
    began = rfc_2822(fields.get("RecordingStartTime"), "RecordingStartTime")
    return Fact(
        f"{text(fields['RecordingSid'])}:completed",
        "recording.ready",
        needed(fields.get("CallSid"), "CallSid"),
        later(began, whole(fields.get("RecordingDuration"))) if began else record.received_at,
        {"recording_url": needed(fields.get("RecordingUrl"), "RecordingUrl")},
    )


def _event(fields: Mapping[str, Any]) -> list[Fact]:
    """The facts of a JSON event, whose fields are in `params`, or beside it in a flat form."""
    kind, params = text(fields.get("event_type")), fields.get("params")
    if not isinstance(params, dict):
        params = fields
    if kind == "calling.transcript.completed":
        return [_transcript(fields, params)]
    if kind not in (None, "calling.call.state"):
        raise Ignored("it is not a call's state")
    call_id, state = needed(params.get("call_id"), "call_id"), needed(params.get("call_state"), "call_state")
    if state == "ending":
        raise Ignored("the end follows")
    if state not in STATES:
        raise Quarantined(f"call_state: {state[:60]!r} is not a state that SignalWire documents.")
    rank, type_ = STATES[state]
    begun, answered = _instant(params, "start_time"), _instant(params, "answer_time")
    data = _parties(params)
    if state == "ended":
        reason, ended = text(params.get("end_reason")), _instant(params, "end_time")
        # The fold reads no_answer as completed after an answer. So it fits an end without a reason.
        unknown = None if answered else "failed" if reason else "no_answer"
        failure = END_REASONS.get(reason or "", unknown)
        type_ = "call.failed" if failure else "call.completed"
        answered = None if failure else answered
        data |= {
            "status": failure,
            "completed_at": ended,
            "duration": seconds_between(answered, ended),
            "hangup_cause": shortened(reason),
        }
    if rank >= 2:
        data["answered_at"] = answered
    at_ = needed_instant(_instant(fields, "timestamp"), "timestamp")
    facts = [Fact(f"{call_id}:0:begin", "call.initiated", call_id, begun)] if begun else []
    facts.append(Fact(f"{call_id}:{rank}:{state}", type_, call_id, at_, data))
    return facts


def _transcript(fields: Mapping[str, Any], params: Mapping[str, Any]) -> Fact:
    transcript = text(params.get("text"))
    if transcript is None:
        raise Ignored("the transcript is empty")
    call_id = needed(params.get("call_id"), "call_id")
    return Fact(
        f"{text(params.get('id')) or call_id}:transcript",
        "transcript.ready",
        call_id,
        needed_instant(_instant(fields, "timestamp"), "timestamp"),
        {"transcript": transcript},
    )


def _parties(params: Mapping[str, Any]) -> dict[str, Any]:
    device = at(params, "device.params")
    if not isinstance(device, dict):
        device = params
    return {
        "from_number": number(device.get("from_number")) or number(device.get("from")),
        "to_number": number(device.get("to_number")) or number(device.get("to")),
        "direction": direction(params.get("direction")),
    }


def _instant(fields: Mapping[str, Any], name: str) -> datetime | None:
    """A time in seconds, in milliseconds, or as ISO 8601."""
    value = fields.get(name)
    return iso(value, name) if isinstance(value, str) and "T" in value else epoch(value, name)


def verify(delivery: Delivery, source: Source) -> None:
    """Checks the signature: of a form in the manner of Twilio, of JSON over the public URL and the body."""
    key, body = secret(source, "signing_key"), delivery.body or b""
    if not body or delivery.content_type == FORM or "bodySHA256=" in delivery.query:
        verify_form_signature(delivery, source, key, "x-signalwire-signature", "x-twilio-signature")
        return
    digest, given = hmac_sha256, delivery.headers.get("x-signalwire-sha256-signature")
    if given is None:
        digest, given = hmac_sha1, header(delivery, "x-signalwire-signature")
    good = [
        same(digest(key, url.encode(errors="replace") + body).hex(), given.lower())
        for url in public_urls(delivery, source)
    ]
    if not any(good):
        raise Refused("the signature is wrong")


SIGNALWIRE: Final = Dialect(
    name="signalwire",
    title="SignalWire",
    ways=("http",),
    read=read,
    verify=verify,
    signs_address=always,
    organizations_by="AccountSid, project_id",
    secrets=(Secret("signing_key", "The project's signing key, on the dashboard's page API."),),
    setup="""\
1. **Compatibility API (cXML).** For outbound calls, give `StatusCallback` with the source's address, and
   `StatusCallbackEvent` with all of `initiated`, `ringing`, `answered` and `completed`. Give the same two
   attributes to each `<Number>` or `<Sip>` within `<Dial>`.
2. For inbound calls, set the phone number's *Status change webhook* to the address.
3. For recordings, give the address as `RecordingStatusCallback`.
4. **SWML.** Give the address as `call_state_url`, and `call_state_events` with all of `created`, `ringing`,
   `answered` and `ended`. By default SignalWire sends `ended` alone.
5. For transcripts, give the address as the `status_url` of `transcribe`.

Use one of the two ways for a call: their call ids differ. With `--map-by space_id`, a space
decides.""",
    gives="""\
Status, direction, both numbers, the duration in seconds, causes, recordings by cXML, and transcripts. Times
of forms have whole seconds. Without the earlier requests, the answer is the end less the duration. RELAY's
events have the times of begin, answer and end.""",
    lacks="""\
The callbacks carry no price. SignalWire sends callbacks once, and a request can be lost. SWML's events carry
no duration and no begin: they follow from the events `created`, `answered` and `ended`. A phone number's
callback has no time of its answer and its end: the end is taken as its time plus the duration.""",
    from_memory="""\
The unit of `start_time`, `answer_time` and `end_time`: numbers from 10^11 up are read as milliseconds. That
an end by `decline`, `error` or `not_found` counts as failed.""",
)
