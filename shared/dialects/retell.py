"""Retell: webhooks with the call object.

A call is Retell's call. `call_started` is its answer. `call_ended` and `call_analyzed` both give the whole
call; the second one has its last price.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from shared.calls.event import EventType, Status
from shared.sources.delivery import Delivery
from shared.sources.dialect import Dialect, Secret
from shared.sources.instants import epoch_milliseconds, epoch_seconds, needed_instant, seconds_between
from shared.sources.money import cents
from shared.sources.outcome import Fact, Ignored
from shared.sources.parties import direction, number
from shared.sources.record import Record, at, needed, shortened, text, verbatim, whole
from shared.sources.signatures import check_age, check_equal, header, hmac_sha256, secret
from shared.sources.source import Source

EVENTS: Final = {"call_started": 2, "call_ended": 3, "call_analyzed": 4}
"""event: the step's rank in the event's id. At equal times the analysis sorts after the end."""
REASONS: Final[Mapping[str, Status]] = {
    **dict.fromkeys(
        (
            *("user_hangup", "agent_hangup", "call_transfer", "transfer_bridged", "transfer_cancelled"),
            *("voicemail_reached", "ivr_reached", "inactivity", "max_duration_reached", "manual_stopped"),
            *("call_take_over", "user_requested_dnc", "user_requested_callback"),
        ),
        "completed",
    ),
    "dial_busy": "busy",
    "dial_no_answer": "no_answer",
    **dict.fromkeys(
        (
            *("dial_failed", "invalid_destination", "user_declined", "registered_call_timeout"),
            *("telephony_provider_permission_denied", "telephony_provider_unavailable"),
            *("sip_routing_error", "marked_as_spam", "network_blocked"),
            *("concurrency_limit_reached", "no_concurrency_fallback", "no_valid_payment"),
            *("credit_exhausted", "budget_reached", "scam_detected"),
        ),
        "failed",
    ),
}
"""disconnection_reason: the status of the call. Every `error_…` besides means failed."""
TOLERANCE_SECONDS: Final = 300


def read(record: Record) -> Sequence[Fact]:
    """The facts of call_started, call_ended or call_analyzed."""
    fields = record.fields()
    event = needed(fields.get("event"), "event")
    if event not in EVENTS:
        raise Ignored("it is not a step of the call's status")
    call = fields.get("call")
    call_id = needed(at(call, "call_id"), "call.call_id")
    sent = epoch_milliseconds(fields.get("event_timestamp"), "event_timestamp")
    started = epoch_milliseconds(at(call, "start_timestamp"), "call.start_timestamp")
    id_ = f"{call_id}:{EVENTS[event]}:{event}"
    if event == "call_started":
        answered = needed_instant(started or sent, "call.start_timestamp")
        return [Fact(id_, "call.answered", call_id, answered, _parties(call))]
    connected = started if at(call, "call_status") != "not_connected" else None
    ended = epoch_milliseconds(at(call, "end_timestamp"), "call.end_timestamp")
    data = _whole_call(call, connected, ended)
    type_: EventType = "call.completed" if data["status"] == "completed" else "call.failed"
    end = Fact(id_, type_, call_id, sent or ended or record.received_at, data)
    if connected is None:
        return [end]
    return [Fact(f"{call_id}:0:begin", "call.initiated", call_id, connected), end]


def _whole_call(call: Any, answered: datetime | None, ended: datetime | None) -> dict[str, Any]:
    """The data of an end, for a call that was connected at `answered`, or never."""
    milliseconds = whole(call.get("duration_ms"))
    reason = text(call.get("disconnection_reason"))
    return _parties(call) | {
        "status": _status(reason, answered is not None and bool(milliseconds)),
        "duration": seconds_between(answered, ended) if milliseconds is None else milliseconds // 1_000,
        "cost": cents(at(call, "call_cost.combined_cost")),
        "latency_ms": _rounded(at(call, "latency.e2e.p50")),
        "hangup_cause": shortened(reason),
        "recording_url": text(call.get("recording_url")),
        "transcript": verbatim(call.get("transcript")),
        "answered_at": answered,
        "completed_at": ended,
    }


def _status(reason: str | None, talked: bool) -> Status:
    if reason is not None and reason.startswith("error_"):
        return "failed"
    return REASONS.get(reason or "") or ("completed" if talked else "failed")


def _parties(call: Any) -> dict[str, Any]:
    return {
        "from_number": number(call.get("from_number")),
        "to_number": number(call.get("to_number")),
        "direction": direction(call.get("direction")),
        "twilio_call_sid": text(at(call, "telephony_identifier.twilio_call_sid")),
    }


def _rounded(value: Any) -> int | None:
    """A fraction of milliseconds as the nearest whole number."""
    try:
        return whole(Decimal(text(value) or "NaN").to_integral_value())
    except InvalidOperation:
        return None


def verify(delivery: Delivery, source: Source) -> None:
    """Checks x-retell-signature, `v=<milliseconds>,d=<hex>`: over the body and the text of the time."""
    parts = dict(
        part.strip().partition("=")[::2] for part in header(delivery, "x-retell-signature").split(",")
    )
    signed_at = parts.get("v", "")
    signed = (delivery.body or b"") + signed_at.encode(errors="replace")
    check_equal(hmac_sha256(secret(source, "api_key"), signed).hex(), parts.get("d", ""))
    seconds = whole(signed_at[:10])  # of 13 digits, which end with the milliseconds
    check_age(epoch_seconds(seconds, "v"), delivery.received_at, TOLERANCE_SECONDS)


RETELL: Final = Dialect(
    name="retell",
    title="Retell",
    ways=("http",),
    read=read,
    verify=verify,
    organizations_by="call.agent_id",
    secrets=(
        Secret(
            "api_key", "The API key that the dashboard marks with *Webhook*. Retell signs requests with it."
        ),
    ),
    setup="""\
1. In the dashboard, open *Settings*, then *Webhooks*, and enter the source's address. For one agent alone,
   enter it in the agent's *Webhook Settings* instead.
2. Leave the events `call_started`, `call_ended` and `call_analyzed` on. They are the default.
3. Give the source the API key that is marked for webhooks as `api_key`.
4. Map each `agent_id` to its organization, or give the source one organization.

If the calls come over Twilio or a SIP trunk, attach that carrier only once: a call of two sources counts
twice.""",
    gives="""\
Status, direction, both numbers, answer and end to the millisecond, the duration, the price in cents of US
dollars, the median latency, the cause, the recording's address and the transcript. `twilio_call_sid` names
the same call at Twilio. A web call has no numbers and no direction.""",
    lacks="""\
A call that is not connected sends its end alone, without the time at which dialling began. There is no
ringing. No reason means that the caller canceled.""",
    from_memory="""\
Retell documents the reasons of an end. callfold chooses the status for each of them.""",
)
