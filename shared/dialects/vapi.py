"""Vapi: status updates and end-of-call reports.

A call is Vapi's call. The update `ended` and the report both end it, in any order or alone. The report's own
time is later, so its price and its duration count.
"""

import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from shared.calls.event import EventType
from shared.calls.lenient import is_uuid
from shared.dialects.vapi_reasons import ending
from shared.sources.delivery import Delivery
from shared.sources.dialect import Dialect, Secret, Setting
from shared.sources.instants import epoch_milliseconds, epoch_seconds, iso, seconds_between
from shared.sources.money import cents_of_units
from shared.sources.outcome import Fact, Ignored, Quarantined, Refused
from shared.sources.parties import number
from shared.sources.record import Record, at, needed, shortened, text, verbatim, whole
from shared.sources.signatures import (
    base64_bytes,
    base64_text,
    check_age,
    check_equal,
    header,
    public_address,
    secret,
)
from shared.sources.source import Source

STATUSES: Final[Mapping[str, tuple[int, EventType, str | None]]] = {
    "scheduled": (0, "call.initiated", None),
    "queued": (0, "call.initiated", None),
    "ringing": (1, "call.ringing", None),
    "in-progress": (2, "call.answered", None),
    "forwarding": (2, "call.updated", "in_progress"),
}
"""status of an update: the step's rank in the event's id, the event's type, and the status in its data."""
NOT_STEPS: Final = frozenset({"not-found", "deletion-failed"})
SIDES: Final[Mapping[str, tuple[str, str, str]]] = {
    "inboundPhoneCall": ("inbound", "customer", "phoneNumber"),
    "outboundPhoneCall": ("outbound", "phoneNumber", "customer"),
}
"""call.type: the direction, the calling party and the called party. Other types have no numbers."""
TOLERANCE_SECONDS: Final = 300
ALGORITHMS: Final = frozenset({"sha1", "sha256", "sha512"})
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


def read(record: Record) -> Sequence[Fact]:
    """The facts of a status update or of an end-of-call report."""
    message: Any = record.fields().get("message")
    kind = needed(at(message, "type"), "message.type")
    if kind == "status-update":
        return _status_update(message, record)
    if kind == "end-of-call-report":
        return _report(message, record)
    raise Ignored("it is not a step of the call")


def _status_update(message: Mapping[str, Any], record: Record) -> list[Fact]:
    word = needed(message.get("status"), "message.status")
    if word in NOT_STEPS:
        raise Ignored("it is not a step of the call")
    call, call_id = _call(message)
    data = _parties(message, call)
    if word == "ended":
        reason = text(message.get("endedReason"))
        if reason is None:
            raise Ignored("it has no endedReason; the end-of-call report has it")
        status = ending(reason, started=text(call.get("startedAt")) is not None).status
        rank, type_ = 3, _type_of_end(status)
        data |= {"status": status, "hangup_cause": shortened(reason)}
    elif word in STATUSES:
        rank, type_, data["status"] = STATUSES[word]
    else:
        raise Quarantined(f"message.status: {word[:60]!r} is not a status that Vapi documents.")
    sent = _sent(message) or record.received_at
    return [*_begin(call, call_id), Fact(f"{call_id}:{rank}:{word}", type_, call_id, sent, data)]


def _report(message: Mapping[str, Any], record: Record) -> list[Fact]:
    call, call_id = _call(message)
    started = iso(message.get("startedAt"), "message.startedAt")
    ended = iso(message.get("endedAt"), "message.endedAt")
    reason = text(message.get("endedReason"))
    status, answered = ending(reason, started is not None)
    if answered:
        duration = seconds_between(started, ended)
    else:
        # A running call can be canceled; then its answer is in another event, and the fold derives the rest.
        duration = None if status == "canceled" and started else 0
    data = _parties(message, call) | {
        "status": status,
        "duration": duration,
        "cost": cents_of_units(message.get("cost")),
        "hangup_cause": shortened(reason),
        "recording_url": text(at(message, "artifact.recordingUrl")) or text(message.get("recordingUrl")),
        "transcript": verbatim(at(message, "artifact.transcript")) or verbatim(message.get("transcript")),
        "answered_at": started if answered else None,
        "completed_at": ended,
    }
    sent = _sent(message) or ended or record.received_at
    id_ = f"{call_id}:4:end-of-call-report"
    return [*_begin(call, call_id), Fact(id_, _type_of_end(status), call_id, sent, data)]


