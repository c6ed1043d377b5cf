"""LiveKit: webhooks of a room's SIP participants.

A call is one SIP participant. LiveKit sends no webhook when a call is answered.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

from shared.calls.event import EventType
from shared.sources.delivery import Delivery
from shared.sources.dialect import Dialect, Secret, Setting, named_at
from shared.sources.instants import epoch_milliseconds, epoch_seconds, needed_instant
from shared.sources.outcome import Fact, Ignored, Quarantined
from shared.sources.parties import number
from shared.sources.record import Record, at, needed, shortened, text, whole
from shared.sources.signatures import base64_text, check_age, check_equal, header, jwt_claims, secret
from shared.sources.source import Source

JOINED: Final[Mapping[str | None, EventType]] = {
    "dialing": "call.initiated",
    "ringing": "call.ringing",
    "active": "call.answered",
    "automation": "call.answered",
    "hangup": "call.initiated",
    None: "call.initiated",
}
"""sip.callStatus of a participant that joins: the event's type."""
REASONS: Final[Mapping[str | None, str]] = {
    "USER_UNAVAILABLE": "no_answer",
    "USER_REJECTED": "busy",
    "SIP_TRUNK_FAILURE": "failed",
    "MEDIA_FAILURE": "failed",
    "JOIN_FAILURE": "failed",
    "AGENT_ERROR": "failed",
    "CONNECTION_TIMEOUT": "failed",
    "SIGNAL_CLOSE": "failed",
    "STATE_MISMATCH": "failed",
    "MIGRATION": "failed",
    "SERVER_SHUTDOWN": "failed",
    "DUPLICATE_IDENTITY": "failed",
}
"""disconnectReason: the status of a failed call."""
USUAL: Final = frozenset(
    {
        None,
        "UNKNOWN_REASON",
        "CLIENT_INITIATED",
        "ROOM_DELETED",
        "ROOM_CLOSED",
        "PARTICIPANT_REMOVED",
    }
)
"""disconnectReason of a completed call, and of one that was given up before its answer."""
UNANSWERED: Final = frozenset({"dialing", "ringing"})
ANSWERED: Final = frozenset({"active", "automation"})
KEPT: Final = ("sip.callStatus", "sip.trunkID", "sip.ruleID", "sip.twilio.callSid")
ANSWERED_AT_JOIN: Final = "answered_at_join"
TOLERANCE_SECONDS: Final = 300


def read(record: Record) -> Sequence[Fact]:
    """The fact of participant_joined or participant_left."""
    fields = record.fields()
    kind = needed(fields.get("event"), "event")
    if kind not in ("participant_joined", "participant_left"):
        raise Ignored("it is not of a participant's coming or going")
    participant = fields.get("participant")
    if not isinstance(participant, dict):
        raise Quarantined("participant: is not an object.")
    if participant.get("kind") != "SIP":
        raise Ignored("it is not a SIP participant")
    attributes = participant.get("attributes")
    if not isinstance(attributes, dict):
        raise Quarantined("participant.attributes: is not an object.")
    data = _data(attributes) | {"room": text(at(fields, "room.name"))}
    created = epoch_seconds(fields.get("createdAt"), "createdAt")
    if kind == "participant_joined":
        type_ = _type_of_join(attributes, record.source)
        happened, name = _joined_at(participant) or created, "participant.joinedAt"
    else:
        reason = text(participant.get("disconnectReason"))
        failure = _failure(reason, text(attributes.get("sip.callStatus")))
        type_ = "call.failed" if failure else "call.completed"
        data |= {"status": failure, "hangup_cause": shortened(reason)}
        happened, name = created, "createdAt"
    return [
        Fact(
            text(fields.get("id")) or record.derived_id(),
            type_,
            needed(attributes.get("sip.callID"), "participant.attributes.sip.callID"),
            needed_instant(happened, name),
            data,
        )
    ]


