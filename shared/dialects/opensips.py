"""OpenSIPS: events of accounting and of dialogs, as JSON-RPC notifications.

A call is known by its Call-ID. E_ACC_CDR tells a whole answered call, E_ACC_MISSED_EVENT an unanswered one.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from shared.calls.event import EventType
from shared.dialects.sip import (
    OWN_DOMAINS_SETTING,
    OWN_NUMBERS_SETTING,
    Ends,
    Party,
    named,
    of_reply,
    own_domain_of,
    parties,
    party,
)
from shared.sources.causes import sip_code
from shared.sources.dialect import Dialect, Secret
from shared.sources.instants import epoch_seconds, needed_instant
from shared.sources.outcome import Fact, Ignored, Quarantined
from shared.sources.record import Record, needed, text, whole
from shared.sources.source import Source

Fields = Mapping[str, Any]

CALLER: Final = ("caller", "from", "from_uri")
CALLEE: Final = ("callee", "to", "to_uri")
STATES: Final[Mapping[int, EventType | None]] = {
    1: None,
    2: "call.ringing",
    3: "call.answered",
    4: None,
    5: "call.completed",
}
"""The states of a dialog: unconfirmed, early, confirmed without and with ACK, deleted."""
CONFIRMED: Final = frozenset({3, 4})


def read(record: Record) -> Sequence[Fact]:
    """The facts of an event of the modules acc and dialog."""
    event = needed(record.fields().get("method"), "method")
    if event not in _EVENTS:
        raise Ignored(f"{event[:60]} is not a step of a call")
    fields = _parameters(record)
    return _EVENTS[event](fields, needed(fields.get("callid"), "callid"), record)


def _parameters(record: Record) -> Fields:
    parameters = record.fields().get("params")
    if not isinstance(parameters, dict):
        raise Quarantined("params: is not an object with the parameters' names.")
    return parameters


def _cdr(fields: Fields, call_id: str, record: Record) -> list[Fact]:
    """A whole answered call. `time` is the answer, and `duration` is rounded up."""
    answered_at = _seconds(fields, "time")
    milliseconds = whole(fields.get("ms_duration"))
    if milliseconds is None:
        raise Quarantined("ms_duration: is missing.")
    id_ = record.derived_id()
    data: dict[str, Any] = {"duration": milliseconds // 1000}
    return [
        *_begin(fields, call_id, record, id_),
        Fact(f"{id_}:answered", "call.answered", call_id, answered_at),
        Fact(f"{id_}:end", "call.completed", call_id, _later(answered_at, milliseconds), data),
    ]


def _transaction(fields: Fields, call_id: str, record: Record) -> list[Fact]:
    method, code = needed(fields.get("method"), "params.method"), _code(fields)
    if method not in ("INVITE", "BYE"):
        raise Ignored(f"a {method[:40]} neither begins nor ends a call")
    instant = _seconds(fields, "time")
    if method == "BYE":
        return [Fact(record.derived_id(), "call.completed", call_id, instant)]
    type_, data = of_reply(code)
    return [Fact(record.derived_id(), type_, call_id, instant, data | parties(_ends(fields), record.source))]


def _missed(fields: Fields, call_id: str, record: Record) -> list[Fact]:
    """An unanswered call. `time` may be that of an earlier failure, so `created` and `setuptime` count."""
    if needed(fields.get("method"), "params.method") != "INVITE":
        raise Ignored("it is not the failure of an INVITE")
    type_, data = of_reply(_code(fields))
    created_at, setup = epoch_seconds(fields.get("created"), "created"), whole(fields.get("setuptime"))
    if created_at is None or setup is None:
        end = _seconds(fields, "time")
    else:
        end = _later(created_at, setup * 1000)
    id_ = record.derived_id()
    return [
        *_begin(fields, call_id, record, id_),
        Fact(f"{id_}:end", type_, call_id, end, data),
    ]


def _begin(fields: Fields, call_id: str, record: Record, id_: str) -> list[Fact]:
    created_at = epoch_seconds(fields.get("created"), "created")
    if created_at is None:
        return []
    data = parties(_ends(fields), record.source)
    return [Fact(f"{id_}:initiated", "call.initiated", call_id, created_at, data)]


def _state(fields: Fields, call_id: str, record: Record) -> list[Fact]:
    """A change of a dialog's state. It has no time, so that of the envelope or of the record counts."""
    state, before = whole(fields.get("new_state")), whole(fields.get("old_state"))
    if state is None or state not in STATES:
        raise Quarantined(f"new_state: {str(fields.get('new_state'))[:60]!r} is not a state of a dialog.")
    type_ = STATES[state]
    if type_ is None:
        raise Ignored(f"the state {state} changes nothing")
    if type_ == "call.completed" and before not in CONFIRMED:
        raise Ignored("the dialog ended unanswered; E_ACC_MISSED_EVENT has the code")
    return [Fact(record.derived_id(), type_, call_id, record.offered_at or record.received_at)]


