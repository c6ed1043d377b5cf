"""Daily: webhooks of dial-in and dial-out sessions.

A call is Daily's session of one phone participant.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from shared.calls.event import EventType
from shared.sources.delivery import Delivery
from shared.sources.dialect import Dialect, Secret
from shared.sources.instants import epoch, epoch_seconds, needed_instant
from shared.sources.outcome import Fact, Ignored, Quarantined
from shared.sources.parties import number
from shared.sources.record import Record, at, needed, shortened, text
from shared.sources.signatures import (
    base64_bytes,
    base64_text,
    check_age,
    check_equal,
    header,
    hmac_sha256,
    secret,
)
from shared.sources.source import Source

TYPES: Final[Mapping[str, EventType]] = {
    "dialin.connected": "call.answered",
    "dialin.stopped": "call.completed",
    "dialin.error": "call.failed",
    "dialout.started": "call.initiated",
    "dialout.connected": "call.ringing",
    "dialout.answered": "call.answered",
    "dialout.stopped": "call.completed",
    "dialout.error": "call.failed",
}
"""type: the event's type. `dialout.connected` means that the callee's phone rings."""
TRIALS: Final = (b'{"test":"test"}', b'{"test": "test"}')
"""The body that Daily sends, unsigned, when a webhook is created."""
TOLERANCE_SECONDS: Final = 7_200
"""Daily may sign a repetition with its first time, and repeats a request for more than an hour."""


def read(record: Record) -> Sequence[Fact]:
    """The fact of a dial-in's or a dial-out's webhook."""
    fields = record.fields()
    if "type" not in fields and "test" in fields:
        raise Ignored("it is a trial of the address")
    kind = needed(fields.get("type"), "type")
    if kind not in TYPES:
        raise Ignored("it is not a step of a call")
    type_ = TYPES[kind]
    inbound = kind.startswith("dialin.")
    happened = epoch_seconds(at(fields, "payload.timestamp"), "payload.timestamp")
    data = {
        "from_number": number(at(fields, "payload.sip_from" if inbound else "payload.caller_id")),
        "to_number": number(at(fields, "payload.destination")),
        "direction": "inbound" if inbound else "outbound",
        "room": text(at(fields, "payload.room")),
    }
    if type_ == "call.failed":
        data |= {"status": "failed", "hangup_cause": shortened(text(at(fields, "payload.errorMsg")))}
    return [
        Fact(
            text(fields.get("id")) or record.derived_id(),
            type_,
            needed(at(fields, "payload.session_id"), "payload.session_id"),
            needed_instant(
                happened or epoch_seconds(fields.get("event_ts"), "event_ts"), "payload.timestamp"
            ),
            data,
        )
    ]


def verify(delivery: Delivery, source: Source) -> None:
    """Checks X-Webhook-Signature over X-Webhook-Timestamp and the body. The trial needs no signature."""
    body = delivery.body or b""
    key = base64_bytes(secret(source, "hmac_base64"), "the secret hmac_base64")
    if body in TRIALS:
        return
    signed_at = header(delivery, "x-webhook-timestamp")
    signed = f"{signed_at}.".encode(errors="replace") + body
    check_equal(base64_text(hmac_sha256(key, signed)), header(delivery, "x-webhook-signature"))
    check_age(_signed_at(signed_at), delivery.received_at, TOLERANCE_SECONDS)


def _signed_at(value: Any) -> datetime | None:
    try:
        return epoch(value, "x-webhook-timestamp")
    except Quarantined:
        return None


DAILY: Final = Dialect(
    name="daily",
    title="Daily",
    ways=("http",),
    read=read,
    verify=verify,
    organizations_by="payload.domain_id",
    secrets=(
        Secret(
            "hmac_base64", "The webhook's `hmac`: a secret in base64 that `POST /webhooks` takes or returns."
        ),
    ),
    setup="""\
1. Create a secret: `openssl rand -base64 32`. Give it to the source as `hmac_base64`.
2. Create the webhook with `POST https://api.daily.co/v1/webhooks`: `url` is the source's address, and `hmac`
   is the secret.
3. Set `retryType` to `exponential`. By default a circuit breaker switches the webhook off after failures.
4. Set `eventTypes` to `dialin.connected`, `dialin.stopped`, `dialin.error`, `dialout.started`,
   `dialout.connected`, `dialout.answered`, `dialout.stopped` and `dialout.error`.

Daily sends a trial when you create the webhook, so create the source first.""",
    gives="""\
Begin, ringing and answer of dial-outs, answer of dial-ins, and the end of both. Times have whole seconds. The
duration follows from the answer and the end. Errors carry a cause.""",
    lacks="""\
The webhooks carry no price, recording of the call, or cause of a usual end. Dial-ins carry no called number
and no time before the answer. Neither busy nor no answer can be recognized: both read `failed`, or
`completed` if Daily sends `dialout.stopped`. The telephony vendor below Daily gives these facts.""",
    from_memory="""\
The signature and its headers. That an unanswered dial-out may end with `dialout.stopped` alone. That Daily
repeats a request for less than two hours.""",
)
