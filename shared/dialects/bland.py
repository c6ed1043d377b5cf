"""Bland: the call object, which one webhook sends after each call."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any, Final

from shared.calls.event import EventType
from shared.sources.delivery import Delivery
from shared.sources.dialect import Dialect, Secret
from shared.sources.instants import iso, later
from shared.sources.money import cents_of_units
from shared.sources.outcome import Fact, Ignored, Quarantined
from shared.sources.parties import e164
from shared.sources.record import Record, needed, shortened, text, verbatim, whole
from shared.sources.signatures import check_equal, header, hmac_sha256, secret
from shared.sources.source import Source

WAITING: Final = frozenset({"new", "queued", "allocated", "started"})
"""status or queue_status of a call that has not ended."""
STATUSES: Final[Mapping[str, str | None]] = {
    "pre_queue_error": "failed",
    "queue_error": "failed",
    "call_error": "failed",
    "complete_error": "failed",
    "failed": "failed",
    "busy": "busy",
    "no-answer": "no_answer",
    "canceled": "canceled",
    "complete": None,
    "completed": None,
}
"""status or queue_status: the status of a failed call; None where the answer and the duration decide."""
ANSWERS: Final = frozenset({"human", "voicemail"})
NO_ANSWER: Final = "no-answer"
DIRECTIONS: Final = {True: "inbound", False: "outbound"}


def read(record: Record) -> Sequence[Fact]:
    """The begin and the end of a call."""
    fields = record.fields()
    call_id = text(fields.get("call_id")) or needed(fields.get("c_id"), "call_id")
    words = [word for name in ("queue_status", "status") if (word := text(fields.get(name))) is not None]
    if "completed" not in fields:
        raise Ignored("it is not the end of a call")
    if fields["completed"] is not True:
        _check_ended(fields, words)
    seconds = _seconds(fields)
    status = _status(fields, words, seconds)
    answered = status == "completed" or (status == "failed" and bool(seconds))
    started = iso(fields.get("started_at"), "started_at")
    end = iso(fields.get("end_at"), "end_at") or _end(started, seconds) or record.received_at
    data = _parties(fields) | {
        "status": status,
        # Without an answer, only a 0 that Bland gives counts: other numbers contain the ringing.
        "duration": seconds if answered or whole(fields.get("corrected_duration")) == 0 else None,
        "cost": cents_of_units(fields.get("price")),
        "hangup_cause": _cause(fields),
        "recording_url": text(fields.get("recording_url")),
        "transcript": verbatim(fields.get("concatenated_transcript")),
        "answered_at": started if answered else None,
        "answered_by": text(fields.get("answered_by")),
    }
    type_: EventType = "call.completed" if status == "completed" else "call.failed"
    facts = [Fact(f"{call_id}:3:end", type_, call_id, end, data)]
    if created := iso(fields.get("created_at"), "created_at"):
        facts.insert(0, Fact(f"{call_id}:0:begin", "call.initiated", call_id, created))
    return facts


def _check_ended(fields: Mapping[str, Any], words: Sequence[str]) -> None:
    """Raises Ignored for a call that has not ended, and Quarantined for a word that nothing documents."""
    if not WAITING.isdisjoint(words) or not (words or text(fields.get("error_message"))):
        raise Ignored("it is not the end of a call")
    unknown = next((word for word in words if word not in STATUSES), None)
    if unknown is not None:
        raise Quarantined(f"status: {unknown[:60]!r} is not a status that Bland documents.")


def _status(fields: Mapping[str, Any], words: Sequence[str], seconds: int | None) -> str:
    failures = [failure for word in words if (failure := STATUSES.get(word))]
    if text(fields.get("error_message")) or "failed" in failures:
        return "failed"
    answered_by = text(fields.get("answered_by"))
    if answered_by == NO_ANSWER:
        return "no_answer"
    if failures:
        return failures[0]
    return "completed" if answered_by in ANSWERS or seconds else "no_answer"


def _seconds(fields: Mapping[str, Any]) -> int | None:
    """corrected_duration, in seconds; otherwise call_length, in minutes."""
    seconds = whole(fields.get("corrected_duration"))
    if seconds is not None:
        return seconds
    try:
        minutes = Decimal(text(fields.get("call_length")) or "NaN")
        return whole((minutes * 60).to_integral_value(ROUND_HALF_EVEN))
    except (InvalidOperation, OverflowError):
        return None


def _end(started: datetime | None, seconds: int | None) -> datetime | None:
    return later(started, seconds) if started is not None and seconds is not None else None


def _cause(fields: Mapping[str, Any]) -> str | None:
    if error := text(fields.get("error_message")):
        return shortened(error)
    answered_by = text(fields.get("answered_by"))
    return answered_by if answered_by == NO_ANSWER else shortened(text(fields.get("call_ended_by")))


def _parties(fields: Mapping[str, Any]) -> dict[str, Any]:
    inbound = fields.get("inbound")
    return {
        "from_number": e164(fields.get("from")),
        "to_number": e164(fields.get("to")),
        "direction": DIRECTIONS[inbound] if isinstance(inbound, bool) else None,
    }


def verify(delivery: Delivery, source: Source) -> None:
    """Checks X-Webhook-Signature: the hexadecimal HMAC-SHA256 of the body."""
    digest = hmac_sha256(secret(source, "webhook_secret"), delivery.body or b"")
    check_equal(digest.hex(), header(delivery, "x-webhook-signature").strip().lower())


BLAND: Final = Dialect(
    name="bland",
    title="Bland",
    ways=("http",),
    read=read,
    verify=verify,
    secrets=(
        Secret(
            "webhook_secret", "The webhook signing secret, from the account's settings in Bland's dashboard."
        ),
    ),
    setup="""\
1. In the account's settings, create a webhook signing secret, and give it to the source as `webhook_secret`.
2. Give the source's address as `webhook` of each request that sends a call, of each batch, and of each
   inbound number.
3. Leave `webhook_events` out. Its events are ignored.

A body names no organization: use one source for each. If your requests put a tenant into `metadata`, the
option `--map-by` can name it, such as `--map-by metadata.tenant`. If the calls come over your own Twilio
account, attach one of the two: a call of two sources counts twice.""",
    gives="""\
Status, direction, both numbers, begin, answer and end, the duration in seconds, the price in cents of US
dollars, the recording's address and the transcript. The cause is the error's text, `no-answer`, or the side
that ended the call.""",
    lacks="""\
Bland sends one request, after the end: there is no ringing, and no running call. No SIP cause. The signature
has no time: a recorded request can be sent again, and has no effect then.""",
    from_memory="""\
That `started_at` is the answer, the words `busy` and `canceled`, that events of `webhook_events` have no
`completed`, and that Bland signs the bytes that it sends. callfold chooses the status for each word.""",
)
