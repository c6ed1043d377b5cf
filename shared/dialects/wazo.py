"""Wazo: the events of its bus, as a shovel or a connector moves them from RabbitMQ to Kafka.

A call is the conversation of its legs: Asterisk's LinkedID. The call log comes last and reports all of it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from shared.calls.event import Direction, EventType
from shared.dialects.asterisk import CONTEXTS_SETTING, OWN_NUMBERS_SETTING, ami_facts, recording_url, spelled
from shared.sources.dialect import Dialect, Setting, named_at
from shared.sources.instants import local_iso, needed_instant
from shared.sources.outcome import Fact, Ignored
from shared.sources.parties import bare_number
from shared.sources.record import Record, at, needed, text, whole

DIRECTIONS: Final[Mapping[str, Direction]] = {"inbound": "inbound", "outbound": "outbound"}
"""The directions of calls that are not `internal`."""


def read(record: Record) -> Sequence[Fact]:
    """The facts of an event of the bus."""
    fields = record.fields()
    name = needed(fields.get("name"), "name")
    data = fields.get("data")
    if record.source.settings.get("records") == "ami":
        return _ami(data, record)
    if (facts := _FACTS.get(name)) is None:
        raise Ignored(f"{name[:60]} is not a step of a call")
    return facts(data, record)


def _ami(data: Any, record: Record) -> Sequence[Fact]:
    """The facts of an AMI event, which has no time of its own unless `timestampevents` is set."""
    if at(data, "Event") is None:
        raise Ignored("it is not an event of AMI")
    if (zone := record.source.time_zone()) is not None:
        published_at = local_iso(at(record.value, "timestamp"), "timestamp", zone)
        record = record._replace(offered_at=published_at or record.offered_at)
    return ami_facts(spelled(data), record)


def _call_created(data: Any, record: Record) -> list[Fact]:
    if at(data, "is_caller") is not True:
        raise Ignored("the leg is not the caller's")
    begin = {
        "from_number": bare_number(at(data, "caller_id_number")),
        "to_number": bare_number(at(data, "dialed_extension")),
        "direction": DIRECTIONS.get(text(at(data, "direction")) or ""),
    }
    return [_fact("call.initiated", data, record, at(data, "creation_time"), "data.creation_time", begin)]


def _call_updated(data: Any, record: Record) -> list[Fact]:
    if at(data, "status") != "Ringing":
        raise Ignored("the leg does not ring")
    return [_fact("call.ringing", data, record, at(record.value, "timestamp"), "timestamp")]


def _call_answered(data: Any, record: Record) -> list[Fact]:
    """Any leg's answer: the call log has the call's own."""
    answer = at(data, "answer_time")
    return [_fact("call.updated", data, record, answer, "data.answer_time", {"status": "in_progress"})]


def _fact(
    type_: EventType, data: Any, record: Record, time: Any, name: str, facts: Mapping[str, Any] | None = None
) -> Fact:
    call_id = needed(at(data, "conversation_id"), "data.conversation_id")
    instant = needed_instant(local_iso(time, name, record.source.time_zone()), name)
    return Fact(record.derived_id(), type_, call_id, instant, facts or {})


def _call_log(data: Any, record: Record) -> list[Fact]:
    """The begin, the answer and the end of a whole call."""
    call_id = needed(at(data, "conversation_id"), "data.conversation_id")
    zone = record.source.time_zone()
    started_at, answered_at, ended_at = (
        local_iso(at(data, name), f"data.{name}", zone) for name in ("start", "answer", "end")
    )
    number = text(at(data, "id"))
    id_ = record.derived_id() if number is None else f"wazo_cdr:{number}"
    begin = {
        "from_number": bare_number(at(data, "source_extension")),
        "to_number": bare_number(at(data, "requested_extension"))
        or bare_number(at(data, "destination_extension")),
        "direction": DIRECTIONS.get(text(at(data, "call_direction")) or ""),
    }
    begun = needed_instant(started_at, "data.start")
    facts = [Fact(f"{id_}:initiated", "call.initiated", call_id, begun, begin)]
    ended = needed_instant(ended_at, "data.end")
    answered, word = at(data, "answered"), text(at(data, "call_status"))
    if not (answered if isinstance(answered, bool) else answered_at):
        failure = {"status": "failed" if word == "blocked" else "no_answer", "call_status": word}
        return [*facts, Fact(f"{id_}:end", "call.failed", call_id, ended, failure)]
    if answered_at is not None:
        facts.append(Fact(f"{id_}:answered", "call.answered", call_id, answered_at))
    end = {
        "duration": whole(at(data, "duration")),
        "recording_url": _recording_url(data, record),
        "call_status": word,
    }
    return [*facts, Fact(f"{id_}:end", "call.completed", call_id, ended, end)]


def _recording_url(data: Any, record: Record) -> str | None:
    """The address of the latest recording that is not deleted."""
    recordings = at(data, "recordings")
    for recording in reversed(recordings if isinstance(recordings, list) else []):
        if at(recording, "deleted") is not True:
            return recording_url(text(at(recording, "filename")), record.source)
    return None


_FACTS: Final[Mapping[str, Callable[[Any, Record], list[Fact]]]] = {
    "call_created": _call_created,
    "call_updated": _call_updated,
    "call_answered": _call_answered,
    "call_log_created": _call_log,
}


def _named(record: Record, by: str) -> str | None:
    """The field, or the tenant of the channel: events of AMI have no field for it."""
    given = named_at(record, by)
    if given is None and by == "tenant_uuid":
        return named_at(record, "data.tenant_uuid,data.ChanVariable.WAZO_TENANT_UUID")
    return given


WAZO: Final = Dialect(
    name="wazo",
    title="Wazo",
    ways=("kafka",),
    read=read,
    named=_named,
    organizations_by="tenant_uuid",
    names_organization=True,
    settings=(
        Setting(
            "records",
            "`calls`, the default, reads the events of calls and call logs. "
            "`ami` reads the AMI events on the bus in their place.",
        ),
        CONTEXTS_SETTING,
        OWN_NUMBERS_SETTING,
        Setting(
            "recording_prefix",
            "The address in front of a recording's file name. Without it calls have no recording.",
        ),
    ),
    setup="""\
1. Bind a queue to the exchange `wazo-headers`, for the events `call_created`, `call_updated`,
   `call_answered` and `call_log_created`.
2. Move the queue's messages to the source's topic: with a RabbitMQ source connector of Kafka Connect, or
   with a program of your own. The value is the message's body.
3. Set `time_zone` to the server's zone: the times of ringing are local.

The tenant's UUID names the organization. Without `--map` it is the organization's own UUID.

With the setting `records` as `ami`, bind the queue to `Newchannel`, `Newstate`, `DialState` and `Hangup`
instead. Then the settings `contexts` and `own_numbers` give the direction.""",
    gives="""\
Status, direction, both numbers, times in milliseconds or better, and the duration in seconds. The begin,
ringing and the answer arrive as they happen. The call log repeats begin and answer at the call's end.""",
    lacks="""\
A price and a cause. A call without an answer ends as `no_answer`, or `failed` where it was blocked: Wazo
keeps no busy and no cancel. A recording has a file name, not an address.""",
)
