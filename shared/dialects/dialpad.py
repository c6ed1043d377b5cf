"""Dialpad: call events, as signed JSON Web Tokens or as JSON.

A call is what its caller sees. Dialpad gives each further leg, of a user or a transfer, a call_id of its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from shared.calls.event import EventType
from shared.sources.delivery import Delivery
from shared.sources.dialect import Dialect, Secret, named_at
from shared.sources.envelopes import json_value, usual_values
from shared.sources.instants import epoch_milliseconds, needed_instant
from shared.sources.outcome import Fact, Ignored, Quarantined
from shared.sources.parties import sip_user
from shared.sources.record import Record, at, needed, text, whole
from shared.sources.signatures import base64url_bytes, jwt_claims, secret
from shared.sources.source import Source

STEPS: Final[Mapping[str, tuple[EventType, tuple[str, ...]]]] = {
    "calling": ("call.initiated", ("date_started", "event_timestamp")),
    "ringing": ("call.ringing", ("date_rang", "date_first_rang", "event_timestamp")),
    "connected": ("call.answered", ("date_connected", "event_timestamp")),
}
"""The event's type, and the fields of its time: the first that has one."""
UNANSWERED: Final[Mapping[str, str | None]] = {
    "hangup": None,
    "missed": "no_answer",
    "abandoned": "canceled",
    "blocked": "failed",
    "voicemail": "no_answer",
    "voicemail_uploaded": "no_answer",
}
"""The status of a call that was not answered; None if it follows from the direction."""
VOICEMAILS: Final = frozenset({"voicemail", "voicemail_uploaded"})
RECORDINGS: Final = frozenset({"recording", "admin_recording"})
TRANSCRIPTIONS: Final = frozenset({"transcription", "call_transcription"})
DIRECTIONS: Final = frozenset({"inbound", "outbound"})


def read(record: Record) -> Sequence[Fact]:
    """The facts of a call event."""
    fields = record.fields()
    if "call_id" not in fields and "state" not in fields and "from_number" in fields:
        raise Ignored("it is a text message")
    leg_id, state = needed(fields.get("call_id"), "call_id"), needed(fields.get("state"), "state")
    call_id = _id_at(fields, "entry_point_call_id") or _id_at(fields, "master_call_id") or leg_id
    event_at = text(fields.get("event_timestamp"))
    id_ = f"{leg_id}:{state}:{event_at}" if event_at is not None else record.derived_id()
    if state in STEPS:
        type_, names = STEPS[state]
        data = _parties(fields) if type_ == "call.initiated" and leg_id == call_id else {}
        return [Fact(id_, type_, call_id, _time(fields, *names), data)]
    if state in UNANSWERED:
        facts = [_end(fields, state, id_, call_id, is_leg=leg_id != call_id)]
        if state in VOICEMAILS and (url := text(fields.get("voicemail_link"))) is not None:
            facts.append(_asset("recording.ready", f"{id_}:recording", call_id, fields, recording_url=url))
        return facts
    if state in RECORDINGS:
        url = _first_recording(fields)
        return [_asset("recording.ready", id_, call_id, fields, recording_url=url)]
    if state in TRANSCRIPTIONS:
        transcript = text(fields.get("transcription_text"))
        return [_asset("transcript.ready", id_, call_id, fields, transcript=transcript)]
    raise Ignored(f"the state {state[:60]!r} neither begins, answers nor ends a call")


def _end(fields: Mapping[str, Any], state: str, id_: str, call_id: str, *, is_leg: bool) -> Fact:
    """The end of a leg. The end of a leg that only rang ends no call, unless it went to voicemail."""
    ended_at = _time(fields, "date_ended", "event_timestamp")
    status, direction = UNANSWERED[state], text(fields.get("direction"))
    if state == "hangup":
        answered_at = epoch_milliseconds(fields.get("date_connected"), "date_connected")
        if answered_at is not None:
            milliseconds = whole(fields.get("duration")) if not is_leg else None
            data = {
                "answered_at": answered_at,
                "duration": milliseconds // 1_000 if milliseconds is not None else None,
            }
            return Fact(id_, "call.completed", call_id, ended_at, data)
        status = "canceled" if direction == "inbound" else "no_answer"
        if text(fields.get("voicemail_link")) is not None:
            status = "no_answer"
    if is_leg and state not in VOICEMAILS:
        raise Ignored("it is the end of a leg that was not answered")
    return Fact(id_, "call.failed", call_id, ended_at, {"status": status})


