"""Kamailio: reports from the hooks of its configuration, records of acc_json and of acc's tables, and CDRs.

A call is a dialog, known by its Call-ID. Kamailio runs a hook on a made-up message where no SIP message
caused it: then only the fields of the dialog are right.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from shared.calls.event import EventType
from shared.dialects.sip import (
    DOMAIN,
    OWN_DOMAINS_SETTING,
    OWN_NUMBERS_SETTING,
    Ends,
    Party,
    cause_of_reason,
    named,
    of_reply,
    own_domain_of,
    parties,
    party,
)
from shared.sources.causes import sip_cause, sip_code, status_of_sip
from shared.sources.dialect import Dialect, Secret, Setting
from shared.sources.instants import (
    epoch_microseconds,
    epoch_milliseconds,
    epoch_seconds,
    local_iso,
    needed_instant,
    seconds_between,
    wall_clock,
)
from shared.sources.outcome import Fact, Ignored, Quarantined
from shared.sources.parties import sip_user
from shared.sources.record import Record, needed, text, whole
from shared.sources.source import TIME_ZONE, Source

Fields = Mapping[str, Any]

EVENT: Final = ("event", "ev", "type")
TIME: Final = ("time", "ts", "timestamp")
CALL_ID: Final = ("callid", "call_id", "ci")
CODE: Final = ("code", "status", "sip_code")
REASON: Final = ("hdr_reason", "reason_header")
DIALOG: Final = ("dlg_callid", "dlg_from", "dlg_to", "dlg_state", "dlg_start", "dlg_lifetime")
FROM: Final = ("dlg_from", "from", "from_uri")
TO: Final = ("dlg_to", "to", "to_uri")
FROM_PARTS: Final = (("fU", "fd"), ("src_user", "src_domain"))
"""The fields of From's user and domain where there is no URI."""
TO_PARTS: Final = (("tU", "td"), ("dst_ouser", ""))
"""The same of To. In acc's records, `dst_domain` is the next hop's."""
NOT_UTF_8: Final = "NON-UTF8"
"""acc_json writes this in place of a value that is not UTF-8."""
OF_NO_CALL: Final = frozenset({"123", "aaa-bbb-ccc-ddd", NOT_UTF_8})
"""The Call-IDs of Kamailio's own messages, in 5.x and in later versions, and of unreadable ones."""
CDR_START: Final = "cdr_start"
TIMER: Final = "RECOVERY_ON_TIMER_EXPIRE"


def read(record: Record) -> Sequence[Fact]:
    """The facts of a hook's report, a transaction's record, or a CDR."""
    fields = _fields(record)
    if _first(fields, EVENT) is not None:
        return [_report(fields, record)]
    call_id = _call_id(fields)
    if _is_transaction(fields):
        return [_transaction(fields, call_id, record)]
    if _is_cdr(fields):
        return _cdr(fields, call_id, record)
    raise Quarantined("The record has no event, no method and sip_code, and no start_time and end_time.")


def _fields(record: Record) -> Fields:
    """The record's fields. Some databases give a table's columns in upper case."""
    fields = record.fields()
    if "CALLID" in fields:
        return {name.lower(): value for name, value in fields.items()}
    return fields


def _first(fields: Fields, names: Sequence[str]) -> str | None:
    """The text of the first field that has one."""
    for name in names:
        if name in fields and (given := text(fields[name])) is not None:
            return given
    return None


def _is_transaction(fields: Fields) -> bool:
    return "method" in fields and "sip_code" in fields


def _is_cdr(fields: Fields) -> bool:
    return "start_time" in fields and "end_time" in fields and "duration" in fields


def _is_fake(fields: Fields) -> bool:
    """Whether the message of a report is Kamailio's own, so that its fields are not the call's."""
    dialog, message = text(fields.get("dlg_callid")), _first(fields, CALL_ID)
    return dialog is not None and message is not None and dialog != message


def _call_id(fields: Fields) -> str:
    """The dialog's Call-ID, else the message's. Raises Quarantined for one that many calls share."""
    call_id = text(fields.get("dlg_callid")) or needed(_first(fields, CALL_ID), "callid")
    if call_id in OF_NO_CALL:
        raise Quarantined(f"callid: {call_id!r} is not the Call-ID of a call.")
    return call_id