_EVENTS: Final[Mapping[str, Callable[[Fields, str, Record], list[Fact]]]] = {
    "E_ACC_CDR": _cdr,
    "E_ACC_EVENT": _transaction,
    "E_ACC_MISSED_EVENT": _missed,
    "E_DLG_STATE_CHANGED": _state,
}


def _seconds(fields: Fields, name: str) -> datetime:
    return needed_instant(epoch_seconds(fields.get(name), name), name)


def _later(instant: datetime, milliseconds: int) -> datetime:
    try:
        return instant + timedelta(milliseconds=milliseconds)
    except OverflowError:
        raise Quarantined("time: the end is outside the calendar.") from None


def _code(fields: Fields) -> int:
    code = sip_code(needed(fields.get("sip_code"), "sip_code"))
    if code is None:
        raise Quarantined(f"sip_code: {str(fields['sip_code'])[:60]!r} is not a SIP response code.")
    return code


def _ends(fields: Fields) -> Ends:
    may_be_swapped = fields.get("method") == "BYE"
    return Ends(_party(fields, CALLER), _party(fields, CALLEE), may_be_swapped)


def _party(fields: Fields, names: Sequence[str]) -> Party:
    return next((party(fields[name]) for name in names if text(fields.get(name)) is not None), Party())


def _named(record: Record, by: str) -> str | None:
    fields = _parameters(record)
    return named(fields, by, lambda: _domain(fields, record.source))


def _domain(fields: Fields, source: Source) -> str | None:
    ends = _ends(fields)
    has_both = ends.caller.domain is not None and ends.callee.domain is not None
    return own_domain_of(ends, source, begins=has_both and "created" in fields)


OPENSIPS: Final = Dialect(
    name="opensips",
    title="OpenSIPS",
    ways=("kafka", "http"),
    read=read,
    named=_named,
    organizations_by="org",
    secrets=(
        Secret("username", "The user of HTTP basic credentials, if events come by HTTP.", required=False),
        Secret("password", "The password of HTTP basic credentials.", required=False),
    ),
    settings=(OWN_DOMAINS_SETTING, OWN_NUMBERS_SETTING),
    setup="""\
1. Load the modules `acc`, `dialog` and `event_kafka`.
2. Add the call's ends and its customer to the events:

        modparam("acc", "evi_extra", "caller=$fu;callee=$tu;org=$avp(org)")

3. For each INVITE without To tag, set `org` and ask for both records:

        $avp(org) = "acme";
        create_dialog();
        do_accounting("evi", "cdr|missed");

4. Subscribe the source's topic:

        startup_route {
            $var(topic) = "kafka:kafka-1.example.net:9092/opensips-calls?key=callid";
            subscribe_event("E_ACC_CDR", $var(topic));
            subscribe_event("E_ACC_MISSED_EVENT", $var(topic));
            subscribe_event("E_DLG_STATE_CHANGED", $var(topic));
        }

5. Give the own domains in `own_domains` for the direction.

`event_rabbitmq`, `event_stream` and `event_http` carry the same events. `E_DLG_STATE_CHANGED` shows calls
while they ring and while they last. With `--map-by domain`, the own domain of
caller or callee names the organization.""",
    gives="""\
Status, direction, both numbers, the duration, and SIP codes. The begin, the answer and the end of an
unanswered call have whole seconds; the end of an answered call has milliseconds.""",
    lacks="""\
Prices, recordings, and causes of answered calls. `E_DLG_STATE_CHANGED` has neither a time nor an
organization: the time is that of the Kafka record, and the organization is that of its call. Parameters
without names are quarantined. Two nodes of a cluster may both raise `E_DLG_STATE_CHANGED`; the second
changes nothing but the latest end.""",
    from_memory="""\
No capture confirms these events: they follow the modules' source and documentation. The configuration
above was not run.""",
)
