"""Plivo: requests to the ring, answer and hangup URLs, and recordings, as forms.

A call is Plivo's call leg.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qsl

from shared.calls.event import EventType
from shared.dialects.twilio import public_urls
from shared.sources.causes import Unanswered
from shared.sources.delivery import Delivery
from shared.sources.dialect import Dialect, Secret, Setting, always
from shared.sources.instants import earlier, epoch_milliseconds, iso
from shared.sources.money import cents_of_units
from shared.sources.outcome import Fact, Ignored, Quarantined, Refused
from shared.sources.parties import direction, e164
from shared.sources.record import Record, needed, shortened, text, whole
from shared.sources.signatures import base64_text, header, hmac_sha256, same, secret
from shared.sources.source import TIME_ZONE, Source

RANKS: Final[Mapping[str, int]] = {"Ring": 1, "StartApp": 2, "Hangup": 3}
"""Event: the step's rank in the event's id. Other events are not steps of a call."""
STEPS: Final[Mapping[str, EventType]] = {"ringing": "call.ringing", "in-progress": "call.answered"}
"""CallStatus of a call that has not ended."""
ENDS: Final[Mapping[str, Unanswered | None]] = {
    "completed": None,
    "busy": "busy",
    "failed": "failed",
    "timeout": "no_answer",
    "no-answer": "no_answer",
    "cancel": "canceled",
}
"""CallStatus of a Hangup: the status of a failed call. None for a completed one."""
COMPLETED_BY_CODE: Final[Mapping[int, Unanswered | None]] = {
    1000: "canceled",
    1010: "canceled",
    1020: "canceled",
    3000: "no_answer",
    3010: "busy",
    4000: None,
    4010: None,
    4020: None,
    4030: None,
    6010: "no_answer",
    9000: "canceled",
}
"""HangupCauseCode of a `completed` without AnswerTime: the status of a failed call. None for a completed one;
failed for every other code."""
_INSTANTS: Final = ("StartTime", "AnswerTime", "EndTime")
_QUARTER_SECONDS: Final = 15 * 60
_OFFSET_SECONDS_MAX: Final = 14 * 60 * 60


def read(record: Record) -> Sequence[Fact]:
    """The facts of a request to a ring, answer or hangup URL, or of a recording."""
    fields = record.fields()
    if text(fields.get("RecordUrl")) is not None:
        return [_recording(fields, record)]
    event = text(fields.get("Event"))
    if event is None:
        if text(fields.get("HangupCause")) is None:
            raise Quarantined("Event: is missing.")
        event = "Hangup"
    if event not in RANKS:
        raise Ignored("it is not a step of a call")
    call_id, word = needed(fields.get("CallUUID"), "CallUUID"), needed(fields.get("CallStatus"), "CallStatus")
    if word not in (ENDS if event == "Hangup" else STEPS):
        raise Quarantined(f"CallStatus: {word[:60]!r} is not a status that Plivo documents for {event}.")
    id_ = f"{call_id}:{RANKS[event]}:{event}:{word}"
    if event == "Hangup":
        return _end(fields, record, call_id, id_, ENDS[word])
    return [Fact(id_, STEPS[word], call_id, record.received_at, _parties(fields))]


def _end(
    fields: Mapping[str, Any], record: Record, call_id: str, id_: str, failure: Unanswered | None
) -> list[Fact]:
    begun, answered, ended = _instants(fields, record.source)
    if failure is None and answered is None:
        failure = COMPLETED_BY_CODE.get(whole(fields.get("HangupCauseCode")) or 0, "failed")
    cause = text(fields.get("HangupCause")) or text(fields.get("HangupCauseName"))
    data = _parties(fields) | {
        "status": failure,
        "duration": whole(fields.get("Duration")),
        "cost": cents_of_units(fields.get("TotalCost")),
        "hangup_cause": shortened(cause),
        "answered_at": None if failure else answered,
        "completed_at": ended,
        "HangupCauseCode": text(fields.get("HangupCauseCode")),
        "HangupSource": text(fields.get("HangupSource")),
    }
    facts = [Fact(f"{call_id}:0:begin", "call.initiated", call_id, begun)] if begun else []
    type_: EventType = "call.failed" if failure else "call.completed"
    facts.append(Fact(id_, type_, call_id, ended or record.received_at, data))
    return facts


def _instants(fields: Mapping[str, Any], source: Source) -> list[datetime | None]:
    """Begin, answer and end. Plivo gives them in the zone of the account's console, and SessionStart in UTC.
    Begin and SessionStart are the same moment, so their difference is the zone's offset."""
    instants = [iso(fields.get(name), name) for name in _INSTANTS]
    session, begun = iso(fields.get("SessionStart"), "SessionStart"), instants[0]
    if session is not None and begun is not None:
        offset = round((begun - session).total_seconds() / _QUARTER_SECONDS) * _QUARTER_SECONDS
        if offset == 0:
            return instants
        if abs(offset) <= _OFFSET_SECONDS_MAX:
            return [instant and earlier(instant, offset) for instant in instants]
    zone = source.time_zone()
    return instants if zone is None else [iso(fields.get(name), name, zone) for name in _INSTANTS]


