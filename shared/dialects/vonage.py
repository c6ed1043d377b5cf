"""Vonage: events and recordings of the Voice API.

A call is Vonage's call leg. A conversation groups legs.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

import msgspec

from shared.calls.event import EventType
from shared.sources.causes import sip_cause
from shared.sources.delivery import Delivery
from shared.sources.dialect import Dialect, Secret, named_at
from shared.sources.envelopes import form_fields
from shared.sources.instants import epoch_seconds, iso, needed_instant
from shared.sources.money import cents_of_units
from shared.sources.outcome import Fact, Ignored, Quarantined, Refused
from shared.sources.parties import direction, e164
from shared.sources.record import Record, needed, shortened, text, whole
from shared.sources.signatures import (
    base64url_bytes,
    check_age,
    check_equal,
    header,
    jwt_claims,
    secret,
)
from shared.sources.source import Source

TOLERANCE_SECONDS: Final = 300
STATUSES: Final[Mapping[str, tuple[int, EventType, str | None]]] = {
    "started": (0, "call.initiated", None),
    "ringing": (1, "call.ringing", None),
    "answered": (2, "call.answered", None),
    "busy": (3, "call.failed", "busy"),
    "unanswered": (3, "call.failed", "no_answer"),
    "timeout": (3, "call.failed", "no_answer"),
    "cancelled": (3, "call.failed", "canceled"),
    "rejected": (3, "call.failed", "failed"),
    "failed": (3, "call.failed", "failed"),
    "completed": (4, "call.completed", None),
    "complete": (4, "call.completed", None),
}
"""status: the step's rank in the event's id, the event's type, and the status of a failed call. `completed`
also follows the steps of rank 3."""
NO_STEPS: Final = frozenset(
    {"disconnected", "human", "input", "machine", "record", "transcribed", "transfer"}
)
_bare_uuid: Final = re.compile(
    r"([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})"
).fullmatch


def read(record: Record) -> Sequence[Fact]:
    """The facts of an event of a call leg, or of a recording."""
    fields = record.fields()
    if text(fields.get("recording_url")) is not None:
        return [_recording(fields, record)]
    word = text(fields.get("status"))
    if word is None:
        if "uuid" in fields or "conversation_uuid" in fields or "conversation_uuid_from" in fields:
            raise Ignored("it has no status")
        raise Quarantined("The record has neither status nor uuid.")
    if word in NO_STEPS:
        raise Ignored(f"{word} is not a step of a call")
    if word not in STATUSES:
        raise Quarantined(f"status: {word[:60]!r} is not a status that Vonage documents.")
    rank, type_, failure = STATUSES[word]
    call_id = _call_id(needed(fields.get("uuid"), "uuid"))
    data: dict[str, Any] = {
        "from_number": e164(fields.get("from")),
        "to_number": e164(fields.get("to")),
        "direction": direction(fields.get("direction")),
        "conversation_uuid": text(fields.get("conversation_uuid")),
    }
    if rank == 3:
        data |= {"status": failure, "hangup_cause": _cause(fields)}
    if rank == 4:
        type_, end = _completed(fields)
        data |= end
    at_ = needed_instant(_instant(fields, "timestamp"), "timestamp")
    return [Fact(f"{call_id}:{rank}:{word}", type_, call_id, at_, data)]


def _completed(fields: Mapping[str, Any]) -> tuple[EventType, dict[str, Any]]:
    """The end of an answered call; or the price of a call that another request ended."""
    answered, duration = _instant(fields, "start_time"), whole(fields.get("duration"))
    end: dict[str, Any] = {"cost": cents_of_units(fields.get("price"))}
    if answered is None and not duration:
        return "call.updated", end
    end |= {
        "answered_at": answered,
        "completed_at": _instant(fields, "end_time"),
        "duration": duration,
        "hangup_cause": _cause(fields),
        "disconnected_by": text(fields.get("disconnected_by")),
    }
    return "call.completed", end


def _cause(fields: Mapping[str, Any]) -> str | None:
    detail = text(fields.get("detail"))
    return sip_cause(fields.get("sip_code")) or (None if detail == "unavailable" else shortened(detail))


def _recording(fields: Mapping[str, Any], record: Record) -> Fact:
    """The fact of a recording. The request names no call leg: the address must."""
    call_id = text(fields.get("uuid")) or text(form_fields(record.url.partition("?")[2]).get("uuid"))
    if call_id is None:
        raise Quarantined("uuid: the recording is a conversation's; its eventUrl must have ?uuid= of a call.")
    return Fact(
        f"{needed(fields.get('recording_uuid'), 'recording_uuid')}:record",
        "recording.ready",
        _call_id(call_id),
        needed_instant(_instant(fields, "timestamp") or _instant(fields, "end_time"), "timestamp"),
        {"recording_url": text(fields["recording_url"])},
    )


def _call_id(uuid: str) -> str:
    """The leg's UUID. Some requests have it without dashes."""
    bare = _bare_uuid(uuid)
    return "-".join(bare.groups()) if bare else uuid