def _ends(fields: Fields, *, fake: bool = False, may_be_swapped: bool = False) -> Ends:
    caller, callee = text(fields.get("dlg_from")), text(fields.get("dlg_to"))
    if fake or (caller is not None and callee is not None):
        return Ends(party(caller), party(callee))
    return Ends(_party(fields, FROM, FROM_PARTS), _party(fields, TO, TO_PARTS), may_be_swapped)


def _party(fields: Fields, uris: Sequence[str], parts: Sequence[tuple[str, str]]) -> Party:
    for name in uris:
        if (uri := text(fields.get(name))) is not None and uri != NOT_UTF_8:
            return party(uri)
    for user, domain in parts:
        if user in fields or domain in fields:
            number, host = sip_user(fields.get(user)), text(fields.get(domain))
            return Party(number if number != NOT_UTF_8 else None, host and host.lower())
    return Party()


def _report(fields: Fields, record: Record) -> Fact:
    event = needed(_first(fields, EVENT), "event")
    if event not in _REPORTS:
        raise Ignored(f"{event[:60]} is not a step of a call")
    call_id, fake = _call_id(fields), _is_fake(fields)
    type_, data = _REPORTS[event](fields, record, fake)
    if type_ == "call.initiated" or text(fields.get("dlg_from")) is not None:
        data |= parties(_ends(fields, fake=fake), record.source)
    return Fact(text(fields.get("id")) or record.derived_id(), type_, call_id, _time(fields, record), data)


Told = tuple[EventType, dict[str, Any]]


def _request(fields: Fields, record: Record, fake: bool) -> Told:
    method = needed(fields.get("method"), "method")
    if fake:
        raise Ignored("its message is not the call's")
    if method == "BYE":
        if text(fields.get("dlg_callid")) is not None:
            raise Ignored("dialog:end reports it")
        return "call.completed", {"hangup_cause": _reason(fields)}
    if method != "INVITE":
        raise Ignored(f"a {method[:40]} neither begins nor ends a call")
    if text(fields.get("to_tag")) is not None:
        raise Ignored("it is an INVITE within a dialog")
    return "call.initiated", {}


def _reply(fields: Fields, record: Record, fake: bool) -> Told:
    if needed(fields.get("method"), "method") != "INVITE" or fake:
        raise Ignored("it is not a reply to a call's INVITE")
    type_, data = of_reply(_code(fields))
    if type_ == "call.failed":
        raise Ignored("it is the result of a branch")
    if type_ == "call.answered" and _first(fields, DIALOG) is not None:
        raise Ignored("dialog:start reports the answer")
    return type_, data


def _failure(fields: Fields, record: Record, fake: bool) -> Told:
    method = text(fields.get("method"))
    if fake or method not in (None, "INVITE") or text(fields.get("to_tag")) is not None:
        raise Ignored("it is not the failure of a call's first INVITE")
    return of_reply(_code(fields))


def _dialog_failed(fields: Fields, record: Record, fake: bool) -> Told:
    code = None if fake else _first(fields, CODE)
    code = code if code is not None else text(fields.get("dlg_code"))
    if code is None:
        raise Ignored("it has no code; the failure route or acc reports it")
    return of_reply(_sip_code(code))


def _dialog_start(fields: Fields, record: Record, fake: bool) -> Told:
    return "call.answered", {}


def _dialog_end(fields: Fields, record: Record, fake: bool) -> Told:
    answered_at = epoch_seconds(fields.get("answered"), "answered")
    if answered_at is not None:
        duration = whole(seconds_between(answered_at, _time(fields, record)))
    else:
        duration = whole(fields.get("dlg_lifetime"))
        if duration is None and fake:
            start = epoch_seconds(fields.get("dlg_start"), "dlg_start")
            duration = whole(seconds_between(start, _time(fields, record)))
    return "call.completed", {"duration": duration, "hangup_cause": TIMER if fake else _reason(fields)}


