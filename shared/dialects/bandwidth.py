"""Bandwidth: voice webhooks as JSON.

A call is Bandwidth's call leg. A leg that `<Transfer>` creates is a call of its own.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from shared.calls.event import EventType
from shared.sources.causes import sip_cause, sip_code, status_of_sip
from shared.sources.dialect import Dialect, Secret
from shared.sources.instants import iso, needed_instant, seconds_between
from shared.sources.outcome import Fact, Ignored
from shared.sources.parties import direction, number
from shared.sources.record import Record, needed, shortened, text

CAUSES: Final[Mapping[str | None, str]] = {
    "busy": "busy",
    "timeout": "no_answer",
    "cancel": "canceled",
    "rejected": "failed",
    "callback-error": "failed",
    "invalid-bxml": "failed",
    "application-error": "failed",
    "account-limit": "failed",
    "node-capacity-exceeded": "failed",
    "error": "failed",
    "unknown": "failed",
}
"""cause: the status of a failed call. `hangup` is not among them: the answer decides its status."""
RECORDED: Final = frozenset({"complete", "partial"})
KEPT: Final = ("cause", "errorMessage", "errorId", "tag", "parentCallId", "sipCallId")


def read(record: Record) -> Sequence[Fact]:
    """The facts of initiate, answer, disconnect and recordingAvailable."""
    fields = record.fields()
    kind = needed(fields.get("eventType"), "eventType")
    if kind == "recordingAvailable":
        return [_recording(fields)]
    if kind not in ("initiate", "answer", "disconnect"):
        raise Ignored("it is not a step of a call")
    call_id = needed(fields.get("callId"), "callId")
    at_ = _needed_time(fields, "eventTime")
    begun, answered = _time(fields, "startTime"), _time(fields, "answerTime")
    facts = [Fact(f"{call_id}:0:begin", "call.initiated", call_id, begun)] if begun else []
    if kind == "initiate":
        facts.append(Fact(f"{call_id}:0:initiate", "call.initiated", call_id, at_, _parties(fields)))
    elif kind == "answer":
        data = _parties(fields) | {"answered_at": answered}
        facts.append(Fact(f"{call_id}:2:answer", "call.answered", call_id, at_, data))
    else:
        facts.append(_end(fields, call_id, at_, answered))
    return facts


def _end(fields: Mapping[str, Any], call_id: str, at_: datetime, answered: datetime | None) -> Fact:
    status = _status(fields, answered)
    if status not in (None, "failed"):
        answered = None
    ended = _time(fields, "endTime")
    data = _parties(fields) | {name: text(fields.get(name)) for name in KEPT}
    data |= {
        "status": status,
        "answered_at": answered,
        "completed_at": ended,
        "duration": seconds_between(answered, ended) if answered else 0,
        "hangup_cause": sip_cause(fields.get("sipResponseCode")) or shortened(text(fields.get("cause"))),
    }
    type_: EventType = "call.failed" if status else "call.completed"
    return Fact(f"{call_id}:3:disconnect", type_, call_id, at_, data)


def _status(fields: Mapping[str, Any], answered: datetime | None) -> str | None:
    """The status of a failed call; None for a completed one."""
    cause = text(fields.get("cause"))
    if cause in CAUSES:
        return CAUSES[cause]
    if cause == "hangup":
        return None if answered else "canceled"
    code = sip_code(fields.get("sipResponseCode"))
    if code is not None and (failure := status_of_sip(code)):
        return failure
    return None if answered else "failed"


def _recording(fields: Mapping[str, Any]) -> Fact:
    if text(fields.get("status")) not in RECORDED:
        raise Ignored("the recording has no file")
    return Fact(
        f"{needed(fields.get('recordingId'), 'recordingId')}:recordingAvailable",
        "recording.ready",
        needed(fields.get("callId"), "callId"),
        _needed_time(fields, "eventTime"),
        _parties(fields) | {"recording_url": needed(fields.get("mediaUrl"), "mediaUrl")},
    )


def _parties(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "from_number": number(fields.get("from")),
        "to_number": number(fields.get("to")),
        "direction": direction(fields.get("direction")),
    }


def _time(fields: Mapping[str, Any], name: str) -> datetime | None:
    return iso(fields.get(name), name)


def _needed_time(fields: Mapping[str, Any], name: str) -> datetime:
    return needed_instant(_time(fields, name), name)


BANDWIDTH: Final = Dialect(
    name="bandwidth",
    title="Bandwidth",
    ways=("http",),
    read=read,
    organizations_by="accountId",
    secrets=(
        Secret("username", "The user name that you enter as the callback credentials of the application."),
        Secret("password", "The password that you enter beside it."),
    ),
    setup="""\
1. In the Bandwidth App, open *Applications*, and your voice application.
2. Set *Call status callback URL* to the source's address, with the method POST.
3. Under *Callback credentials*, enter a user name and a long random password. Give both to the source.
4. For each call that your program creates, give the address as `disconnectUrl`, with `disconnectMethod`
   `POST`, and the same user name and password.
5. For recordings, give the address as `recordingAvailableUrl` of `<Record>` or `<StartRecording>`.

Bandwidth sends `initiate` and `answer` to your program, which answers them with BXML. Your program can
forward them to the source's address with the credentials. Then callfold shows a call while it lasts.

With `--map-by applicationId`, each application can belong to another organization.""",
    gives="""\
Status, direction, both numbers, causes and recordings. Begin, answer and end have milliseconds, and the
duration follows from them. The request `disconnect` alone gives a whole call.""",
    lacks="""\
The requests carry no price, no ringing and no transcript. An inbound call's answer has no request of its own:
`disconnect` gives its time. The requests are not signed, so only TLS and the credentials protect the address.
A recording's address needs the account's credentials.""",
    from_memory="""\
That Bandwidth sends the credentials as HTTP basic authentication, and that `hangup` without an answer means
that the caller canceled the call.""",
)
