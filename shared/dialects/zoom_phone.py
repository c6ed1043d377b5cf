"""Zoom Phone: events of calls while they run, recordings, and the records after a call.

A call is a call_id: the caller's and the callee's events of one leg share it.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from shared.calls.event import EventType, Status
from shared.sources.delivery import Delivery
from shared.sources.dialect import Dialect, Secret, Setting, named_at
from shared.sources.envelopes import json_value
from shared.sources.instants import earlier, epoch_milliseconds, epoch_seconds, iso, needed_instant
from shared.sources.outcome import Fact, Ignored, Quarantined, Refused, Response
from shared.sources.parties import sip_user
from shared.sources.record import Record, at, needed, shortened, text, whole
from shared.sources.signatures import check_age, check_equal, header, hmac_sha256, secret
from shared.sources.source import Source

TOLERANCE_SECONDS: Final = 300
HANDSHAKE: Final = b"endpoint.url_validation"
RESULTS: Final[Mapping[str, Status]] = {
    "callconnected": "completed",
    "answered": "completed",
    "connected": "completed",
    "autorecorded": "completed",
    "voicemail": "no_answer",
    "noanswer": "no_answer",
    "missed": "no_answer",
    "ringtimeout": "no_answer",
    "overflowed": "no_answer",
    "busy": "busy",
    "callcancel": "canceled",
    "canceled": "canceled",
    "cancelled": "canceled",
    "hangup": "canceled",
    "rejected": "failed",
    "blocked": "failed",
    "callfailed": "failed",
    "wrongnumber": "failed",
}
"""The result of a call without an answer time, without case, spaces and underscores."""
RECORDS: Final = ("call_log_completed", "call_history_completed", "call_element_completed")
"""The ends of the names of events that have records of a call, one for each of its users."""
ARRAYS: Final = ("call_logs", "call_history", "call_elements")
CALLER_NUMBERS: Final = ("caller_did_number", "caller_number", "caller_ext_number")
CALLEE_NUMBERS: Final = ("callee_did_number", "callee_number", "callee_ext_number")
ANSWERS: Final = ("answer_start_time", "connected_start_time")
_SPACES: Final = str.maketrans("", "", " _")

_Told = tuple[EventType, datetime, Mapping[str, Any]]


def read(record: Record) -> Sequence[Fact]:
    """The facts of an event."""
    name = needed(record.fields().get("event"), "event")
    if name in EVENTS:
        return _of_event(name, record)
    if name == "phone.recording_completed":
        return _of_recordings(record)
    if name.startswith("phone.") and name.endswith(RECORDS):
        return _of_records(record)
    raise Ignored(f"it is the event {name[:60]}")


def _of_event(name: str, record: Record) -> list[Fact]:
    call = at(record.value, "payload.object")
    call_id = needed(at(call, "call_id"), "payload.object.call_id")
    id_ = record.derived_id()
    return [
        Fact(f"{id_}:{type_.partition('.')[2]}", type_, call_id, at_, data)
        for type_, at_, data in EVENTS[name](call, record)
    ]


def _caller_ringing(call: Mapping[str, Any], record: Record) -> list[_Told]:
    at_ = _time(call, record, "ringing_start_time")
    return [("call.initiated", at_, _parties(call, "outbound"))]


def _callee_ringing(call: Mapping[str, Any], record: Record) -> list[_Told]:
    at_ = _time(call, record, "ringing_start_time")
    return [("call.initiated", at_, _parties(call, "inbound")), ("call.ringing", at_, {})]


def _answered(call: Mapping[str, Any], record: Record) -> list[_Told]:
    return [("call.answered", _time(call, record, *ANSWERS), {})]


def _missed(status: Status) -> Callable[[Mapping[str, Any], Record], list[_Told]]:
    """The end of the leg of one user, while another can still answer."""
    return lambda call, record: [_end(status, _time(call, record, "call_end_time"), None, _result(call))]


def _ended(status: Status) -> Callable[[Mapping[str, Any], Record], list[_Told]]:
    """The end of a leg. It has this status if it has no answer time and no known result."""

    def end(call: Mapping[str, Any], record: Record) -> list[_Told]:
        result, answered_at = _result(call), _given(call, *ANSWERS)
        at_ = _time(call, record, "call_end_time")
        return [_end(_status(result, answered_at, status), at_, answered_at, result)]

    return end


EVENTS: Final[Mapping[str, Callable[[Mapping[str, Any], Record], list[_Told]]]] = {
    "phone.caller_ringing": _caller_ringing,
    "phone.callee_ringing": _callee_ringing,
    "phone.caller_connected": _answered,
    "phone.callee_answered": _answered,
    "phone.callee_missed": _missed("no_answer"),
    "phone.callee_rejected": _missed("failed"),
    "phone.caller_ended": _ended("canceled"),
    "phone.callee_ended": _ended("no_answer"),
}


def _result(call: Mapping[str, Any]) -> str | None:
    # Zoom documents the first spelling.
    return text(call.get("handup_result")) or text(call.get("hangup_result"))


def _status(result: str | None, answered_at: datetime | None, otherwise: Status) -> Status:
    if answered_at is not None:
        return "completed"
    return RESULTS.get((result or "").lower().translate(_SPACES), otherwise)


def _end(status: Status, at_: datetime, answered_at: datetime | None, result: str | None) -> _Told:
    if status == "completed":
        return "call.completed", at_, {"status": status, "answered_at": answered_at, "result": result}
    return "call.failed", at_, {"status": status, "hangup_cause": shortened(result)}


def _of_recordings(record: Record) -> list[Fact]:
    id_ = record.derived_id()
    return [
        Fact(
            f"{id_}:{n}:recording",
            "recording.ready",
            needed(at(recording, "call_id"), "recordings.call_id"),
            _time({}, record, "event_ts"),
            {"recording_url": needed(at(recording, "download_url"), "recordings.download_url")},
        )
        for n, recording in enumerate(_array(record, "recordings"))
    ]


def _of_records(record: Record) -> list[Fact]:
    id_ = record.derived_id()
    facts = []
    for n, call in enumerate(_array(record, *ARRAYS)):
        call_id = _id_of_record(call, record)
        facts += [
            Fact(f"{id_}:{n}:{word}", type_, call_id, at_, data)
            for word, (type_, at_, data) in _record_events(call).items()
        ]
    return facts


def _id_of_record(call: Any, record: Record) -> str:
    """The call_id. Older logs have only an id of their own, which no event of the running call has."""
    if (call_id := text(at(call, "call_id"))) is not None:
        return call_id
    if record.source.settings.get("live_events") is False:
        return needed(at(call, "id"), "call_logs.id")
    raise Ignored("the log has no call_id that the events of the running call have")


def _record_events(call: Mapping[str, Any]) -> Mapping[str, _Told]:
    began_at = needed_instant(_given(call, "start_time", "date_time"), "start_time")
    answered_at = _given(call, "answer_time", "answer_start_time")
    ended_at = _given(call, "end_time", "call_end_time")
    if ended_at is None and (seconds := whole(call.get("duration"))) is not None:
        ended_at = earlier(answered_at or began_at, -seconds)
    result = text(call.get("result"))
    told: dict[str, _Told] = {"initiated": ("call.initiated", began_at, _numbers(call))}
    if answered_at is not None:
        told["answered"] = ("call.answered", answered_at, {})
    status = _status(result, answered_at, "failed")
    told["end"] = _end(status, needed_instant(ended_at, "end_time"), answered_at, result)
    return told


def _numbers(call: Mapping[str, Any]) -> Mapping[str, Any]:
    direction = (text(call.get("direction")) or "").lower()
    return {
        "from_number": sip_user(_first(call, CALLER_NUMBERS)),
        "to_number": sip_user(_first(call, CALLEE_NUMBERS)),
        "direction": direction if direction in ("inbound", "outbound") else None,
    }


def _parties(call: Mapping[str, Any], direction: str) -> Mapping[str, Any]:
    """The numbers and the direction: by the parties that are own users, else by the event's side."""
    own = [text(at(call, f"{party}.user_id")) is not None for party in ("caller", "callee")]
    if own[0] != own[1]:
        direction = "outbound" if own[0] else "inbound"
    numbers = ("phone_number", "did_number", "extension_number")
    return {
        "from_number": sip_user(_first(call.get("caller"), numbers)),
        "to_number": sip_user(_first(call.get("callee"), numbers)),
        "direction": None if all(own) else direction,
    }


