"""Asterisk: AMI events, CEL, CDRs and ARI events; as JSON, as rows of tables, or as text.

A call is known by the LinkedID of its channels. It is the UniqueID of the first channel: the caller's.
"""

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from io import StringIO
from itertools import islice
from typing import Any, Final
from urllib.parse import quote
from zoneinfo import ZoneInfo

from shared.calls.event import Direction
from shared.sources.causes import Unanswered, status_of_q850
from shared.sources.delivery import Delivery
from shared.sources.dialect import Dialect, Setting, named_at
from shared.sources.directions import CONTEXTS, OWN_NUMBERS, by_context, by_own_numbers
from shared.sources.envelopes import RECORDS_MAX, json_value, usual_values
from shared.sources.instants import (
    epoch_microseconds,
    epoch_milliseconds,
    epoch_seconds,
    later,
    local_iso,
    needed_instant,
    wall_clock,
)
from shared.sources.outcome import Fact, Ignored, Quarantined
from shared.sources.parties import bare_number
from shared.sources.record import Record, at, needed, shortened, text, whole
from shared.sources.source import Source

Fields = Mapping[str, Any]
"""Fields by their names in lower case, without `_` and `-`. The ways spell one name in different forms."""
Facts = Sequence[Fact]

DISPOSITIONS: Final[Mapping[str, Unanswered | None]] = {
    "ANSWERED": None,
    "NOANSWER": "no_answer",
    "BUSY": "busy",
    "CANCEL": "canceled",
    "FAILED": "failed",
    "CONGESTION": "failed",
    "UNKNOWN": "failed",
}
"""A CDR's disposition, without spaces: the status of the call; None for a completed one."""
DIAL_STATUSES: Final[Mapping[str, Unanswered | None]] = {
    "ANSWER": None,
    "BUSY": "busy",
    "NOANSWER": "no_answer",
    "CANCEL": "canceled",
    "CHANUNAVAIL": "failed",
    "CONGESTION": "failed",
    "DONTCALL": "failed",
    "TORTURE": "failed",
    "INVALIDARGS": "failed",
}
"""The result of the application Dial: the status of the call; None for a completed one."""
CANCEL_CAUSES: Final = frozenset({0, 16, 127})
"""The causes of a caller who hangs up before the answer. PJSIP gives 127 for SIP 487."""
RINGING, UP = "Ringing", "Up"
STATES: Final = {"5": RINGING, "6": UP}
"""ChannelState: ChannelStateDesc."""
ARI_RINGING: Final = frozenset({"RINGING", "PROGRESS", "PROCEEDING"})
CONTEXT_DIRECTIONS: Final[Mapping[str, Direction]] = {
    "from-trunk": "inbound",
    "from-pstn": "inbound",
    "from-external": "inbound",
    "incoming": "inbound",
    "from-internal": "outbound",
    "internal": "outbound",
    "outgoing": "outbound",
}
EXTENSION_LENGTH_MAX: Final = 5
_NAME_LENGTH_MAX: Final = 40
CSV_COLUMNS: Final = (
    *("accountcode", "src", "dst", "dcontext", "clid", "channel", "dstchannel", "lastapp", "lastdata"),
    *("start", "answer", "end", "duration", "billsec", "disposition", "amaflags"),
)
CSV_FURTHER_COLUMNS: Final[Mapping[int, tuple[str, ...]]] = {
    17: ("uniqueid",),
    18: ("uniqueid", "userfield"),
    19: ("peeraccount", "linkedid", "sequence"),
    20: ("uniqueid", "peeraccount", "linkedid", "sequence"),
    21: ("uniqueid", "userfield", "peeraccount", "linkedid", "sequence"),
}
"""The columns after those, which cdr.conf switches on, by the number of all columns."""


