"""ElevenLabs: the post-call webhooks of conversational agents.

A call is a conversation. One request gives the whole of it, after its analysis. Another one reports a call
that could not be begun.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from shared.calls.event import EventType, Status
from shared.sources.causes import sip_cause
from shared.sources.delivery import Delivery
from shared.sources.dialect import Dialect, Secret
from shared.sources.instants import epoch_seconds, later
from shared.sources.money import cents_of_units
from shared.sources.outcome import Fact, Ignored, Quarantined
from shared.sources.parties import number
from shared.sources.record import Record, at, needed, shortened, text, whole
from shared.sources.signatures import check_age, check_equal, header, hmac_sha256, secret
from shared.sources.source import Source

STATUSES: Final[Mapping[str, EventType | None]] = {
    "done": "call.completed",
    "failed": "call.failed",
    "initiated": None,
    "in-progress": None,
    "processing": None,
}
"""status of a conversation: the type of its end, or None before the end."""
FAILURES: Final[Mapping[str, Status]] = {"busy": "busy", "no-answer": "no_answer"}
"""failure_reason: the status of a call that could not be begun. Every other word means failed."""
SIDES: Final = {
    "inbound": ("external_number", "agent_number"),
    "outbound": ("agent_number", "external_number"),
}
"""phone_call.direction: the fields of the calling and the called number."""
BODIES: Final = {
    "twilio": ("From", "To", "SipResponseCode", "CallSid"),
    "sip": ("from_number", "to_number", "sip_status_code", "call_sid"),
}
"""metadata.type of a failure: the fields of its body with both numbers, the SIP code and the carrier's id."""
TOLERANCE_SECONDS: Final = 1_800


def read(record: Record) -> Sequence[Fact]:
    """The facts of a conversation, or of a call that could not be begun."""
    fields = record.fields()
    kind = needed(fields.get("type"), "type")
    if kind == "post_call_transcription":
        return _conversation(fields, record)
    if kind == "call_initiation_failure":
        return [_failure(fields, record)]
    raise Ignored("it is neither a conversation nor a failure to begin one")


def _conversation(fields: Mapping[str, Any], record: Record) -> list[Fact]:
    content = _object(fields.get("data"))
    call_id = needed(content.get("conversation_id"), "data.conversation_id")
    word = needed(content.get("status"), "data.status")
    if word not in STATUSES:
        raise Quarantined(f"data.status: {word[:60]!r} is not a status that ElevenLabs documents.")
    if (type_ := STATUSES[word]) is None:
        raise Ignored("the conversation has not ended")
    metadata = _object(content.get("metadata"))
    started = _instant(metadata, "start_time_unix_secs")
    duration = whole(metadata.get("call_duration_secs"))
    # Older bodies have no time of the answer; an agent answers at the start of a conversation.
    answered = _instant(metadata, "accepted_time_unix_secs") or (started if duration else None)
    termination = text(metadata.get("termination_reason"))
    data = _parties(_object(metadata.get("phone_call"))) | {
        "status": "failed" if type_ == "call.failed" else "completed",
        "duration": duration,
        "cost": cents_of_units(metadata.get("cost_fiat")),
        "hangup_cause": shortened(text(at(metadata, "error.reason")) or termination),
        "transcript": _transcript(content.get("transcript")),
        "answered_at": answered,
        "completed_at": later(answered, duration) if answered and duration is not None else None,
    }
    facts = [Fact(f"{call_id}:3:end", type_, call_id, _sent(fields, record), data)]
    if started is not None:
        facts.insert(0, Fact(f"{call_id}:0:begin", "call.initiated", call_id, started))
    return facts


