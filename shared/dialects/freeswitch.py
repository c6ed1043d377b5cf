"""FreeSWITCH: events as JSON, and the CDRs of mod_json_cdr in its three encodings.

A call is known by the Channel-Call-UUID of its legs. Leg A is the leg whose own UUID it is: the caller's.
"""

from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, unquote

from shared.calls.event import Direction, EventType
from shared.sources.causes import Unanswered
from shared.sources.delivery import Delivery
from shared.sources.dialect import Dialect, Secret, Setting
from shared.sources.directions import CONTEXTS, OWN_NUMBERS, by_context, by_own_numbers
from shared.sources.envelopes import FORM, json_value, usual_values
from shared.sources.instants import epoch_microseconds, needed_instant
from shared.sources.outcome import Fact, Ignored, Quarantined
from shared.sources.parties import bare_number
from shared.sources.record import Record, at, needed, shortened, text, whole
from shared.sources.source import Source

Variable = Callable[[str], Any]
"""The value of a channel variable by its name; None if it is not set."""

STEPS: Final[Mapping[str, EventType]] = {
    "CHANNEL_CREATE": "call.initiated",
    "CHANNEL_PROGRESS": "call.ringing",
    "CHANNEL_PROGRESS_MEDIA": "call.ringing",
    "CHANNEL_ANSWER": "call.answered",
    "CHANNEL_HANGUP_COMPLETE": "call.completed",
    "CHANNEL_DESTROY": "call.completed",
    "RECORD_STOP": "recording.ready",
}
"""Event-Name: the event's type. That of an end depends on the answer and on the cause."""
OF_ANY_LEG: Final = frozenset({"CHANNEL_PROGRESS", "CHANNEL_PROGRESS_MEDIA", "RECORD_STOP"})
ENDS: Final = frozenset({"CHANNEL_HANGUP_COMPLETE", "CHANNEL_DESTROY"})
CAUSES: Final[Mapping[Unanswered, tuple[str, ...]]] = {
    "busy": ("USER_BUSY BUSY_EVERYWHERE",),
    "no_answer": (
        "NO_ANSWER NO_USER_RESPONSE SUBSCRIBER_ABSENT USER_NOT_REGISTERED ALLOTTED_TIMEOUT",
        "PROGRESS_TIMEOUT NO_PICKUP RECOVERY_ON_TIMER_EXPIRE MEDIA_TIMEOUT",
    ),
    "canceled": (
        "ORIGINATOR_CANCEL NORMAL_CLEARING MANAGER_REQUEST LOSE_RACE PICKED_OFF BLIND_TRANSFER",
        "ATTENDED_TRANSFER NON_SELECTED_USER_CLEARING SUCCESS BOWOUT",
    ),
    "failed": (
        "CALL_REJECTED DECLINE REJECT_ALL UNWANTED UNALLOCATED_NUMBER NO_ROUTE_TRANSIT_NET",
        "NO_ROUTE_DESTINATION DOES_NOT_EXIST_ANYWHERE NUMBER_CHANGED REDIRECTION_TO_NEW_DESTINATION",
        "EXCHANGE_ROUTING_ERROR DESTINATION_OUT_OF_ORDER INVALID_NUMBER_FORMAT FACILITY_REJECTED",
        "RESPONSE_TO_STATUS_ENQUIRY NORMAL_UNSPECIFIED NORMAL_CIRCUIT_CONGESTION NETWORK_OUT_OF_ORDER",
        "NORMAL_TEMPORARY_FAILURE SWITCH_CONGESTION ACCESS_INFO_DISCARDED REQUESTED_CHAN_UNAVAIL",
        "PRE_EMPTED FACILITY_NOT_SUBSCRIBED OUTGOING_CALL_BARRED INCOMING_CALL_BARRED",
        "BEARERCAPABILITY_NOTAUTH BEARERCAPABILITY_NOTAVAIL SERVICE_UNAVAILABLE",
        "BEARERCAPABILITY_NOTIMPL CHAN_NOT_IMPLEMENTED FACILITY_NOT_IMPLEMENTED SERVICE_NOT_IMPLEMENTED",
        "INVALID_CALL_REFERENCE INCOMPATIBLE_DESTINATION INVALID_MSG_UNSPECIFIED MANDATORY_IE_MISSING",
        "MESSAGE_TYPE_NONEXIST WRONG_MESSAGE IE_NONEXIST INVALID_IE_CONTENTS WRONG_CALL_STATE",
        "MANDATORY_IE_LENGTH_ERROR PROTOCOL_ERROR INTERWORKING CHANNEL_UNACCEPTABLE",
        "CALL_AWARDED_DELIVERED CRASH SYSTEM_SHUTDOWN USER_CHALLENGE INVALID_GATEWAY GATEWAY_DOWN",
        "INVALID_URL INVALID_PROFILE SRTP_READ_ERROR NOT_ACCEPTABLE NO_IDENTITY BAD_IDENTITY_INFO",
        "UNSUPPORTED_CERTIFICATE INVALID_IDENTITY STALE_DATE",
    ),
}
"""The names of `switch_call_cause_t`, by the status of an unanswered call. Any other name is `failed`."""
_STATUSES: Final = {
    cause: status for status, lines in CAUSES.items() for line in lines for cause in line.split()
}
_SAYS_NOTHING: Final = frozenset({"NORMAL_CLEARING", "NONE", "SUCCESS"})
"""Causes of an unanswered leg A whose dialplan ended by itself: after a failed bridge, or without one."""
_TRANSFERS: Final = frozenset({"BLIND_TRANSFER", "ATTENDED_TRANSFER"})
CONTEXT_DIRECTIONS: Final[Mapping[str, Direction]] = {"public": "inbound", "default": "outbound"}
_CALL_DIRECTIONS: Final[Mapping[str, Direction | None]] = {
    "inbound": "inbound",
    "outbound": "outbound",
    "local": None,
}
FORM_BASE64: Final = "application/x-www-form-base64-encoded"