def read(record: Record) -> Facts:
    """The facts of an event of AMI or ARI, of a CEL record, or of a CDR."""
    fields = spelled(record.fields())
    if "event" in fields:
        return ami_facts(fields, record)
    if "disposition" in fields:
        return _cdr(fields, record)
    if "eventname" in fields or "eventtype" in fields:
        return _cel(fields, record)
    if "type" in fields:
        return _ari(fields, record)
    if "response" in fields:
        raise Ignored("it answers an action of AMI")
    raise Quarantined("The record has neither Event, EventName, Disposition nor type.")


def spelled(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields by their names in lower case, without `_` and `-`. Names longer than any known one stay."""
    return {
        _spelled(name) if len(name) <= _NAME_LENGTH_MAX else name: value for name, value in fields.items()
    }


@lru_cache(maxsize=1_000)
def _spelled(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _first(fields: Fields, *names: str) -> Any:
    """The value of the first of these fields that has one."""
    return next((value for name in names if text(value := fields.get(name)) is not None), None)


def ami_facts(fields: Fields, record: Record) -> Facts:
    """The facts of an AMI event."""
    event = needed(fields.get("event"), "Event")
    if (facts := _AMI.get(event.lower())) is None:
        raise Ignored(f"{event[:60]} is not a step of a call")
    return facts(fields, record)


def _newchannel(fields: Fields, record: Record) -> Facts:
    call_id = _call(fields)
    begin = _begin(record.source, fields.get("calleridnum"), fields.get("exten"), fields.get("context"))
    return [Fact(record.derived_id(), "call.initiated", call_id, _ami_time(fields, record), begin)]


def _newstate(fields: Fields, record: Record) -> Facts:
    state = STATES.get(text(fields.get("channelstate")) or "", text(fields.get("channelstatedesc")))
    if state == RINGING:
        return _ami_ringing(needed(fields.get("linkedid"), "Linkedid"), fields, record)
    if state == UP:
        return [Fact(record.derived_id(), "call.answered", _call(fields), _ami_time(fields, record))]
    raise Ignored("the channel neither rings nor is up")


def _dial_state(fields: Fields, record: Record) -> Facts:
    if text(fields.get("dialstatus")) != "RINGING":
        raise Ignored("the dialled channel does not ring")
    call_id = needed(_first(fields, "linkedid", "destlinkedid"), "Linkedid")
    return _ami_ringing(call_id, fields, record)


def _ami_ringing(call_id: str, fields: Fields, record: Record) -> Facts:
    return [Fact(record.derived_id(), "call.ringing", call_id, _ami_time(fields, record))]


def _hangup(fields: Fields, record: Record) -> Facts:
    call_id = _call(fields)
    state = STATES.get(text(fields.get("channelstate")) or "", text(fields.get("channelstatedesc")))
    return [_end(record, call_id, _ami_time(fields, record), fields.get("cause"), answered=state == UP)]


def _ami_time(fields: Fields, record: Record) -> datetime:
    """The time of an AMI event. Without `timestampevents` only its arrival is known."""
    instant = epoch_seconds(fields.get("timestamp"), "Timestamp")
    return instant or record.offered_at or record.received_at


def _call(fields: Fields) -> str:
    """The call of a record of its first channel. Raises Ignored for another channel."""
    call_id = needed(fields.get("linkedid"), "LinkedID")
    if needed(fields.get("uniqueid"), "UniqueID") != call_id:
        raise Ignored("the channel is not the first of its call")
    return call_id


def _end(record: Record, call_id: str, instant: datetime, cause: Any, *, answered: bool) -> Fact:
    """The end of the first channel, by its state and its Q.850 cause."""
    data = {"hangup_cause": shortened(text(cause))}
    if answered:
        return Fact(record.derived_id(), "call.completed", call_id, instant, data)
    number = whole(cause)
    status: Unanswered = "canceled" if number in CANCEL_CAUSES else status_of_q850(number or 0)
    return Fact(record.derived_id(), "call.failed", call_id, instant, data | {"status": status})


def _cel(fields: Fields, record: Record) -> Facts:
    name = needed(_first(fields, "eventname", "eventtype"), "EventName")
    if (fact := _CEL.get(name.upper())) is None:
        raise Ignored(f"{name[:60]} is not a step of a call")
    return [fact(fields, record)]


def _chan_start(fields: Fields, record: Record) -> Fact:
    call_id = _call(fields)
    dialled = text(fields.get("exten"))
    if dialled is None or dialled == "s":
        dialled = _first(fields, "calleriddnid", "ciddnid")
    caller = _first(fields, "calleridnum", "cidnum")
    begin = _begin(record.source, caller, dialled, fields.get("context"))
    return Fact(record.derived_id(), "call.initiated", call_id, _cel_time(fields, record), begin)


def _cel_answer(fields: Fields, record: Record) -> Fact:
    return Fact(record.derived_id(), "call.answered", _call(fields), _cel_time(fields, record))


def _cel_hangup(fields: Fields, record: Record) -> Fact:
    call_id, instant = _call(fields), _cel_time(fields, record)
    extra = fields.get("extra")
    if not isinstance(extra, dict):
        extra = json_value(needed(extra, "Extra"), "Extra")
    dial_status, cause = text(at(extra, "dialstatus")), text(at(extra, "hangupcause"))
    status: Unanswered | None
    if dial_status is not None:
        status = DIAL_STATUSES.get(dial_status, "failed")
    else:  # The call reached no Dial, but perhaps an IVR, a queue or voicemail.
        status = None if cause == "16" else status_of_q850(whole(cause) or 0)
    data = {"status": status, "hangup_cause": shortened(cause), "dialstatus": dial_status}
    return Fact(record.derived_id(), "call.failed" if status else "call.completed", call_id, instant, data)


def _linkedid_end(fields: Fields, record: Record) -> Fact:
    """The last channel is gone. Where the first one transferred the call, this alone is the call's end."""
    call_id, instant = needed(fields.get("linkedid"), "LinkedID"), _cel_time(fields, record)
    return Fact(record.derived_id(), "call.updated", call_id, instant, {"completed_at": instant})


def _cel_time(fields: Fields, record: Record) -> datetime:
    return needed_instant(
        _instant(fields.get("eventtime"), "EventTime", record.source.time_zone()), "EventTime"
    )


def _instant(value: Any, name: str, zone: ZoneInfo | None) -> datetime | None:
    """The instant of a text in local time, of seconds since 1970 (cel_custom), or of a connector's number:
    milliseconds, microseconds or nanoseconds, which count local time as if it were UTC."""
    given = text(value)
    if given is None or given.startswith("0000-00-00"):
        return None
    digits = given.partition(".")[0]
    if not digits.isdecimal():
        return local_iso(given, name, zone)
    if len(digits) <= 11:
        return epoch_seconds(given, name)
    if len(digits) <= 14:
        return wall_clock(epoch_milliseconds(digits, name), name, zone)
    return wall_clock(epoch_microseconds(digits if len(digits) <= 17 else digits[:-3], name), name, zone)


def _cdr(fields: Fields, record: Record) -> Facts:
    """The begin, the answer and the end of a CDR. A CDR is of a channel and one channel that it dialled."""
    zone = record.source.time_zone()
    channel = needed(fields.get("uniqueid"), "UniqueID")
    call_id = text(fields.get("linkedid")) or channel
    word = needed(fields.get("disposition"), "Disposition")
    disposition = word.upper().replace(" ", "")
    if disposition not in DISPOSITIONS:
        raise Quarantined(f"Disposition: {word[:60]!r} is not a disposition of Asterisk.")
    status = DISPOSITIONS[disposition]
    started_at = needed_instant(
        _instant(_first(fields, "starttime", "start", "calldate"), "StartTime", zone), "StartTime"
    )
    ended_at = _instant(_first(fields, "endtime", "end"), "EndTime", zone)
    if ended_at is None and (total := whole(fields.get("duration"))) is not None:
        ended_at = later(started_at, total)  # The usual table has no column for the end.
    sequence = text(fields.get("sequence"))
    id_ = record.derived_id() if sequence is None else f"{channel}:{sequence}"
    begin: dict[str, Any] = {}
    duration = None
    if channel == call_id:  # Another channel's parties and its duration are not the call's.
        begin = _begin(
            record.source,
            _first(fields, "source", "src"),
            _first(fields, "destination", "dst"),
            _first(fields, "destinationcontext", "dcontext"),
        )
        duration = whole(_first(fields, "billableseconds", "billsec"))
    facts = [Fact(f"{id_}:initiated", "call.initiated", call_id, started_at, begin)]
    ended_at = needed_instant(ended_at, "EndTime")
    if status is not None:
        return [*facts, Fact(f"{id_}:end", "call.failed", call_id, ended_at, {"status": status})]
    answered_at = _instant(_first(fields, "answertime", "answer"), "AnswerTime", zone)
    if answered_at is not None:
        facts.append(Fact(f"{id_}:answered", "call.answered", call_id, answered_at))
    return [*facts, Fact(f"{id_}:end", "call.completed", call_id, ended_at, {"duration": duration})]


def _ari(fields: Fields, record: Record) -> Facts:
    kind = needed(fields.get("type"), "type")
    if (fact := _ARI.get(kind)) is None:
        raise Ignored(f"{kind[:60]} is not a step of a call")
    instant = local_iso(fields.get("timestamp"), "timestamp", record.source.time_zone())
    return [fact(fields, record, needed_instant(instant, "timestamp"))]


def _channel_created(fields: Fields, record: Record, instant: datetime) -> Fact:
    channel = fields.get("channel")
    call_id = _ari_call(channel)
    begin = _begin(
        record.source,
        at(channel, "caller.number"),
        at(channel, "dialplan.exten"),
        at(channel, "dialplan.context"),
    )
    return Fact(record.derived_id(), "call.initiated", call_id, instant, begin)


def _channel_state_change(fields: Fields, record: Record, instant: datetime) -> Fact:
    channel = fields.get("channel")
    state = at(channel, "state")
    if state == RINGING:
        return Fact(record.derived_id(), "call.ringing", _linked(channel) or _ari_call(channel), instant)
    if state == UP:
        return Fact(record.derived_id(), "call.answered", _ari_call(channel), instant)
    raise Ignored("the channel neither rings nor is up")


def _dial(fields: Fields, record: Record, instant: datetime) -> Fact:
    if text(fields.get("dialstatus")) not in ARI_RINGING:
        raise Ignored("the dialled channel does not ring")
    caller, peer = fields.get("caller"), fields.get("peer")
    call_id = _linked(caller) or _linked(peer) or text(at(caller, "id")) or text(at(peer, "id"))
    return Fact(record.derived_id(), "call.ringing", needed(call_id, "peer.id"), instant)


def _channel_destroyed(fields: Fields, record: Record, instant: datetime) -> Fact:
    channel = fields.get("channel")
    up = at(channel, "state") == UP
    return _end(record, _ari_call(channel), instant, fields.get("cause"), answered=up)


def _recording_finished(fields: Fields, record: Record, instant: datetime) -> Fact:
    recording = fields.get("recording")
    kind, _, channel = (text(at(recording, "target_uri")) or "").partition(":")
    if kind != "channel":
        raise Ignored("the recording is not of a channel")
    name, format_ = text(at(recording, "name")), text(at(recording, "format"))
    url = recording_url(f"{name}.{format_}" if name and format_ else name, record.source)
    if url is None:
        raise Ignored("the source has no recording_prefix")
    return Fact(
        record.derived_id(), "recording.ready", needed(channel, "target_uri"), instant, {"recording_url": url}
    )


def _ari_call(channel: Any) -> str:
    """The call of an ARI event of its first channel. Without the LinkedID each channel is a call."""
    id_ = needed(at(channel, "id"), "channel.id")
    if (_linked(channel) or id_) != id_:
        raise Ignored("the channel is not the first of its call")
    return id_


def _linked(channel: Any) -> str | None:
    return text(at(channel, "channelvars.CHANNEL(linkedid)"))


def recording_url(file: str | None, source: Source) -> str | None:
    """The address of a recording's file; None without the setting `recording_prefix`."""
    prefix = text(source.settings.get("recording_prefix"))
    return f"{prefix}{quote(file, errors='replace')}" if prefix and file else None


def _begin(source: Source, from_number: Any, to_number: Any, context: Any) -> dict[str, Any]:
    """The parties and the direction. A call between two extensions has no direction."""
    caller, callee = _party(from_number), _party(to_number)
    direction = by_context(source, text(context), CONTEXT_DIRECTIONS)
    if direction != "inbound":
        lengths = [len(party) for party in (caller, callee) if party]
        internal = bool(lengths) and max(lengths) <= EXTENSION_LENGTH_MAX
        direction = None if internal else direction or by_own_numbers(source, caller, callee)
    return {"from_number": caller, "to_number": callee, "direction": direction}


def _party(value: Any) -> str | None:
    given = text(value)
    return None if given in ("<unknown>", "s") else bare_number(given)


_AMI: Final[Mapping[str, Callable[[Fields, Record], Facts]]] = {
    "newchannel": _newchannel,
    "newstate": _newstate,
    "dialstate": _dial_state,
    "hangup": _hangup,
    "cel": _cel,
    "cdr": _cdr,
}
_CEL: Final[Mapping[str, Callable[[Fields, Record], Fact]]] = {
    "CHAN_START": _chan_start,
    "ANSWER": _cel_answer,
    "HANGUP": _cel_hangup,
    "LINKEDID_END": _linkedid_end,
    # A table may have numbers. That of LINKEDID_END depends on the version.
    "1": _chan_start,
    "4": _cel_answer,
    "3": _cel_hangup,
}
_ARI: Final[Mapping[str, Callable[[Fields, Record, datetime], Fact]]] = {
    "ChannelCreated": _channel_created,
    "ChannelStateChange": _channel_state_change,
    "Dial": _dial,
    "ChannelDestroyed": _channel_destroyed,
    "RecordingFinished": _recording_finished,
}


def decode(delivery: Delivery, source: Source) -> Iterable[Any]:
    """The values of a body: JSON, the text of AMI, or the lines of Master.csv."""
    body = (delivery.body or b"").lstrip()
    if body.startswith((b"Event:", b"Response:")):
        blocks = body.decode(errors="replace").replace("\r\n", "\n").strip("\n")
        return [_ami_fields(block) for block in blocks.split("\n\n", RECORDS_MAX)]
    if body.startswith(b'"'):
        try:
            rows = islice(csv.reader(StringIO(body.decode(errors="replace"), newline="")), RECORDS_MAX + 1)
            return [_csv_fields(row) for row in rows if row]
        except csv.Error:
            raise Quarantined("The body is neither JSON nor CSV.") from None
    return usual_values(delivery)


def _ami_fields(block: str) -> dict[str, str]:
    """The lines `Key: Value` of an AMI event. Of a key that is given twice, the first counts."""
    fields: dict[str, str] = {}
    for line in block.split("\n"):
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    return fields


def _csv_fields(row: Sequence[str]) -> dict[str, str]:
    return dict(zip((*CSV_COLUMNS, *CSV_FURTHER_COLUMNS.get(len(row), ())), row, strict=False))


_CONTEXTS: Final = ("context", "destinationcontext", "dcontext")


def _named(record: Record, by: str) -> str | None:
    """The value of a field, however the record spells it; for ARI, of the channel's field."""
    if (exact := named_at(record, by)) is not None:
        return exact
    fields = spelled(record.fields())
    for of_ari in ("channel", "caller", "peer"):
        if isinstance(channel := fields.get(of_ari), dict):
            fields = spelled(channel) | {"context": at(channel, "dialplan.context")}
            break
    for path in by.split(","):
        name = _spelled(path.strip())
        given = text(_first(fields, *(_CONTEXTS if name == "context" else (name,))))
        if given is not None:
            return given
    return None


CONTEXTS_SETTING: Final = Setting(
    CONTEXTS,
    "A JSON object: the direction, `inbound` or `outbound`, of calls that begin in a dialplan's context. "
    "By default `from-trunk`, `from-pstn`, `from-external` and `incoming` are inbound; "
    "`from-internal`, `internal` and `outgoing` are outbound.",
)
OWN_NUMBERS_SETTING: Final = Setting(
    OWN_NUMBERS,
    "A JSON list of the organization's numbers, as Asterisk writes them. "
    "They give the direction where the context does not.",
)
ASTERISK: Final = Dialect(
    name="asterisk",
    title="Asterisk",
    ways=("kafka",),
    read=read,
    named=_named,
    decode=decode,
    organizations_by="AccountCode",
    settings=(
        CONTEXTS_SETTING,
        OWN_NUMBERS_SETTING,
        Setting(
            "recording_prefix",
            "The address in front of a recording's file, for the event RecordingFinished of ARI. "
            "Without it no recording is published.",
        ),
    ),
    setup="""\
Publish one of these to the source's topic. For exact times choose AMI events. Where calls are transferred,
use CEL or CDRs, not both.

- AMI events: a forwarder or a module publishes each event, as a JSON object or as its text. Set
  `timestampevents=yes` in manager.conf. Without it the time of a record's arrival counts.
- CEL: enable at least `CHAN_START`, `ANSWER`, `HANGUP` and `LINKEDID_END` in cel.conf, with any backend. A
  table needs the columns `linkedid` and `extra`, and event types as text.
- CDRs: through AMI, beanstalkd, a table or Master.csv. Add `linkedid => LinkedID` and
  `sequence => Sequence` to `[mappings]` in cdr_manager.conf. Master.csv needs `loguniqueid=yes`, and
  `newcdrcolumns=yes` for the two fields.
- ARI: a forwarder publishes the events of the WebSocket. Set `channelvars = CHANNEL(linkedid)` in ari.conf.

Set `time_zone` to the server's zone: CEL and CDRs have local times. With `usegmtime=yes` it is `UTC`. In the
hour that a clock change repeats, callfold takes the first of both instants.

Where several machines publish to one topic, set `systemname` in asterisk.conf: otherwise their ids repeat.

Set an account code on the first channel of each call, or choose another field with `--map-by`: for
example `TenantID` or `Context`. The records may spell it in any way.""",
    gives="""\
Status, both numbers, direction and Q.850 causes. AMI and ARI have times in microseconds or milliseconds, and
ringing. CEL and CDRs have times in whole seconds. CDRs have the duration in seconds.

A call is answered when its first channel is: also by an IVR, a queue or voicemail. `dialstatus` stays in the
data of CEL's ends.""",
    lacks="""\
A price. Ringing, in CEL and CDRs. The cause, in CDRs. CDRs report a cancelled call as unanswered, unless
`canceldispositionenabled` is set. They report no call without a dialled channel, unless
`unanswered=yes` is set.

Without the LinkedID, CDRs know a call by its UniqueID, and ARI reports each channel as a call. An attended
transfer joins two calls: both stay. A call that `Originate` begins has the agent as its caller.""",
    from_memory="""\
`channelvars` in ari.conf, for the LinkedID of ARI's channels. The cause of a cancelled caller's channel: 0,
16 and 127 count as cancelled. The forms in which connectors send columns of time.""",
)