def _failure(fields: Mapping[str, Any], record: Record) -> Fact:
    content = _object(fields.get("data"))
    call_id = needed(content.get("conversation_id"), "data.conversation_id")
    reason = text(content.get("failure_reason"))
    metadata = _object(content.get("metadata"))
    carrier = text(metadata.get("type")) or ""
    body = _object(metadata.get("body"))
    from_field, to_field, code_field, sid_field = BODIES.get(carrier, BODIES["sip"])
    data = {
        "from_number": number(body.get(from_field)),
        "to_number": number(body.get(to_field)),
        "direction": "outbound",
        "status": FAILURES.get(reason or "", "failed"),
        "duration": 0,
        "hangup_cause": sip_cause(body.get(code_field)) or shortened(reason),
        "failure_reason": reason,
        "call_sid": text(body.get(sid_field)),
    }
    return Fact(f"{call_id}:3:end", "call.failed", call_id, _sent(fields, record), data)


def _sent(fields: Mapping[str, Any], record: Record) -> datetime:
    return epoch_seconds(fields.get("event_timestamp"), "event_timestamp") or record.received_at


def _object(value: Any) -> Mapping[str, Any]:
    """The object, or an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def _instant(metadata: Mapping[str, Any], name: str) -> datetime | None:
    return epoch_seconds(metadata.get(name), f"data.metadata.{name}")


def _parties(phone_call: Mapping[str, Any]) -> dict[str, Any]:
    direction = text(phone_call.get("direction")) or ""
    calling, called = SIDES.get(direction, ("", ""))
    return {
        "from_number": number(phone_call.get(calling)),
        "to_number": number(phone_call.get(called)),
        "direction": direction if direction in SIDES else None,
        "call_sid": text(phone_call.get("call_sid")),
    }


def _transcript(turns: Any) -> str | None:
    """The turns as lines, `role: message`. A turn without a message calls a tool."""
    lines = [
        f"{text(at(turn, 'role')) or 'unknown'}: {message}"
        for turn in (turns if isinstance(turns, list) else ())
        if (message := text(at(turn, "message"))) is not None
    ]
    return "\n".join(lines) or None


def verify(delivery: Delivery, source: Source) -> None:
    """Checks ElevenLabs-Signature, `t=<seconds>,v0=<hex>`: over the time, a point and the body."""
    given = header(delivery, "elevenlabs-signature")
    parts = dict(part.strip().partition("=")[::2] for part in given.split(","))
    signed_at = parts.get("t", "")
    signed = signed_at.encode(errors="replace") + b"." + (delivery.body or b"")
    check_equal(hmac_sha256(secret(source, "secret"), signed).hex(), parts.get("v0", ""))
    check_age(epoch_seconds(whole(signed_at), "t"), delivery.received_at, TOLERANCE_SECONDS)


ELEVENLABS: Final = Dialect(
    name="elevenlabs",
    title="ElevenLabs",
    ways=("http",),
    read=read,
    verify=verify,
    organizations_by="data.agent_id",
    secrets=(
        Secret(
            "secret", "The webhook's shared secret, which ElevenLabs shows once, when the webhook is created."
        ),
    ),
    setup="""\
1. In the settings of the agents' platform, create a webhook with the source's address and HMAC
   authentication. Give the source its shared secret as `secret`.
2. Choose it as the *Post-call webhook*, of the workspace or of one agent.
3. Switch *Transcription* and *Call initiation failures* on. Leave *Audio* off: it sends whole recordings,
   which are ignored.
4. Map each `agent_id` to its organization, or give the source one organization.

If the calls come over your Twilio account or a SIP trunk, attach one of the two: a call of two sources counts
twice.""",
    gives="""\
Status, direction, both numbers, begin, answer and end to the second, the duration, the price in cents of US
dollars, the reason of the end and the transcript. `call_sid` names the same call at the carrier.
Conversations in a browser have no numbers and no direction.""",
    lacks="""\
One request comes per call, minutes after its end: there is no ringing, and no running call. Recordings come
as audio, not as an address. ElevenLabs does not repeat requests of HIPAA workspaces. It switches a webhook
off after ten failures in a row.""",
    from_memory="""\
That the duration counts from the time at which the agent accepted the call. Without that time, callfold takes
the start as the answer.""",
)
