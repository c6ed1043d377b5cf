"""Twilio: status callbacks, recordings and transcriptions as forms, Event Streams, and the Call resource.

A call is Twilio's call leg. A leg that `<Dial>` creates is a call of its own.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final
from urllib.parse import parse_qs, parse_qsl, urlsplit

from shared.calls.event import EventType
from shared.sources.causes import sip_cause
from shared.sources.delivery import Delivery
from shared.sources.dialect import Dialect, Secret, always
from shared.sources.envelopes import FORM
from shared.sources.instants import earlier, needed_instant, rfc_2822
from shared.sources.money import cents_of_units
from shared.sources.outcome import Fact, Ignored, Quarantined, Refused
from shared.sources.parties import number
from shared.sources.record import Record, at, needed, text, whole
from shared.sources.signatures import (
    base64_text,
    check_equal,
    hmac_sha1,
    hmac_sha256,
    public_address,
    same,
    secret,
)
from shared.sources.source import Source

STATUSES: Final[Mapping[str, tuple[int, EventType, str | None]]] = {
    "queued": (0, "call.initiated", None),
    "initiated": (0, "call.initiated", None),
    "ringing": (1, "call.ringing", None),
    "in-progress": (2, "call.answered", None),
    "completed": (3, "call.completed", None),
    "busy": (3, "call.failed", "busy"),
    "no-answer": (3, "call.failed", "no_answer"),
    "canceled": (3, "call.failed", "canceled"),
    "failed": (3, "call.failed", "failed"),
}
"""CallStatus: the step's rank in the event's id, the event's type, and the status of a failed call."""
DIRECTIONS: Final = {
    "inbound": "inbound",
    "trunking-originating": "inbound",
    "outbound": "outbound",
    "outbound-api": "outbound",
    "outbound-dial": "outbound",
    "trunking-terminating": "outbound",
}


def read(record: Record) -> Sequence[Fact]:
    """The facts of a status callback, a recording or a transcription, by form or by Event Streams."""
    fields = _parameters(record)
    if text(fields.get("RecordingSid")) and text(fields.get("RecordingStatus")):
        return [recording(fields)]
    if text(fields.get("TranscriptionSid")):
        return [_transcription(fields, record)]
    if text(fields.get("CallbackSource")) is None:
        raise Ignored("it is not a status callback")
    for name in ("ConferenceSid", "DialCallSid"):
        if text(fields.get(name)):
            raise Ignored(f"it reports {name}, not a call")
    if text(fields.get("CallStatus")) is None:
        raise Ignored("it has no CallStatus")
    return status_callback(fields, record)


def status_callback(fields: Mapping[str, Any], record: Record) -> list[Fact]:
    """The facts of a status callback with Twilio's fields."""
    call_id, word = needed(fields.get("CallSid"), "CallSid"), needed(fields.get("CallStatus"), "CallStatus")
    if word not in STATUSES:
        raise Quarantined(f"CallStatus: {word[:60]!r} is not a status that Twilio documents.")
    rank, type_, failure = STATUSES[word]
    at_ = rfc_2822(fields.get("Timestamp"), "Timestamp") or record.received_at
    data = _parties(fields)
    facts = []
    if rank == 3:
        duration = whole(fields.get("CallDuration"))
        data |= {
            "status": failure,
            "duration": duration,
            "hangup_cause": sip_cause(fields.get("SipResponseCode")),
            "recording_url": text(fields.get("RecordingUrl")),
        }
        if type_ == "call.completed" and duration:
            data["answered_at"] = answered_at = earlier(at_, duration)
            # By default Twilio sends no earlier request, so the answer is the earliest time.
            facts.append(Fact(f"{call_id}:0:begin", "call.updated", call_id, answered_at))
    facts.append(Fact(f"{call_id}:{rank}:{word}", type_, call_id, at_, data))
    return facts


def recording(fields: Mapping[str, Any]) -> Fact:
    """The fact of a recording's status callback, whose CallSid is the parent's."""
    if fields["RecordingStatus"] != "completed":
        raise Ignored("the recording is not completed")
    began = needed_instant(
        rfc_2822(fields.get("RecordingStartTime"), "RecordingStartTime"), "RecordingStartTime"
    )
    return Fact(
        f"{fields['RecordingSid']}:completed",
        "recording.ready",
        needed(fields.get("CallSid"), "CallSid"),
        earlier(began, -(whole(fields.get("RecordingDuration")) or 0)),
        {"recording_url": needed(fields.get("RecordingUrl"), "RecordingUrl")},
    )


def _transcription(fields: Mapping[str, Any], record: Record) -> Fact:
    if fields.get("TranscriptionStatus") != "completed":
        raise Ignored("the transcription is a piece, or failed")
    return Fact(
        f"{fields['TranscriptionSid']}:completed",
        "transcript.ready",
        needed(fields.get("CallSid"), "CallSid"),
        record.received_at,
        _parties(fields) | {"transcript": text(fields.get("TranscriptionText"))},
    )


def _parties(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "from_number": number(fields.get("From")),
        "to_number": number(fields.get("To")),
        "direction": DIRECTIONS.get(text(fields.get("Direction")) or ""),
    }