def _instant(fields: Mapping[str, Any], name: str) -> datetime | None:
    return iso(fields.get(name), name)


def _named(record: Record, by: str) -> str | None:
    """The claim of the request's token, whose signature `verify` checked; else the field of the record."""
    claims = _claims(record.headers.get("authorization", ""))
    for name in by.split(","):
        if (named := text(claims.get(name.strip()))) is not None:
            return named
    return named_at(record, by)


def _claims(authorization: str) -> Mapping[str, Any]:
    parts = authorization.split(".")
    if len(parts) != 3:
        return {}
    try:
        return _decode(base64url_bytes(parts[1]))
    except (ValueError, RecursionError):  # also bad base64 and bad JSON
        return {}


_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


def verify(delivery: Delivery, source: Source) -> None:
    """Checks the token of a signed webhook: its signature, its age, and the SHA-256 of the body. A request
    without a body has the SHA-256 of its query's fields as JSON."""
    scheme, _, token = header(delivery, "authorization").partition(" ")
    if scheme.lower() != "bearer":
        raise Refused("the header authorization has no bearer token")
    claims = jwt_claims(token.strip(), secret(source, "signature_secret"))
    if (api_key := source.secrets.get("api_key")) is not None:
        check_equal(api_key, text(claims.get("api_key")) or "", "the token's api_key")
    check_age(epoch_seconds(whole(claims.get("iat")), "iat"), delivery.received_at, TOLERANCE_SECONDS)
    signed = delivery.body or _query_as_json(delivery)
    check_equal(
        sha256(signed).hexdigest(), (text(claims.get("payload_hash")) or "").lower(), "the body's SHA-256"
    )


def _query_as_json(delivery: Delivery) -> bytes:
    try:
        return msgspec.json.encode(form_fields(delivery.query))
    except Quarantined:
        raise Refused("the query has too many fields") from None


VONAGE: Final = Dialect(
    name="vonage",
    title="Vonage",
    ways=("http",),
    read=read,
    verify=verify,
    named=_named,
    organizations_by="application_id",
    kept_headers=("authorization",),
    secrets=(
        Secret(
            "signature_secret",
            "The account's signature secret, on the dashboard's page *API Settings*. It signs the tokens.",
        ),
        Secret(
            "api_key",
            "The account's API key. If given, tokens of other accounts are refused.",
            required=False,
        ),
    ),
    setup="""\
1. In the dashboard, open *Applications* and edit the application. Under *Voice*, enter the source's address
   as *Event URL*, with HTTP POST.
2. Switch on *Use signed webhooks*. New applications have it on.
3. For recordings, give the `record` action the address with the call's id as `eventUrl`:
   `https://…?uuid=…`. The id is `uuid` in the request for your NCCO.
4. If calls are created with an `event_url` of their own, give the address there as well.
5. Map each `application_id` to its organization, or give the source one organization. The table can also be
   by `api_key`: give `--map-by api_key`.""",
    gives="""\
Status, direction, both numbers, begin, ringing, answer and end, the duration in seconds, the price in cents
of euros, causes and recordings. `conversation_uuid` groups the legs of one conversation. Times have
milliseconds; those in `completed` have whole seconds.""",
    lacks="""\
A recording's request names its conversation alone, so its address must name the call. Otherwise the request
is quarantined. To fetch the recording, a client needs a token of the application. Transcriptions come as an
address, and are ignored.""",
    from_memory="""\
That `start_time` is the answer, and that it is empty in the `completed` of a call that was not answered. That
the token of a GET request is over the JSON of the query's fields: if Vonage's differs, use POST. The 300 s
that a token is accepted are callfold's choice.""",
)