_REPORTS: Final[Mapping[str, Callable[[Fields, Record, bool], Told]]] = {
    "request": _request,
    "reply": _reply,
    "failure": _failure,
    "dialog:start": _dialog_start,
    "dialog:end": _dialog_end,
    "dialog:failed": _dialog_failed,
}
"""What each hook reports."""


def _transaction(fields: Fields, call_id: str, record: Record) -> Fact:
    """The fact of one finished transaction. The record's `id`, if it has one, is that of a row."""
    method = needed(fields["method"], "method")
    if method not in ("INVITE", "BYE"):
        raise Ignored(f"a {method[:40]} neither begins nor ends a call")
    code = _sip_code(fields["sip_code"])
    instant = _time(fields, record)
    if method == "BYE":
        if code < 200:
            raise Ignored("the BYE is not finished")
        return Fact(record.derived_id(), "call.completed", call_id, instant)
    type_, data = of_reply(code)
    ends = _ends(fields)
    data |= {"from_number": ends.caller.number, "to_number": ends.callee.number}
    return Fact(record.derived_id(), type_, call_id, instant, data)


def _cdr(fields: Fields, call_id: str, record: Record) -> list[Fact]:
    start = needed_instant(_column(fields["start_time"], "start_time", record.source), "start_time")
    end = needed_instant(_column(fields["end_time"], "end_time", record.source), "end_time")
    id_ = record.derived_id()
    begin: dict[str, Any] = parties(_ends(fields), record.source)
    if _is_unanswered(fields["duration"]):
        code = sip_code(_first(fields, CODE))
        failed = {
            "status": (status_of_sip(code) if code is not None else None) or "failed",
            "hangup_cause": sip_cause(code),
        }
        return [
            Fact(f"{id_}:initiated", "call.initiated", call_id, start, begin),
            Fact(f"{id_}:end", "call.failed", call_id, end, failed),
        ]
    if record.source.settings.get(CDR_START) == "answer":
        duration = whole(fields["duration"])
        return [
            Fact(f"{id_}:answered", "call.answered", call_id, start, begin),
            Fact(f"{id_}:end", "call.completed", call_id, end, {"duration": duration}),
        ]
    answered_at = _column(fields.get("answered"), "answered", record.source)
    duration = whole(seconds_between(answered_at, end))
    facts = [
        Fact(f"{id_}:initiated", "call.initiated", call_id, start, begin),
        Fact(f"{id_}:end", "call.completed", call_id, end, {"duration": duration}),
    ]
    if answered_at is not None:
        facts.insert(1, Fact(f"{id_}:answered", "call.answered", call_id, answered_at))
    return facts


def _is_unanswered(duration: Any) -> bool:
    """Whether a CDR's duration is 0 without a point, as a dialog has that was never confirmed. A table's
    number has no such mark, but no answered call has exactly 0 there."""
    given = needed(duration, "duration")
    return given == "0" or (not isinstance(duration, str) and duration == 0)


def _code(fields: Fields) -> int:
    return _sip_code(_first(fields, CODE))


def _sip_code(value: Any) -> int:
    code = sip_code(needed(value, "code"))
    if code is None:
        raise Quarantined(f"code: {str(value)[:60]!r} is not a SIP response code.")
    return code


def _reason(fields: Fields) -> str | None:
    return cause_of_reason(_first(fields, REASON))


def _time(fields: Fields, record: Record) -> datetime:
    """The time of a report or a transaction, else that of the envelope. Raises Quarantined for none."""
    for name in TIME:
        if (instant := _column(fields.get(name), name, record.source)) is not None:
            return instant
    return needed_instant(record.offered_at, TIME[0])


def _column(value: Any, name: str, source: Source) -> datetime | None:
    """A number of seconds, a text, or a column without a zone as a connector sends it: milliseconds or
    smaller units of local time."""
    given = text(value)
    if given is None:
        return None
    digits = given.partition(".")[0]
    if not digits.isdecimal():
        return local_iso(given, name, source.time_zone())
    size = len(digits)
    if size <= 11:
        return epoch_seconds(given, name)
    if size <= 14:
        return wall_clock(epoch_milliseconds(given, name), name, source.time_zone())
    if size > 17:
        given = digits[:-3]
    return wall_clock(epoch_microseconds(given, name), name, source.time_zone())