def _asset(type_: EventType, id_: str, call_id: str, fields: Mapping[str, Any], **data: str | None) -> Fact:
    """A recording or a transcript, at the time of the event."""
    if None in data.values():
        raise Ignored("it has neither a link nor a text")
    return Fact(id_, type_, call_id, _time(fields, "event_timestamp", "date_ended"), data)


def _first_recording(fields: Mapping[str, Any]) -> str | None:
    details = fields.get("recording_details")
    return text(at(details[0], "url")) if isinstance(details, list) and details else None


def _parties(fields: Mapping[str, Any]) -> dict[str, Any]:
    direction = text(fields.get("direction"))
    external, internal = (_number(fields.get(f"{side}_number")) for side in ("external", "internal"))
    caller, callee = (internal, external) if direction == "outbound" else (external, internal)
    return {
        "from_number": caller,
        "to_number": callee,
        "direction": direction if direction in DIRECTIONS else None,
    }


def _number(value: Any) -> str | None:
    given = text(value)
    return "anonymous" if given == "blocked" else sip_user(given)


def _time(fields: Mapping[str, Any], *names: str) -> datetime:
    """The instant in the first of these fields that has one. Raises Quarantined."""
    for name in names:
        if (instant := epoch_milliseconds(fields.get(name), name)) is not None:
            return instant
    return needed_instant(None, names[0])


def _id_at(fields: Mapping[str, Any], name: str) -> str | None:
    given = text(fields.get(name))
    return given if given != "0" else None


def _named(record: Record, by: str) -> str | None:
    """The value of the field, such as office_id: the record's, the entry point's, or the target's.

    A leg's target may be of another office than the call."""
    return named_at(record, by) or named_at(record, f"entry_point_target.{by},target.{by}")


def verify(delivery: Delivery, source: Source) -> None:
    """Checks the signature of the body, a JSON Web Token. Only a source without a secret takes JSON."""
    body = (delivery.body or b"").strip()
    if "secret" in source.secrets or not _is_json(body):
        jwt_claims(body.decode("latin-1"), secret(source, "secret"))


def decode(delivery: Delivery, source: Source) -> Iterable[Any]:
    """The claims of a JSON Web Token, whose signature `verify` has checked, or the usual values."""
    body = (delivery.body or b"").strip()
    if body.count(b".") != 2 or _is_json(body):
        return usual_values(delivery)
    try:
        claims = base64url_bytes(body.split(b".")[1].decode("latin-1"))
    except ValueError:
        raise Quarantined("The body is neither JSON nor a JSON Web Token.") from None
    return [json_value(claims, "The token's content")]


def _is_json(body: bytes) -> bool:
    return body[:1] in (b"{", b"[")


DIALPAD: Final = Dialect(
    name="dialpad",
    title="Dialpad",
    ways=("http", "kafka"),
    read=read,
    verify=verify,
    named=_named,
    decode=decode,
    organizations_by="office_id",
    secrets=(
        Secret(
            "secret",
            "The secret that the webhook was created with. Without it, Dialpad signs nothing, and the "
            "source's address is the only proof of a request's origin.",
            required=False,
        ),
    ),
    setup="""\
1. Create a webhook with `POST /api/v2/webhooks`: the source's address as `hook_url`, and a random `secret`.
2. Create a subscription of the company or of an office with `POST /api/v2/subscriptions/call`. Give the
   webhook's id and the `call_states` `calling`, `ringing`, `connected`, `hangup`, `missed`, `abandoned`,
   `blocked`, `voicemail`, `voicemail_uploaded`, `recording`, `admin_recording` and `call_transcription`.
3. Give the same secret to the source.
4. For several organizations, map the ids of offices. Other fields can be chosen, such as `group_id`, whose
   values have the form `Office:5527000000000000`.

A program that reads Dialpad's WebSocket may instead publish each message to the source's topic.""",
    gives="""\
Status, direction, both numbers, the begin, the answer and the end in milliseconds, recordings, voicemails,
and transcripts. A call has the id of its entry point: the legs of a call centre, of users and of transfers
belong to that call. Each leg that was answered gives an answer and an end, and the last end counts. The
duration is Dialpad's own, from the connection to the end, rounded down to seconds.""",
    lacks="""\
Dialpad gives no cause of an end and no price. The ends of legs that only rang are ignored, so a subscription
for single users misses the unanswered calls of their call centre. A user's leg gives no numbers: those of the
entry point are the call's. The signature has no time: a recorded request can be sent again, and has no effect
then.""",
    from_memory="""\
The events that each leg of a transfer sends, and that an inbound caller hung up where a call ended without an
answer.""",
)