def _parameters(record: Record) -> Mapping[str, Any]:
    """The fields of a form, or those that Event Streams pass on."""
    fields = record.fields()
    parameters = at(fields, "request.parameters")
    if isinstance(parameters, dict):
        return parameters
    if "CallSid" in fields or "AccountSid" in fields:
        return fields
    if "sid" in fields or "call_sid" in fields:
        raise Ignored("it is not a status callback")
    raise Quarantined("The record has neither CallSid nor AccountSid.")


def _named(record: Record, by: str) -> str | None:
    return text(_parameters(record).get(by))


def verify(delivery: Delivery, source: Source) -> None:
    """Checks X-Twilio-Signature: over the public URL and the form's fields, or over the URL alone with the
    SHA-256 of a JSON body in its query."""
    key, digest = secret(source, "auth_token"), hmac_sha1
    if settings := delivery.headers.get("x-twilio-webhooks-signature-settings"):
        chosen = dict(part.strip().partition("=")[::2] for part in settings.split(","))
        if chosen.get("algorithm") != "HMAC_SHA256":
            raise Refused("the signature's algorithm is not HMAC_SHA256")
        key, digest = secret(source, "shared_secret"), hmac_sha256
    verify_form_signature(delivery, source, key, "x-twilio-signature", digest=digest)


def verify_form_signature(
    delivery: Delivery, source: Source, key: str, *names: str, digest: Any = hmac_sha1
) -> None:
    """Checks a signature in the manner of Twilio in the first of these headers that the request has."""
    given = next((delivery.headers[name] for name in names if name in delivery.headers), None)
    if given is None:
        raise Refused(f"the header {names[0]} is missing")
    body = delivery.body or b""
    signed = ""
    if delivery.content_type == FORM:
        pairs = parse_qsl(body.decode(errors="replace"), keep_blank_values=True)
        signed = "".join(name + value for name, value in sorted(set(pairs)))
    elif body:
        hashes = parse_qs(delivery.query).get("bodySHA256", [""])
        check_equal(sha256(body).hexdigest(), hashes[0].lower(), "the body's SHA-256")
    good = [same(base64_text(digest(key, url + signed)), given) for url in public_urls(delivery, source)]
    if not any(good):
        raise Refused("the signature is wrong")


def public_urls(delivery: Delivery, source: Source) -> list[str]:
    """The addresses that the vendor may have signed: the source's public URL with the query of the request,
    with and without the default port. Raises Refused if it is not known: a request names only its path."""
    base = public_address(delivery, source).partition("#")[0].partition("?")[0]
    query = f"?{delivery.query}" if delivery.query else ""
    try:
        parts = urlsplit(base)
    except ValueError:
        raise Refused("the address is not a URL") from None
    port = {"https": 443, "http": 80}.get(parts.scheme)
    bare = parts.netloc.removesuffix(f":{port}")
    return [parts._replace(netloc=host).geturl() + query for host in (bare, f"{bare}:{port}")]


TWILIO: Final = Dialect(
    name="twilio",
    title="Twilio",
    ways=("http",),
    read=read,
    verify=verify,
    signs_address=always,
    named=_named,
    organizations_by="AccountSid",
    secrets=(
        Secret("auth_token", "The account's primary auth token, on the console's first page."),
        Secret("shared_secret", "The secret of a webhook signature key with HMAC_SHA256.", required=False),
    ),
    setup="""\
1. For each phone number, set *Call status changes* to the source's address, with HTTP POST.
2. For outbound calls, give `StatusCallback` with the address, and `StatusCallbackEvent` with all of
   `initiated`, `ringing`, `answered` and `completed`. By default Twilio sends the end alone.
3. Give the same two attributes to each `<Number>`, `<Sip>` or `<Client>` within `<Dial>`.
4. For recordings, give the address as `RecordingStatusCallback`.

Instead, an Event Streams webhook sink can send the same facts. Both ways together count once.""",
    gives="""\
Status, direction, both numbers, the duration in seconds, SIP causes, recordings, and transcriptions by the
older callback. Times have whole seconds. An inbound call sends one request, at its end. Its begin and its
answer are then the end less the duration.""",
    lacks="""\
Callbacks carry no price. An inbound call has no time before its answer. The signature has no
time: a recorded request can be sent again, and has no effect then.""",
    from_memory="That `failed` may come without earlier requests, and that a URL's fragment is not signed.",
)


def _read_resource(record: Record) -> Sequence[Fact]:
    """The price in a Call resource, as `GET /Calls/{sid}.json` answers it."""
    fields = record.fields()
    call_id = needed(fields.get("sid"), "sid")
    price = text(fields.get("price"))
    if price is None:
        raise Ignored("the price is not known yet")
    updated = needed_instant(rfc_2822(fields.get("date_updated"), "date_updated"), "date_updated")
    return [
        Fact(f"{call_id}:4:price:{price}", "call.updated", call_id, updated, {"cost": cents_of_units(price)})
    ]


TWILIO_REST: Final = Dialect(
    name="twilio_rest",
    title="Twilio's Call resource",
    ways=("kafka",),
    read=_read_resource,
    named=lambda record, by: text(record.fields().get("account_sid" if by == "AccountSid" else by)),
    organizations_by="AccountSid",
    setup="""\
Pull `GET /2010-04-01/Accounts/{AccountSid}/Calls/{CallSid}.json` some minutes after a call's end, and publish
the answer to the source's topic.""",
    gives="The price of a call, in cents of its currency.",
    lacks="Everything else: use it beside the source of the status callbacks.",
)