def _named(record: Record, by: str) -> str | None:
    fields = _fields(record)
    return named(fields, by, lambda: _domain(fields, record.source))


def _domain(fields: Fields, source: Source) -> str | None:
    fake = _is_fake(fields)
    event, method = _first(fields, EVENT), text(fields.get("method"))
    if event is not None:
        ends = _ends(fields, fake=fake, may_be_swapped=event == "dialog:end" or method == "BYE")
        return own_domain_of(ends, source, begins=event == "request" and method == "INVITE")
    ends = _ends(fields, may_be_swapped=method == "BYE")
    has_both = ends.caller.domain is not None and ends.callee.domain is not None
    return own_domain_of(ends, source, begins=has_both and not _is_transaction(fields))


KAMAILIO: Final = Dialect(
    name="kamailio",
    title="Kamailio",
    ways=("kafka", "http"),
    read=read,
    named=_named,
    organizations_by=DOMAIN,
    secrets=(
        Secret("username", "The user of HTTP basic credentials, if reports come by HTTP.", required=False),
        Secret("password", "The password of HTTP basic credentials.", required=False),
    ),
    settings=(
        OWN_DOMAINS_SETTING,
        OWN_NUMBERS_SETTING,
        Setting(
            TIME_ZONE,
            "The IANA name of the zone of times without an offset, such as `Europe/Berlin`. Rows of acc's "
            "tables need it, and acc_json with `acc_time_mode` 3 or 4 (for 4: `UTC`).",
        ),
        Setting(
            CDR_START,
            "`answer` if acc's `cdr_start_on_confirmed` is 1. By default, `invite`, a CDR starts at the "
            "INVITE.",
        ),
    ),
    setup="""\
Kamailio publishes nothing by itself: its configuration does. `deploy/kamailio/kamailio.cfg` is a whole
configuration that reports each call, by HTTP or to a Kafka topic. [Connect
Kamailio](../../how-to/connect-kamailio.md) says which parts to copy, and why.

Reports need the modules `tm`, `tmx`, `rr`, `pv`, `siputils`, `dialog`, `jansson`, `uuid`, and a transport:
`http_client` with `mqueue` and `rtimer`, or `kafka`.

The own domain in From or To names the organization and the direction. If domains do not tell the customers
apart, set `$dlg_var(org)` and create the source with `--map-by org`. The own domains in the setting
`own_domains` then give the direction. `--map-by org,domain` takes the first of both.

Records of `acc_json`, rows of the tables `acc`, `missed_calls` and `acc_cdrs`, and reports with other
fields are read as well. Add `org=$dlg_var(org)` to `acc_extra`, and
`callid=$dlg(callid);from_uri=$dlg(from_uri);to_uri=$dlg(to_uri);org=$dlg_var(org);answered=$dlg(start_ts)`
to `cdr_extra`.""",
    gives="""\
With that configuration: status, direction, both numbers, the duration, SIP codes, and the Q.850 cause
in a Reason header. The begin, the ringing, the answer and the end have times in microseconds. A call that
Kamailio itself ends has the cause `RECOVERY_ON_TIMER_EXPIRE`: its dialog's time ran out, or its ends are
gone.""",
    lacks="""\
Prices and recordings. A CDR counts its duration from the INVITE by default, so callfold does not take it
for the talk time. A CDR without `callid` is quarantined. Transaction records of inbound calls name no own
domain: their organization is that of their call. A failed transaction may be followed by a forward: then
its end is void. A restart of Kamailio without `db_mode` forgets dialogs: the end of such a call is its BYE.
A refusal by `sl_send_reply` after the report runs no hook: such a call has no end.
Two legs of a B2BUA have two Call-IDs and are two calls. Flag only INVITEs without To tag for accounting:
the records of others would count as answers and failures of their calls.""",
    from_memory="""\
The form in which connectors send the columns of acc's tables.""",
)