def read(record: Record) -> Sequence[Fact]:
    """The facts of an event, or of a CDR."""
    fields = record.fields()
    if "Event-Name" in fields:
        return [_event(fields, record)]
    if isinstance(fields.get("variables"), dict):
        return _cdr(fields, record.source)
    raise Quarantined("The record has neither Event-Name nor variables.")


def _event(fields: Mapping[str, Any], record: Record) -> Fact:
    name = needed(fields["Event-Name"], "Event-Name")
    if name not in STEPS:
        raise Ignored(f"{name[:60]} is not a step of a call")
    leg = needed(fields.get("Unique-ID"), "Unique-ID")
    call_id = text(fields.get("Channel-Call-UUID")) or leg
    type_ = STEPS[name]
    data: dict[str, Any] = {}
    if name not in OF_ANY_LEG and leg != call_id and not (name in ENDS and _event_is_transferred(fields)):
        raise Ignored("the leg is not leg A")
    if name in ENDS:
        type_, data = _end(
            lambda variable: fields.get(f"variable_{variable}"),
            text(fields.get("Hangup-Cause")),
            answered=_event_is_answered(fields),
            leg_a=leg == call_id,
        )
    elif name == "RECORD_STOP":
        path = needed(fields.get("Record-File-Path"), "Record-File-Path")
        data = {"recording_url": recording_url(path, record.source)}
    elif name == "CHANNEL_CREATE":
        data = _begin(
            record.source,
            from_number=text(fields.get("Caller-Caller-ID-Number")) or text(fields.get("Caller-ANI")),
            to_number=fields.get("Caller-Destination-Number"),
            call_direction=fields.get("variable_call_direction"),
            leg_direction=fields.get("Call-Direction"),
            context=fields.get("Caller-Context"),
        )
    instant = epoch_microseconds(fields.get("Event-Date-Timestamp"), "Event-Date-Timestamp")
    return Fact(
        _event_id(fields) or record.derived_id(),
        type_,
        call_id,
        needed_instant(instant, "Event-Date-Timestamp"),
        data,
    )


def _event_id(fields: Mapping[str, Any]) -> str | None:
    """The process and the number of the event in it, which restarts at 1 with each process."""
    core, sequence = text(fields.get("Core-UUID")), text(fields.get("Event-Sequence"))
    return f"{core}:{sequence}" if core and sequence else None


def _event_is_transferred(fields: Mapping[str, Any]) -> bool:
    return bool(fields.get("Caller-Transfer-Source") or fields.get("variable_transfer_source"))


def _event_is_answered(fields: Mapping[str, Any]) -> bool:
    for name in ("Caller-Channel-Answered-Time", "variable_answer_uepoch"):
        if epoch_microseconds(fields.get(name), name) is not None:
            return True
    return False


