"""3CX: the lines of its CDR service, and the rows of its table cdroutput.

A line or a row is a segment: a call through a menu and a queue to an agent has several of one history.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from shared.calls.event import EventType
from shared.calls.zones import UTC
from shared.sources.delivery import Delivery
from shared.sources.dialect import Dialect, Secret, Setting
from shared.sources.envelopes import usual_values
from shared.sources.instants import iso, needed_instant
from shared.sources.money import cents, cents_of_units
from shared.sources.outcome import Fact, Ignored, Quarantined
from shared.sources.parties import sip_user
from shared.sources.record import Record, needed, shortened, text
from shared.sources.source import TIME_ZONE, Source

FIELDS: Final = (
    *("historyid", "callid", "duration", "time-start", "time-answered", "time-end", "reason-terminated"),
    *("from-no", "to-no", "from-dn", "to-dn", "dial-no", "reason-changed", "final-number", "final-dn"),
    *("bill-code", "bill-rate", "bill-cost", "bill-name", "chain", "from-type", "to-type", "final-type"),
    *("from-dispname", "to-dispname", "final-dispname", "missed-queue-calls"),
)
"""The usual fields of a line, in the order of 3CX's settings."""


class Names(NamedTuple):
    """The fields of a segment. Of several fields of a party, the first that has a value counts."""

    call: str
    segment: str
    began: str
    answered: str
    ended: str
    reason: str
    caller: tuple[str, ...]
    callee: tuple[str, ...]
    caller_type: tuple[str, ...]
    callee_type: tuple[str, ...]


LINE: Final = Names(
    call="historyid",
    segment="callid",
    began="time-start",
    answered="time-answered",
    ended="time-end",
    reason="reason-terminated",
    caller=("from-no",),
    callee=("dial-no", "to-no"),
    caller_type=("from-type",),
    callee_type=("to-type",),
)
ROW: Final = Names(
    call="call_history_id",
    segment="cdr_id",
    began="cdr_started_at",
    answered="cdr_answered_at",
    ended="cdr_ended_at",
    reason="termination_reason",
    caller=("source_participant_phone_number", "source_dn_number"),
    callee=("destination_participant_phone_number", "destination_dn_number"),
    caller_type=("source_entity_type", "source_dn_type"),
    callee_type=("destination_entity_type", "destination_dn_type"),
)


def _word(value: Any) -> str:
    """A word of 3CX in one spelling: its versions differ in case and in underscores."""
    return (text(value) or "").lower().replace("_", "")


CONTINUED: Final = frozenset(
    _word(each) for each in ("continued_in", "redirected", "ReplacedSrc", "ReplacedDst", "polling")
)
"""The reasons of a segment whose call goes to another segment."""
STATUSES: Final[Mapping[str, str]] = {
    _word(reason): status
    for status, reasons in {
        "canceled": ("TerminatedBySrc", "src_participant_terminated", "Failed_Cancelled", "cancelled"),
        "no_answer": (
            *("TerminatedByDst", "dst_participant_terminated", "NoAnswerTimeout", "NoAnswer", "no_answer"),
            *("timeout", "not_available"),
        ),
        "busy": ("TargetBusy", "RouteBusy", "busy", "line_busy"),
        "failed": (
            *("Failed", "NoRouteExists", "RouteNotFound", "TargetNotFound", "TerminatedByRule"),
            *("TerminatedBySync", "rejected", "declined", "no_route", "not_found", "license_limit_reached"),
            "server_error",
        ),
    }.items()
    for reason in reasons
}
"""The status of a segment that ended unanswered, by its reason. A reason that is not listed is a failure."""
FOREIGN: Final = frozenset(
    _word(each) for each in ("LineSet", "Line", "Provider", "External", "external_line", "outbound_rule")
)
"""The kinds of parties outside the PBX."""
OWN: Final = "extension"
BEGINS: Final = frozenset({"callinit", ""})
"""The values of creation_method with which a row begins a call. Others have a transfer's parties."""
DETAILS: Final = "termination_reason_details"
COSTS: Final = {"units": cents_of_units, "cents": cents}
COST_UNIT: Final = "bill_cost"


def read(record: Record) -> Sequence[Fact]:
    """The facts of a segment: its begin, its answer, and its end unless another segment follows."""
    fields = _fields(record)
    names = ROW if ROW.call in fields or ROW.segment in fields else LINE
    if _word(fields.get("creation_method")).startswith("bargein"):
        raise Ignored("it is a supervisor who listens")
    call_id = needed(fields.get(names.call), names.call)
    segment = text(fields.get(names.segment))
    id_ = f"{segment}:{call_id}" if segment is not None else record.derived_id()
    zone = record.source.time_zone() if names is LINE else UTC
    began_at = needed_instant(_time(fields, names.began, zone), names.began)
    answered, ended = _time(fields, names.answered, zone), _time(fields, names.ended, zone)
    facts = [Fact(f"{id_}:initiated", "call.initiated", call_id, began_at, _parties(fields, names))]
    if answered is not None:
        facts.append(Fact(f"{id_}:answered", "call.answered", call_id, answered))
    if ended is not None and _word(fields.get(names.reason)) not in CONTINUED:
        type_: EventType = "call.failed" if answered is None else "call.completed"
        facts.append(Fact(f"{id_}:end", type_, call_id, ended, _end(fields, names, answered, record.source)))
    return facts