def _first(fields: Any, names: Sequence[str]) -> str | None:
    if not isinstance(fields, dict):
        return None
    return next((given for name in names if (given := text(fields.get(name))) is not None), None)


def _given(fields: Mapping[str, Any], *names: str) -> datetime | None:
    return next((time for name in names if (time := iso(fields.get(name), name)) is not None), None)


def _time(fields: Mapping[str, Any], record: Record, *names: str) -> datetime:
    """The first of these times, else the time of the event."""
    time = _given(fields, *names) or epoch_milliseconds(at(record.value, "event_ts"), "event_ts")
    return needed_instant(time or record.offered_at, names[0])


def _array(record: Record, *names: str) -> list[Any]:
    for name in names:
        if isinstance(array := at(record.value, f"payload.object.{name}"), list):
            return array
    raise Quarantined(f"payload.object: has no array {names[0]}.")


def _named(record: Record, by: str) -> str | None:
    return named_at(record, "payload.account_id" if by == "account_id" else by)


def verify(delivery: Delivery, source: Source) -> Response | None:
    """Checks `x-zm-signature` over the time and the body. Answers Zoom's check of the address."""
    key, body = secret(source, "secret"), delivery.body or b""
    stamp = header(delivery, "x-zm-request-timestamp")
    signed = f"v0:{stamp}:".encode("utf-8", "surrogatepass") + body
    check_equal(f"v0={hmac_sha256(key, signed).hex()}", header(delivery, "x-zm-signature"))
    check_age(_signed_at(stamp), delivery.received_at, TOLERANCE_SECONDS)
    token = _token_of_handshake(body)
    if token is None:
        return None
    answer = {"plainToken": token, "encryptedToken": hmac_sha256(key, token).hex()}
    return Response(200, msgspec.json.encode(answer).decode(), {"Content-Type": "application/json"})