def _data(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The parties, and the attributes that name the trunk and its vendor's call. A dispatch rule handles
    inbound calls alone."""
    phone, own = number(attributes.get("sip.phoneNumber")), number(attributes.get("sip.trunkPhoneNumber"))
    inbound = text(attributes.get("sip.ruleID")) is not None
    return {name: text(attributes.get(name)) for name in KEPT} | {
        "from_number": phone if inbound else own,
        "to_number": own if inbound else phone,
        "direction": "inbound" if inbound else "outbound",
    }


def _type_of_join(attributes: Mapping[str, Any], source: Source) -> EventType:
    status = text(attributes.get("sip.callStatus"))
    if status not in JOINED:
        raise Quarantined(f"sip.callStatus: {str(status)[:60]!r} is not a status that LiveKit documents.")
    at_join = source.settings.get(ANSWERED_AT_JOIN) in (True, "true")
    if at_join and status == "ringing" and text(attributes.get("sip.ruleID")) is not None:
        return "call.answered"
    return JOINED[status]


def _joined_at(participant: Mapping[str, Any]) -> datetime | None:
    """The time of the join in milliseconds, which newer servers send, else in seconds."""
    return epoch_milliseconds(participant.get("joinedAtMs"), "participant.joinedAtMs") or epoch_seconds(
        participant.get("joinedAt"), "participant.joinedAt"
    )


def _failure(reason: str | None, call_status: str | None) -> str | None:
    """The status of a failed call; None for a completed one."""
    if reason in REASONS:
        return REASONS[reason]
    if reason in USUAL:
        return "canceled" if call_status in UNANSWERED else None
    return None if call_status in ANSWERED else "failed"


def _named(record: Record, by: str) -> str | None:
    """The API key, an attribute of the participant, or the value at a path."""
    if by == "iss":
        return record.source.secrets.get("api_key")  # `verify` refuses a token of any other issuer
    if by.startswith("sip."):
        attributes = at(record.value, "participant.attributes")
        return text(attributes.get(by)) if isinstance(attributes, dict) else None
    return named_at(record, by)


def verify(delivery: Delivery, source: Source) -> None:
    """Checks the token in the header Authorization: its signature, its issuer, its time, and the SHA-256 of
    the body."""
    token = header(delivery, "authorization").removeprefix("Bearer ").strip()
    claims = jwt_claims(token, secret(source, "api_secret"))
    check_equal(secret(source, "api_key"), text(claims.get("iss")) or "", "the token's issuer")
    body_hash = base64_text(sha256(delivery.body or b"").digest())
    check_equal(body_hash, text(claims.get("sha256")) or "", "the body's SHA-256")
    check_age(epoch_seconds(whole(claims.get("nbf")), "nbf"), delivery.received_at, TOLERANCE_SECONDS)


LIVEKIT: Final = Dialect(
    name="livekit",
    title="LiveKit",
    ways=("http",),
    read=read,
    verify=verify,
    named=_named,
    organizations_by="iss",
    secrets=(
        Secret("api_key", "The API key that signs the webhooks, in the project's settings."),
        Secret("api_secret", "The secret of this API key."),
    ),
    settings=(
        Setting(
            ANSWERED_AT_JOIN,
            "`true` makes the join of an inbound call its answer: for agents that answer at once. The "
            "default is `false`.",
        ),
    ),
    setup="""\
1. In LiveKit Cloud, open *Settings*, then *Webhooks*, and create a webhook with the source's address. On your
   own server, add the address to `webhook.urls` in its configuration.
2. Choose the signing API key. Give it and its secret to the source as `api_key` and `api_secret`.
3. Do not hide phone numbers (`hide_phone_number`), or the calls have none.
4. For exact records, add a source for the trunk's vendor, and read the calls there.

With `--map-by sip.trunkID`, each SIP trunk can belong to another organization.""",
    gives="""\
Begin, end, direction and both numbers, the reason of the end, and with it busy, no answer and failed.""",
    lacks="""\
**This is not enough for exact records.** LiveKit sends no webhook when a call is answered, so calls have no
time of answer and no duration. A caller who cancels looks like a caller who hangs up: such a call
reads `completed`. The webhooks carry no price, and no recording of a call.

The trunk's vendor gives all of these. The attribute `sip.twilio.callSid` names Twilio's call. Do not
count the calls of both sources in one organization.""",
    from_memory="""\
The attribute `sip.callStatus` at the end of a call. An end by `CLIENT_INITIATED`, or by a removal, counts as
canceled while this attribute is `dialing` or `ringing`.""",
)
