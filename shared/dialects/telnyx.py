"""Telnyx: Voice API webhooks (Call Control), in the form of v2 and in the flat form of v1.

A call is Telnyx's call leg. A session groups the legs of one conversation.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from shared.calls.event import EventType
from shared.sources.causes import Unanswered, sip_code, status_of_sip
from shared.sources.delivery import Delivery
from shared.sources.dialect import Dialect, Secret
from shared.sources.instants import epoch_seconds, iso, needed_instant
from shared.sources.money import cents_of_units
from shared.sources.outcome import Fact, Ignored, Quarantined, Refused
from shared.sources.parties import number
from shared.sources.record import Record, at, needed, shortened, text, verbatim, whole
from shared.sources.signatures import base64_bytes, check_age, header, secret
from shared.sources.source import Source

TOLERANCE_SECONDS: Final = 300
_BY_NAME: Final[Mapping[str, EventType]] = {
    "call.initiated": "call.initiated",
    "call.answered": "call.answered",
    "call.hangup": "call.completed",
    "call.recording.saved": "recording.ready",
    "call.recording.transcription.saved": "transcript.ready",
    "call.cost": "call.updated",
}
STEPS: Final[Mapping[str, EventType]] = {
    **_BY_NAME,
    **{name.replace(".", "_"): type_ for name, type_ in _BY_NAME.items()},
}
"""event_type, as v2 and v1 spell it. The cause of call.hangup decides its type."""
DIRECTIONS: Final = {"incoming": "inbound", "outgoing": "outbound"}
CAUSES: Final[Mapping[str, Unanswered | None]] = {
    "time_limit": None,
    "user_busy": "busy",
    "no_answer": "no_answer",
    "timeout": "no_answer",
    "originator_cancel": "canceled",
    "call_rejected": "failed",
    "not_found": "failed",
    "unspecified": "failed",
}
"""hangup_cause: the status of a failed call; None for a completed one. normal_clearing needs the SIP code."""


def read(record: Record) -> Sequence[Fact]:
    """The facts of an event of a call leg."""
    event = _event(record.fields())
    type_ = STEPS.get(needed(event.get("event_type"), "event_type"))
    if type_ is None:
        raise Ignored("it is not a step of a call")
    payload = event.get("payload")
    if not isinstance(payload, dict):
        raise Quarantined("payload: is missing.")
    call_id = needed(payload.get("call_leg_id"), "payload.call_leg_id")
    # In v1 the time of the event is in the payload.
    at_ = _instant(event, "occurred_at") or _instant(payload, "occurred_at") or _instant(event, "created_at")
    data: dict[str, Any]
    match type_:
        case "call.completed":
            type_, data = _end(payload)
        case "recording.ready":
            data = {"recording_url": needed(_recording_url(payload), "payload.recording_urls")}
        case "transcript.ready":
            data = {"transcript": _transcript(payload)}
        case "call.updated":
            data = {"cost": _cost(payload)}
        case _:
            data = _parties(payload) | {"direction": DIRECTIONS.get(text(payload.get("direction")) or "")}
    return [Fact(needed(event.get("id"), "id"), type_, call_id, needed_instant(at_, "occurred_at"), data)]


def _event(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """The event: in `data`, or the record itself in the form of v1."""
    event = fields.get("data", fields)
    if not isinstance(event, dict):
        raise Quarantined("data: is not an event.")
    return event


def _end(payload: Mapping[str, Any]) -> tuple[EventType, dict[str, Any]]:
    failure = _failure(text(payload.get("hangup_cause")), sip_code(payload.get("sip_hangup_cause")))
    data = _parties(payload) | {
        "status": failure,
        "hangup_cause": shortened(text(payload.get("hangup_cause"))),
        "completed_at": _instant(payload, "end_time"),
        "hangup_source": text(payload.get("hangup_source")),
        "sip_hangup_cause": text(payload.get("sip_hangup_cause")),
    }
    return "call.failed" if failure else "call.completed", data


def _failure(cause: str | None, code: int | None) -> Unanswered | None:
    """The status of a failed call; None for a completed one. A cause that Telnyx does not document leaves
    the decision to the SIP code."""
    if cause is not None and cause in CAUSES:
        return CAUSES[cause]
    if code is None:
        return None if cause == "normal_clearing" else "failed"
    return (status_of_sip(code) or "failed") if code >= 400 else None


def _recording_url(payload: Mapping[str, Any]) -> str | None:
    """The address that stays, if the account has one; else the one that is valid for 10 minutes."""
    for kind in ("public_recording_urls", "recording_urls"):
        for form in ("mp3", "wav"):
            if (url := text(at(payload, f"{kind}.{form}"))) is not None:
                return url
    return None


def _transcript(payload: Mapping[str, Any]) -> str:
    if payload.get("status") != "completed":
        raise Ignored("the transcription is not completed")
    transcript = verbatim(payload.get("transcription_text"))
    if transcript is None:
        raise Ignored("the transcription is empty")
    return transcript


def _cost(payload: Mapping[str, Any]) -> Any:
    if payload.get("status") != "success":
        raise Ignored("the price is not known")
    cost = cents_of_units(payload.get("total_cost"))
    if cost is None:
        raise Quarantined("payload.total_cost: is not an amount.")
    return cost


def _parties(payload: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "from_number": number(payload.get("from")),
        "to_number": number(payload.get("to")),
        "call_session_id": text(payload.get("call_session_id")),
    }


def _instant(fields: Mapping[str, Any], name: str) -> datetime | None:
    return iso(fields.get(name), name)


def verify(delivery: Delivery, source: Source) -> None:
    """Checks the Ed25519 signature over the timestamp, a bar and the body."""
    signed_at = header(delivery, "telnyx-timestamp")
    check_age(epoch_seconds(whole(signed_at), "telnyx-timestamp"), delivery.received_at, TOLERANCE_SECONDS)
    signature = base64_bytes(header(delivery, "telnyx-signature-ed25519"), "the signature")
    signed = f"{signed_at}|".encode(errors="replace") + (delivery.body or b"")
    try:
        _public_key(secret(source, "public_key")).verify(signature, signed)
    except InvalidSignature:
        raise Refused("the signature is wrong") from None


@lru_cache(maxsize=1_000)
def _public_key(encoded: str) -> Ed25519PublicKey:
    try:
        return Ed25519PublicKey.from_public_bytes(base64_bytes(encoded.strip(), "the secret public_key"))
    except ValueError:
        raise Refused("the secret public_key is not an Ed25519 key of 32 bytes") from None


PUBLIC_KEY: Final = Secret(
    "public_key",
    "The account's public key, on the portal's page *Keys & Credentials*. Telnyx signs every request for it.",
)

TELNYX: Final = Dialect(
    name="telnyx",
    title="Telnyx",
    ways=("http",),
    read=read,
    verify=verify,
    organizations_by="data.payload.connection_id, payload.connection_id",
    secrets=(PUBLIC_KEY,),
    setup="""\
1. In the portal, open *Voice*, then *Programmable Voice*, and edit the Voice API application.
2. Enter the source's address as *Send a webhook to the URL*, and choose *API v2*.
3. For prices, switch on *Call cost*.
4. For transcripts of recordings, start the recording with `transcription` set to true.
5. Map each application's `connection_id` to its organization, or give the source one organization.

If an application of yours needs the webhooks itself, pass every request on as it came: the signature is over
the bytes of the body.""",
    gives="""\
Status, both numbers, begin, answer and end to the microsecond, causes, the price in cents of US dollars,
recordings and their transcripts. The duration is the time from the answer to the end. `call_session_id`
groups the legs of one conversation.""",
    lacks="""\
There is no ringing. Only `call.initiated` has the direction. An address in `recording_urls` is valid for 10
minutes: switch on public recording addresses, or fetch the file at once.""",
    from_memory="""\
Telnyx documents the causes, and callfold chooses the status for each of them. `normal_clearing` counts as
completed unless the SIP code is 400 or more. An undocumented cause counts by its SIP code.""",
)