def _cdr(fields: Mapping[str, Any], source: Source) -> list[Fact]:
    variable = _variables(fields)
    leg = needed(variable("uuid"), "variables.uuid")
    call_id = text(variable("call_uuid")) or leg
    leg_a = leg == call_id
    if not leg_a and not (variable("transfer_source") or variable("transfer_history")):
        raise Ignored("the leg is not leg A")
    answered_at = epoch_microseconds(variable("answer_uepoch"), "variables.answer_uepoch")
    ended_at = epoch_microseconds(variable("end_uepoch"), "variables.end_uepoch")
    facts = []
    if leg_a:
        started_at = epoch_microseconds(variable("start_uepoch"), "variables.start_uepoch")
        latest, first = _latest_and_first_profile(fields)
        begin = _begin(
            source,
            from_number=text(variable("caller_id_number")) or text(at(latest, "caller_id_number")),
            to_number=at(first, "destination_number"),
            call_direction=variable("call_direction"),
            leg_direction=variable("direction"),
            context=at(first, "context"),
        )
        begun = needed_instant(started_at, "variables.start_uepoch")
        facts.append(Fact(f"{leg}:initiated", "call.initiated", call_id, begun, begin))
        if answered_at is not None:
            facts.append(Fact(f"{leg}:answered", "call.answered", call_id, answered_at))
    type_, data = _end(
        variable, text(variable("hangup_cause")), answered=answered_at is not None, leg_a=leg_a
    )
    folder, file = text(variable("record_path")), text(variable("record_name"))
    if folder and file:
        data["recording_url"] = recording_url(f"{folder.rstrip('/')}/{file}", source)
    facts.append(Fact(f"{leg}:end", type_, call_id, needed_instant(ended_at, "variables.end_uepoch"), data))
    return facts


def _variables(fields: Mapping[str, Any]) -> Variable:
    """The variables of a CDR. By default mod_json_cdr encodes their values as in a URL, and gives no sign of
    it but the local times, whose plain form has no percent sign."""
    variables: Mapping[str, Any] = fields["variables"]
    if not any("%" in (text(variables.get(name)) or "") for name in ("start_stamp", "end_stamp")):
        return variables.get

    def decoded(name: str) -> Any:
        value = variables.get(name)
        return unquote(value) if isinstance(value, str) and "%" in value else value

    return decoded


def _latest_and_first_profile(fields: Mapping[str, Any]) -> tuple[Any, Any]:
    """The caller profiles of the latest and of the first pass through the dialplan."""
    flow = fields.get("callflow")
    flows = flow if isinstance(flow, list) and flow else [flow]
    return at(flows[0], "caller_profile"), at(flows[-1], "caller_profile")


def _begin(
    source: Source,
    *,
    from_number: str | None,
    to_number: Any,
    call_direction: Any,
    leg_direction: Any,
    context: Any,
) -> dict[str, Any]:
    """The parties and the direction. A leg A that the switch itself dialled leaves the organization."""
    caller, callee = bare_number(from_number), bare_number(to_number)
    word = text(call_direction) or ""
    direction: Direction | None
    if word in _CALL_DIRECTIONS:
        direction = _CALL_DIRECTIONS[word]
    elif leg_direction == "outbound":
        direction = "outbound"
    else:
        direction = by_context(source, text(context), CONTEXT_DIRECTIONS)
        direction = direction or by_own_numbers(source, caller, callee)
    return {"from_number": caller, "to_number": callee, "direction": direction}


def _end(
    variable: Variable, cause: str | None, *, answered: bool, leg_a: bool
) -> tuple[EventType, dict[str, Any]]:
    """The type and the data of a leg's end. After a transfer by leg A the call lasts on another leg."""
    cause = cause or text(variable("hangup_cause"))
    data: dict[str, Any] = {"sip_hangup_disposition": text(variable("sip_hangup_disposition"))}
    if leg_a and cause in _TRANSFERS:
        return "call.updated", data | {"hangup_cause": cause}
    if answered:
        # billsec counts from the answer of this leg, which is the call's on leg A alone.
        duration = whole(variable("billsec")) if leg_a else None
        return "call.completed", data | {"duration": duration, "hangup_cause": shortened(cause)}
    if leg_a and (cause is None or cause in _SAYS_NOTHING):
        dialled = (text(variable(name)) for name in ("originate_disposition", "last_bridge_hangup_cause"))
        cause = next((each for each in dialled if _STATUSES.get(each or "", "canceled") != "canceled"), cause)
    status = _STATUSES.get(cause or "", "failed")
    return "call.failed", data | {"status": status, "hangup_cause": shortened(cause)}


def recording_url(path: str, source: Source) -> str:
    """The address of a recording: the setting `recording_prefix` replaces the begin of its path."""
    prefixes = source.settings.get("recording_prefix")
    if isinstance(prefixes, dict):
        for prefix, address in prefixes.items():
            if path.startswith(prefix):
                return f"{address}{quote(path.removeprefix(prefix), errors='replace')}"
    return path


