"""Telnyx TeXML: status callbacks and recordings as forms, with Twilio's fields and Telnyx's signature.

A call is one call leg. A leg that `<Dial>` creates is a call of its own.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from shared.dialects.telnyx import PUBLIC_KEY, verify
from shared.dialects.twilio import DIRECTIONS, STATUSES
from shared.sources.causes import sip_cause
from shared.sources.dialect import Dialect
from shared.sources.instants import earlier, iso, later, rfc_2822
from shared.sources.outcome import Fact, Ignored, Quarantined
from shared.sources.parties import number
from shared.sources.record import Record, needed, shortened, text, whole

STATUS_CALLBACK: Final = "call-progress-events"


def read(record: Record) -> Sequence[Fact]:
    """The facts of a status callback or a recording."""
    fields = record.fields()
    has_status = text(fields.get("CallStatus")) is not None
    # The last status callback may have the fields of a recording and of a dialled leg.
    if has_status and fields.get("CallbackSource") == STATUS_CALLBACK:
        return _status_callback(fields, record)
    if text(fields.get("RecordingSid")) and text(fields.get("RecordingStatus")):
        return [_recording(fields, record)]
    if has_status or "CallSid" in fields or "AccountSid" in fields:
        raise Ignored("it is not a status callback")
    raise Quarantined("The record has neither CallSid nor AccountSid.")


def _status_callback(fields: Mapping[str, Any], record: Record) -> list[Fact]:
    call_id, word = needed(fields.get("CallSid"), "CallSid"), needed(fields.get("CallStatus"), "CallStatus")
    if word not in STATUSES:
        raise Quarantined(f"CallStatus: {word[:60]!r} is not a status that Telnyx documents.")
    rank, type_, failure = STATUSES[word]
    at_ = _instant(fields, "Timestamp") or record.received_at
    data: dict[str, Any] = {
        "from_number": number(fields.get("From")),
        "to_number": number(fields.get("To")),
        "direction": DIRECTIONS.get(text(fields.get("Direction")) or ""),
    }
    facts = []
    if rank == 3:
        duration, begun = whole(fields.get("CallDuration")), _instant(fields, "CallInitiatedAt")
        data |= {
            "status": failure,
            "duration": duration,
            "hangup_cause": shortened(text(fields.get("HangupCause")))
            or sip_cause(fields.get("SipResponseCode")),
            "completed_at": _instant(fields, "EndTime"),
            "recording_url": text(fields.get("RecordingUrl")),
            "HangupSource": text(fields.get("HangupSource")),
        }
        answered = None
        if type_ == "call.completed":
            derived = earlier(at_, duration) if duration else None
            data["answered_at"] = answered = _instant(fields, "AnsweredTime") or derived
        if begun is not None:
            facts.append(Fact(f"{call_id}:0:begin", "call.initiated", call_id, begun))
        elif answered is not None:
            # An earlier ringing still counts as the begin.
            facts.append(Fact(f"{call_id}:0:begin", "call.updated", call_id, answered))
    facts.append(Fact(f"{call_id}:{rank}:{word}", type_, call_id, at_, data))
    return facts


def _recording(fields: Mapping[str, Any], record: Record) -> Fact:
    if fields["RecordingStatus"] != "completed":
        raise Ignored("the recording is not completed")
    begun = _instant(fields, "RecordingStartTime")
    return Fact(
        f"{text(fields['RecordingSid'])}:completed",
        "recording.ready",
        needed(fields.get("CallSid"), "CallSid"),
        later(begun, whole(fields.get("RecordingDuration"))) if begun else record.received_at,
        {"recording_url": needed(fields.get("RecordingUrl"), "RecordingUrl")},
    )


def _instant(fields: Mapping[str, Any], name: str) -> datetime | None:
    """A time as ISO 8601, which Telnyx sends, or as RFC 2822, which some of its pages name."""
    given = text(fields.get(name))
    return rfc_2822(given, name) if given is not None and given[0].isalpha() else iso(given, name)


TELNYX_TEXML: Final = Dialect(
    name="telnyx_texml",
    title="Telnyx TeXML",
    ways=("http",),
    read=read,
    verify=verify,
    organizations_by="AccountSid",
    secrets=(PUBLIC_KEY,),
    setup="""\
1. In the portal, open *Voice*, then *Programmable Voice*, and edit the TeXML application.
2. Enter the source's address as the *Status callback*, with the method POST.
3. For outbound calls, give `StatusCallback` with the address, and `StatusCallbackEvent` with all of
   `initiated`, `ringing`, `answered` and `completed`.
4. Give the same two attributes to each `<Number>` or `<Sip>` within `<Dial>`.
5. For recordings, give the address as `recordingStatusCallback`.

`--map` is by `AccountSid`. With `--map-by ConnectionId`, an application
decides.""",
    gives="""\
Status, both numbers, begin, answer and end, the duration in seconds, causes and recordings.""",
    lacks="""\
There is no direction and no price. An address in `RecordingUrl` is valid for 10 minutes after the end of the
call. Older callbacks have neither begin nor answer: the answer is then the end less the duration.""",
    from_memory="""\
That a recording's callback may have `RecordingStartTime`. Without it, the time of receipt counts.""",
)