def _call(message: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """The message's call and its id."""
    call = message.get("call")
    if not isinstance(call, dict):
        if message.get("chat") is not None:
            raise Ignored("it is about a chat")
        raise Quarantined("message.call: is missing.")
    return call, needed(call.get("id"), "message.call.id")


def _begin(call: Mapping[str, Any], call_id: str) -> list[Fact]:
    created = iso(call.get("createdAt"), "message.call.createdAt")
    return [Fact(f"{call_id}:0:begin", "call.initiated", call_id, created)] if created else []


def _sent(message: Mapping[str, Any]) -> datetime | None:
    return epoch_milliseconds(message.get("timestamp"), "message.timestamp")


def _type_of_end(status: str) -> EventType:
    return "call.completed" if status == "completed" else "call.failed"


def _parties(message: Mapping[str, Any], call: Mapping[str, Any]) -> dict[str, Any]:
    direction, calling, called = SIDES.get(text(call.get("type")) or "", (None, "", ""))
    phone_number_id = text(call.get("phoneNumberId"))
    return {
        "from_number": _number(message, call, calling),
        "to_number": _number(message, call, called),
        "direction": direction,
        "phone_number_id": phone_number_id if phone_number_id and is_uuid(phone_number_id) else None,
        "phoneCallProviderId": text(call.get("phoneCallProviderId")),
    }


def _number(message: Mapping[str, Any], call: Mapping[str, Any], side: str) -> str | None:
    for party in (message.get(side), call.get(side)):
        if given := number(at(party, "number")) or number(at(party, "sipUri")):
            return given
    return None


def verify(delivery: Delivery, source: Source) -> None:
    """Checks the credential that the source has: an HMAC, a bearer token or the secret of X-Vapi-Secret."""
    if "hmac" in source.secrets:
        _verify_hmac(delivery, source)
    elif "bearer_token" in source.secrets:
        name = (text(source.settings.get("bearer_header")) or "authorization").lower()
        given = header(delivery, name).removeprefix("Bearer ")
        check_equal(secret(source, "bearer_token"), given, "the token")
    else:
        check_equal(secret(source, "x_vapi_secret"), header(delivery, "x-vapi-secret"), "the secret")


def _verify_hmac(delivery: Delivery, source: Source) -> None:
    credential = _credential(source)
    algorithm = text(credential.get("algorithm")) or "sha256"
    if algorithm not in ALGORITHMS:
        raise Refused("the source's secret hmac has an unknown algorithm")
    form = text(credential.get("payload_format")) or "{timestamp}.{body}"
    if "{body}" not in form:
        raise Refused("the source's secret hmac has a payload_format without {body}")
    usual_header = "x-timestamp" if "{timestamp}" in form else None
    timestamp_header = text(credential.get("timestamp_header", usual_header))
    signed_at = header(delivery, timestamp_header.lower()) if timestamp_header else None
    digest = hmac.digest(_key(credential), _signed(form, signed_at, delivery, source), algorithm)
    given = header(delivery, (text(credential.get("signature_header")) or "x-signature").lower())
    given = given.removeprefix(text(credential.get("prefix")) or "")
    if credential.get("encoding") == "base64":
        check_equal(base64_text(digest), given)
    else:
        check_equal(digest.hex(), given.lower())
    if signed_at is not None:
        # Vapi documents no unit. The first ten digits are the seconds in each of them.
        check_age(epoch_seconds(whole(signed_at[:10]), "timestamp"), delivery.received_at, TOLERANCE_SECONDS)


def _credential(source: Source) -> Mapping[str, Any]:
    """The object in the secret `hmac`. Raises Refused."""
    try:
        return _decode(secret(source, "hmac"))
    except (ValueError, RecursionError):
        raise Refused("the source's secret hmac is not a JSON object") from None


def _key(credential: Mapping[str, Any]) -> bytes:
    given = text(credential.get("secret"))
    if given is None:
        raise Refused("the source's secret hmac has no secret")
    if credential.get("secret_is_base64") is True:
        return base64_bytes(given, "the secret in the source's secret hmac")
    return given.encode(errors="surrogatepass")


def _signed(form: str, signed_at: str | None, delivery: Delivery, source: Source) -> bytes:
    """The bytes that Vapi signs: its payload format, with each placeholder replaced."""
    body = delivery.body or b""
    if form == "{body}":
        return body
    values = {
        "timestamp": signed_at,
        "method": delivery.method,
        "url": public_address(delivery, source) if "{url}" in form else None,
        "svix-id": delivery.headers.get("svix-id"),
    }
    signed = []
    for place, part in enumerate(_PLACEHOLDER.split(form)):
        value = values.get(part) if place % 2 else part
        if place % 2 and part == "body":
            signed.append(body)
        elif value is None:
            raise Refused(f"the request has no value for {{{part[:20]}}} in the payload format")
        else:
            signed.append(value.encode(errors="surrogatepass"))
    return b"".join(signed)


def _signs_address(source: Source) -> bool:
    """Whether the payload format of the secret `hmac` has the address."""
    try:
        return "{url}" in (text(_credential(source).get("payload_format")) or "")
    except Refused:
        return False


VAPI: Final = Dialect(
    name="vapi",
    title="Vapi",
    ways=("http",),
    read=read,
    verify=verify,
    signs_address=_signs_address,
    one_of_secrets=("hmac", "bearer_token", "x_vapi_secret"),
    organizations_by="message.call.orgId",
    secrets=(
        Secret(
            "hmac",
            "An HMAC credential: a JSON object with `secret`, `algorithm` (`sha1`, `sha256` or `sha512`), "
            "`signature_header`, `timestamp_header`, `payload_format`, `encoding` (`hex` or `base64`), "
            "`prefix` and `secret_is_base64`. A source needs this secret, or one of the other two. With "
            "`{url}` in the payload format, it needs `--url`.",
            required=False,
        ),
        Secret("bearer_token", "The token of a bearer credential.", required=False),
        Secret(
            "x_vapi_secret",
            "The server's secret, which Vapi sends in `X-Vapi-Secret`: the oldest way.",
            required=False,
        ),
    ),
    settings=(
        Setting("bearer_header", "The header that carries `bearer_token`; by default `Authorization`."),
    ),
    setup="""\
1. In the dashboard, create a custom credential of the type *HMAC*: algorithm SHA256, signature header
   `x-vapi-signature`, no timestamp header, and the payload format `{body}`.
2. Enter the source's address as the *Server URL* of the organization, of a phone number or of an assistant,
   and choose that credential.
3. Let `serverMessages` of each assistant contain `status-update` and `end-of-call-report`. Others are
   ignored.
4. Give the source the secret `hmac`:
   `{"secret": "…", "signature_header": "x-vapi-signature", "payload_format": "{body}"}`.
5. Map `orgId` to an organization. The option `--map-by` can name `message.call.assistantId` or
   `message.call.phoneNumberId` instead.

Vapi sends a request again only if the server's `backoffPlan` asks for it. If the calls come over Twilio or
another carrier, attach that carrier only once: a call of two sources counts twice.""",
    gives="""\
Status, direction, both numbers, ringing, answer and end to the millisecond, the duration, the price in cents
of US dollars, the reason of the end, the recording's address and the transcript. `phoneCallProviderId` names
the same call at the carrier. Calls from a browser have no numbers and no direction.""",
    lacks="""\
Without the report there is no price, no duration and no recording. OAuth 2 tokens are not checked. An update
`ended` without a reason is ignored, and the report ends the call.""",
    from_memory="""\
That `message.timestamp` counts milliseconds, that `startedAt` of an answered call is the answer, the unit of
the time that an HMAC signs, and the address in its payload format. Vapi documents the reasons of an end;
callfold chooses the status for each.""",
)