def decode(delivery: Delivery, source: Source) -> Iterable[Any]:
    """The values of a body. mod_json_cdr sends a document, a form, or base64 that looks like a form."""
    if delivery.content_type == FORM_BASE64:
        # This is not read as a form: the plus signs in it are not escaped.
        try:
            document = b64decode((delivery.body or b"").strip().removeprefix(b"cdr="), validate=True)
        except (NotBase64, ValueError):
            raise Quarantined("cdr: is not base64.") from None
        return [json_value(document, "cdr")]
    values = list(usual_values(delivery))
    if delivery.content_type == FORM and "cdr" in values[0]:
        return [json_value(values[0]["cdr"], "cdr")]
    return values


def _named(record: Record, by: str) -> str | None:
    fields = record.fields()
    variables = fields.get("variables")
    is_cdr = "Event-Name" not in fields and isinstance(variables, dict)
    for name in by.split(","):
        path = name.strip()
        given = _named_in_cdr(fields, path) if is_cdr else fields.get(path, fields.get(f"variable_{path}"))
        if (organization := text(given)) is not None:
            return organization
    return None


def _named_in_cdr(fields: Mapping[str, Any], name: str) -> Any:
    """The field of a CDR that has the value of an event's header."""
    if name == "Caller-Context":
        return at(_latest_and_first_profile(fields)[1], "context")
    if name == "FreeSWITCH-Switchname":
        return fields.get("switchname")
    return _variables(fields)(name.removeprefix("variable_"))


FREESWITCH: Final = Dialect(
    name="freeswitch",
    title="FreeSWITCH",
    ways=("http", "kafka"),
    read=read,
    named=_named,
    decode=decode,
    organizations_by="variable_domain_name",
    secrets=(
        Secret("username", "The first part of `cred` in json_cdr.conf.xml.", required=False),
        Secret("password", "The second part of `cred` in json_cdr.conf.xml.", required=False),
    ),
    settings=(
        Setting(
            CONTEXTS,
            "A JSON object: the direction, `inbound` or `outbound`, of calls that begin in a dialplan's "
            "context. By default `public` is inbound and `default` is outbound.",
        ),
        Setting(
            OWN_NUMBERS,
            "A JSON list of the organization's numbers, as the switch writes them. "
            "They give the direction where the context does not.",
        ),
        Setting(
            "recording_prefix",
            "A JSON object: the begin of a recording's path, and the address to put in its place. "
            "By default a recording's address is its path on the switch.",
        ),
    ),
    setup="""\
Choose one way, or both: the events and the CDRs of one switch meet in one call if both sources name the same
organization.

Events, through Kafka:

1. Load `mod_event_kafka`, or publish what the event socket sends after `event json ALL`.
2. With `mod_amqp`, add `SWITCH_EVENT_CHANNEL_ANSWER`, `SWITCH_EVENT_CHANNEL_PROGRESS`,
   `SWITCH_EVENT_CHANNEL_PROGRESS_MEDIA`, `SWITCH_EVENT_CHANNEL_HANGUP_COMPLETE` and
   `SWITCH_EVENT_RECORD_STOP` to `event_filter`. Its default lacks them.
3. Publish each event, as one JSON object, to the source's topic.

CDRs, through HTTP:

1. Load `mod_json_cdr`. In `json_cdr.conf.xml` set `url` to the source's address.
2. Set `cred` to `username:password`, and give the source the same two secrets.
3. Set `retries`, and `err-log-dir` for the CDRs that no retry delivers.
4. `encode` and `encode-values` may have any value.

Set the variable `domain_name` on each call, or choose another field with `--map-by`: for example
`variable_accountcode`, `Caller-Context` or `FreeSWITCH-Switchname`. These names hold for CDRs as well.""",
    gives="""\
Times in microseconds, status, direction, both numbers, the duration in seconds (`billsec`), causes, and
recordings. `sip_hangup_disposition` stays in the events' data: it names the side that hung up.

The answer of the caller's leg is the answer of the call. An IVR, a queue or voicemail answers it at once.""",
    lacks="""\
A price. The end of a call whose switch was killed: no record reports it. Each member of a conference is a
call of its own. Rows of a table of CDRs are not read: FusionPBX and mod_cdr_pg_csv choose their own
columns.""",
    from_memory="""\
The course of a transfer: the call lasts until the transferred leg ends. The Channel-Call-UUID after an
attended transfer or an intercept. The variables `record_path` and `record_name`, which FusionPBX sets.""",
)