def _recording(fields: Mapping[str, Any], record: Record) -> Fact:
    if text(fields.get("RecordingDuration")) == "-1":
        raise Ignored("the recording is not ready")
    return Fact(
        f"{needed(fields.get('RecordingID'), 'RecordingID')}:ready",
        "recording.ready",
        needed(fields.get("CallUUID"), "CallUUID"),
        epoch_milliseconds(fields.get("RecordingEndMs"), "RecordingEndMs") or record.received_at,
        _parties(fields) | {"recording_url": text(fields["RecordUrl"])},
    )


def _parties(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "from_number": e164(fields.get("From")),
        "to_number": e164(fields.get("To")),
        "direction": direction(fields.get("Direction")),
    }


def verify(delivery: Delivery, source: Source) -> None:
    """Checks X-Plivo-Signature-V3, or the main account's: one of several, over the public URL, the sorted
    query, the sorted form and the nonce."""
    nonce, key = header(delivery, "x-plivo-signature-v3-nonce"), secret(source, "auth_token")
    given = [
        signature.strip()
        for name in ("x-plivo-signature-v3", "x-plivo-signature-ma-v3")
        for signature in delivery.headers.get(name, "").split(",")
    ]
    query = "&".join(f"{name}={value}" for name, value in _sorted(delivery.query))
    form = "".join(name + value for name, value in _sorted((delivery.body or b"").decode(errors="replace")))
    mark = "?" if query or form else ""
    signed = f"{mark}{query}{'.' if query and form else ''}{form}.{nonce}"
    good = [
        same(base64_text(hmac_sha256(key, url.partition("?")[0] + signed)), signature)
        for url in public_urls(delivery, source)
        for signature in given
    ]
    if not any(good):
        raise Refused("the signature is wrong")


def _sorted(encoded: str) -> list[tuple[str, str]]:
    return sorted(parse_qsl(encoded, keep_blank_values=True))


PLIVO: Final = Dialect(
    name="plivo",
    title="Plivo",
    ways=("http",),
    read=read,
    verify=verify,
    signs_address=always,
    organizations_by="ParentAuthID",
    secrets=(
        Secret(
            "auth_token",
            "The auth token of the account or the subaccount, on the console's first page.",
        ),
    ),
    settings=(
        Setting(
            TIME_ZONE,
            "The time zone of the account's console, such as `Asia/Kolkata`. It counts for a request without "
            "`SessionStart`. The default is UTC.",
        ),
    ),
    setup="""\
1. In the console, open *Voice*, then *Applications*, and enter the source's address as *Hangup URL*, with the
   method POST. This is enough for the status, the times, the duration and the price.
2. For outbound calls, give `hangup_url` and `ring_url` with the address to the Make Call API.
3. The *Answer URL* stays yours, because Plivo asks it for instructions. The time of the answer comes with the
   hangup. To have it at once, create a second source whose public URL is the answer URL, and pass these
   requests on to it as they came.
4. For recordings, give the address as the `callbackUrl` of `<Record>`.
5. Map each `ParentAuthID` to its organization, or give the source one organization.""",
    gives="""\
Status, direction, both numbers, begin, answer and end, the duration in seconds, the price in cents of US
dollars, causes and recordings. Times have whole seconds.""",
    lacks="""\
Inbound calls send no ringing. Ringing has no time of its own: its receipt counts. Plivo gives times in the
zone of the account's console. callfold finds the zone's offset by `SessionStart`, which is UTC. A call during
which the zone's clocks change can have a wrong answer and end.

callfold needs the signature of version 3. Version 2 does not cover the form's fields, so it is not accepted.
The signature has no time: a recorded request can be sent again, and has no effect then.""",
    from_memory="""\
That the requests `Ring` and `StartApp` have no time of their own. The fields of a recording's callback. The
status of a `completed` without `AnswerTime` is chosen by `HangupCauseCode`.""",
)