def _end(
    fields: Mapping[str, Any], names: Names, answered: datetime | None, source: Source
) -> Mapping[str, Any]:
    unit, cost = COSTS.get(text(source.settings.get(COST_UNIT)) or ""), fields.get("bill-cost")
    return {
        "status": _status(fields, names) if answered is None else None,
        "hangup_cause": shortened(text(fields.get(names.reason))),
        "cost": (unit(cost) or None) if unit is not None else None,  # an internal segment costs nothing
        DETAILS: text(fields.get(DETAILS)),
    }


def _status(fields: Mapping[str, Any], names: Names) -> str:
    """The status of an unanswered segment. The details of a row explain its reason, unless the caller ended
    the call."""
    status = STATUSES.get(_word(fields.get(names.reason)), "failed")
    return status if status == "canceled" else STATUSES.get(_word(fields.get(DETAILS)), status)


def _parties(fields: Mapping[str, Any], names: Names) -> dict[str, Any]:
    if _word(fields.get("creation_method")) not in BEGINS:
        return {}
    caller, callee = _word(_first(fields, names.caller_type)), _word(_first(fields, names.callee_type))
    outward = caller == OWN and callee in FOREIGN
    return {
        "from_number": _number(_first(fields, names.caller)),
        "to_number": _number(_first(fields, names.callee)),
        "direction": "inbound" if caller in FOREIGN else "outbound" if outward else None,
    }


def _first(fields: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    for name in names:
        if (given := text(fields.get(name))) is not None:
            return given
    return None


def _number(given: str | None) -> str | None:
    if given is not None and given[:4].lower() == "ext.":
        given = given[4:]
    return sip_user(given or None)


def _time(fields: Mapping[str, Any], name: str, zone: ZoneInfo | None) -> datetime | None:
    """An instant from a line's `2026/11/24 11:00:00` in the zone, or from a row's text, which has a zone."""
    given = text(fields.get(name))
    if given is None:
        return None
    if zone is None:
        raise Quarantined(f"{name}: {given[:60]!r} has no zone; the source needs the setting {TIME_ZONE}.")
    return iso(given.replace("/", "-"), name, zone)


def _fields(record: Record) -> Mapping[str, Any]:
    """The fields of a row, or of a line by the names that the source's settings give."""
    if not isinstance(record.value, str):
        return record.fields()
    names = record.source.settings.get("fields") or FIELDS
    if isinstance(names, str):
        names = [name.strip() for name in names.split(",")]
    values = record.value.removeprefix("Call ").split(",")
    try:
        return dict(zip(names, values, strict=True))
    except (ValueError, TypeError):  # the setting may also be no list
        raise Quarantined(f"The line has {len(values)} values, not those of the setting fields.") from None


def _named(record: Record, by: str) -> str | None:
    return text(_fields(record).get(by))


def decode(delivery: Delivery, source: Source) -> Iterable[Any]:
    """The lines of a body, or its JSON."""
    body = delivery.body or b""
    if body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
        return usual_values(delivery)
    # Names may be in another encoding. They are not needed, and everything else is ASCII.
    lines = [line.strip() for line in body.decode(errors="replace").removeprefix("\ufeff").split("\n")]
    values = [line for line in lines if line]
    if not values:
        raise Quarantined("The body is empty.")
    return values


THREECX: Final = Dialect(
    name="3cx",
    title="3CX",
    ways=("kafka", "http"),
    read=read,
    named=_named,
    decode=decode,
    secrets=(
        Secret("username", "The user name of basic credentials, if a forwarder sends them.", required=False),
        Secret("password", "The password of basic credentials, if a forwarder sends them.", required=False),
    ),
    settings=(
        Setting(
            "fields",
            "The names of a line's fields in their order, as a list or with commas between them. By default "
            "it is 3CX's usual order.",
        ),
        Setting(
            TIME_ZONE,
            "The zone of a line's times, such as `Europe/Berlin`: `UTC` or the PBX's own, by its version. "
            "Lines need it; the rows of the table have a zone.",
        ),
        Setting(
            COST_UNIT,
            "The unit of `bill-cost`: `units` for euros, dollars and the like, or `cents`. By default "
            "callfold takes no cost, because 3CX does not state the currency.",
        ),
    ),
    setup="""\
From the CDR service:

1. In the management console, open *CDR* and choose an active socket, or a single file for all calls.
2. Select the fields. callfold needs `historyid`, `callid`, `time-start`, `time-answered`, `time-end` and
   `reason-terminated`, and takes `from-no`, `to-no`, `dial-no`, `from-type` and `to-type`. Leave out the
   names of people: values are not quoted, so callfold quarantines a line with a comma in a name.
3. Give the same order in the setting `fields`, and the zone of the times in the setting `time_zone`.
4. Run a forwarder, such as Vector or Logstash, that publishes each line to the source's topic. It may also
   send lines to the source's address. If it puts the line into a field of JSON, name that in the setting
   `field`.

From the database of version 20: capture the inserts of the table `cdroutput` with Debezium.""",
    gives="""\
Status, direction, both numbers, begin, answer and end of each segment, and the reason as the cause of the
end. Lines have whole seconds; rows have more. The call is the history, and its duration is the time from its
first answer to its last end. An extension such as `Ext.101` is `101`.""",
    lacks="""\
One PBX has one organization: no field names it. 3CX gives no recordings here, and neither SIP codes nor Q.850
causes. The answer of a menu or a queue is an answer. A consultation before a transfer can be a history of its
own, and is then a call of its own. In the hour that a clock change repeats, a line's time is the first of the
two.""",
    from_memory="""\
The columns `source_entity_type`, `destination_entity_type`, `source_dn_number` and `destination_dn_number`,
the zone of a line's times by version, and the words of `termination_reason_details`.""",
)