def _signed_at(stamp: str) -> datetime | None:
    try:
        return epoch_seconds(stamp, "x-zm-request-timestamp")
    except Quarantined:
        raise Refused("the header x-zm-request-timestamp is not a time") from None


def _token_of_handshake(body: bytes) -> str | None:
    if HANDSHAKE not in body:
        return None
    try:
        value = json_value(body, "The body")
    except Quarantined:
        return None
    return text(at(value, "payload.plainToken")) if at(value, "event") == HANDSHAKE.decode() else None


ZOOM_PHONE: Final = Dialect(
    name="zoom_phone",
    title="Zoom Phone",
    ways=("http", "kafka"),
    read=read,
    verify=verify,
    named=_named,
    organizations_by="account_id",
    secrets=(Secret("secret", "The secret token of the app, on its page *Access*."),),
    settings=(
        Setting(
            "live_events",
            "`false` if the app does not send the events of running calls. Then a log without a call_id is a "
            "call by its own id. The default, `true`, ignores such logs.",
        ),
    ),
    setup="""\
1. In the Zoom App Marketplace, build an app with an event subscription. Its endpoint is the source's address.
   callfold answers the button *Validate*.
2. Add the events *Caller's / Callee's phone call is ringing*, *connected* or *answered*, *missed*,
   *rejected* and *ended*: `phone.caller_ringing`, `phone.callee_ringing`, `phone.caller_connected`,
   `phone.callee_answered`, `phone.callee_missed`, `phone.callee_rejected`, `phone.caller_ended` and
   `phone.callee_ended`.
3. For recordings, add `phone.recording_completed`.
4. Optionally add the records after a call: `phone.caller_call_history_completed` and
   `phone.callee_call_history_completed`.
5. Map the account's id, which each event has, to an organization.""",
    gives="""\
Status, direction, both numbers, the begin, ringing, the answer and the end in whole seconds, and the result
as `hangup_cause` of an unanswered call. `recording_url` needs a Zoom token. The duration is derived from the
answer and the end.""",
    lacks="""\
There is no price. A member of a queue can miss a call that another one answers: the answer counts. Holds and
voicemails are ignored.""",
    from_memory="""\
The words of results, that an internal call can have two ids, and that a repeated request has a new time in
its header.""",
)
