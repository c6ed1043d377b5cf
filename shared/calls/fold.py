"""The fold: from the events of one call to the call. Pure: no I/O, no clock, no state.

An *answer* is an event that claims `in_progress`; an *end* is one that claims a final status. *After* and
*latest* refer to the order by (timestamp, id). A test in tests/calls/test_fold.py holds each of these laws:

1. Order does not matter.
2. A duplicate (the id of an event that the call already has) changes nothing.
3. Status rises initiated < ringing < in_progress < final, and never falls. Among ends the latest wins.
4. Void ends. An end `busy`, `no_answer`, `canceled` or `failed` with an answer after it is not an end: the
   call continued elsewhere.
5. Answered calls complete. After an answer, an end `busy`, `no_answer` or `canceled` counts as `completed`.
   `failed` stays `failed`: a call can fail after the answer.
6. Agreeing ends. Duration, cost, cause and end time that the winning end leaves out come from the latest
   other end of the same status that gives them. Ends of another status contribute none of them. If an end
   gives `completed` itself, ends that are `completed` only by law 5 contribute no duration, cost or cause: an
   unanswered branch knows nothing of the conversation.
7. Any other field has the value of the latest event that gives it. An absent field erases nothing. An event
   that is not an end may also give duration, cost or cause. Then the latest value among it and the ends of
   law 6 counts, as with a call that is rated later.
8. `created_at` is the time of the earliest `call.initiated`, else of the earliest event. `answered_at` is the
   earliest answer: the time of a `call.answered` event, or an `answered_at` in an event's data.
   `completed_at` comes from the winning end (see 6); without an end there is none.
9. Derived times. A `completed` call without a duration gets the whole seconds from `answered_at` to
   `completed_at`, rounded down, or none if these are in the wrong order. A `completed` call with a duration
   above 0 and no answer gets `answered_at` = `completed_at` - duration, but never before `created_at`.
10. A call counts as answered when it has an `answered_at` or is `completed` (`is_answered`).
11. A generated end (`callfold.missing_hangup`) loses against any other end. It also loses against any event
    with a later timestamp that describes the call's progress: not a recording, a transcript or a price. Then
    it is overruled (`overruled_ends`), and the call is folded without it.
12. A call's mode comes from its earliest `call.initiated` that gives a `livemode`. Without one, it is test
    data if any of its events gives `livemode` false, otherwise live. So test data never counts as live
    because one service left `livemode` out.
13. A recording or a transcript describes itself: its status, duration, cost, cause, latency and times are not
    the call's.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from operator import attrgetter
from typing import Any, Final, cast, get_args
from uuid import UUID

import msgspec

from shared.calls.event import COUNT_MAX, MISSING_HANGUP, Direction, Event, EventData, Status

LAWS: Final = 2
"""The version of these laws and of the reading of events. A change of the result for the same payloads must
raise it. Rows of `calls` carry the version that they were folded by."""
LAWS_OF_ANSWERED: Final = 2
"""Law 10 holds since this version."""
FINAL: Final[frozenset[Status]] = frozenset({"completed", "failed", "busy", "no_answer", "canceled"})
OPEN: Final[frozenset[Status]] = frozenset(get_args(Status)) - FINAL
"""The statuses of calls that have not ended."""


class Call(msgspec.Struct, frozen=True, gc=False):
    """A call, folded from its events. `version` is the number of events: it grows with each and depends on no
    order."""

    organization_id: UUID
    id: UUID
    external_id: str | None
    livemode: bool
    status: Status
    direction: Direction | None
    from_number: str | None
    to_number: str | None
    phone_number_id: UUID | None
    endpoint_id: UUID | None
    duration: int | None
    cost: Decimal | None
    latency_ms: int | None
    hangup_cause: str | None
    recording_url: str | None
    transcript: str | None
    created_at: datetime
    answered_at: datetime | None
    completed_at: datetime | None
    version: int


def is_answered(status: Status, answered_at: datetime | None) -> bool:
    """Whether a call with this status and answer counts as answered: law 10."""
    return answered_at is not None or status == "completed"


def distinct(events: Iterable[Event]) -> list[Event]:
    """The events of one call without duplicates: the first event of each id."""
    first: dict[str, Event] = {}
    for event in events:
        first.setdefault(event.id, event)
    return list(first.values())


def fold(events: Sequence[Event]) -> Call:
    """Folds events into their call: at least one event, all of one call, no id twice, in any order."""
    ordered = sorted(events, key=_order)
    claims = _claims(ordered)
    ends = _ends(ordered, claims)
    status = _read(claims, ends[-1]) if ends else _highest(claims)
    agreeing = rating = ends  # law 6: the rating ends give duration, cost and cause
    if len(ends) > 1:
        agreeing = [n for n in ends if _read(claims, n) == status]
        rating = [n for n in agreeing if claims[n] == status] or agreeing
    created_at: datetime | None = None
    answered_at: datetime | None = None
    external_id: str | None = None
    livemode: bool | None = None
    is_test = False
    latest: EventData = {}
    for n, event in enumerate(ordered):
        data = event.data
        if event.external_id is not None:
            external_id = event.external_id
        if event.livemode is False:
            is_test = True
        if event.type == "call.initiated":
            created_at = created_at or event.timestamp
            livemode = event.livemode if livemode is None else livemode
        elif event.type in _OF_THEMSELVES:
            latest.update(_without(data, _OF_THE_COURSE))
            continue
        if "answered_at" in data or event.type == "call.answered":
            answer = data.get("answered_at", event.timestamp)
            if answered_at is None or answer < answered_at:
                answered_at = answer
        if claims[n] not in FINAL or n in rating:
            latest.update(data)
        else:
            latest.update(_without(data, _OF_THE_END))
    created_at = created_at or ordered[0].timestamp
    completed_at = _completed_at(ordered, agreeing)
    duration = latest.get("duration")
    if status == "completed" and completed_at is not None:
        if duration is None and answered_at is not None:
            duration = _whole_seconds(completed_at - answered_at)
        elif duration and answered_at is None:
            answered_at = max(created_at, completed_at - timedelta(seconds=duration))
    return Call(
        ordered[0].organization_id,
        ordered[0].call_id,
        external_id,
        not is_test if livemode is None else livemode,
        status,
        latest.get("direction"),
        latest.get("from_number"),
        latest.get("to_number"),
        latest.get("phone_number_id"),
        latest.get("endpoint_id"),
        duration,
        latest.get("cost"),
        latest.get("latency_ms"),
        latest.get("hangup_cause"),
        latest.get("recording_url"),
        latest.get("transcript"),
        created_at,
        answered_at,
        completed_at,
        len(ordered),
    )


def overruled_ends(events: Sequence[Event]) -> list[Event]:
    """The generated ends that other events of the same call overrule, by law 11. Without them, the events
    fold to the same call except for its version: such an end has the call's mode and the time of one of its
    events."""
    made_up = [event for event in events if event.type == MISSING_HANGUP]
    if not made_up:
        return made_up
    ordered = sorted(events, key=_order)
    claims = _claims(ordered)
    standing = {id(ordered[n]) for n in _ends(ordered, claims)}
    return [event for event in made_up if id(event) not in standing]


_order: Final = attrgetter("timestamp", "id")
_RANK: Final[dict[Status, int]] = {"initiated": 0, "ringing": 1, "in_progress": 2}
_UNANSWERED: Final[frozenset[Status]] = frozenset({"busy", "no_answer", "canceled"})
_OF_THE_END: Final = frozenset({"duration", "cost", "hangup_cause"})
_OF_THE_COURSE: Final = _OF_THE_END | {"status", "latency_ms", "answered_at", "completed_at"}
_OF_THEMSELVES: Final = ("recording.ready", "transcript.ready")
_CLAIM_OF_TYPE: Final[dict[str, Status]] = {
    "call.initiated": "initiated",
    "call.ringing": "ringing",
    "call.answered": "in_progress",
    "call.completed": "completed",
    "call.failed": "failed",
    MISSING_HANGUP: "failed",
}


def _claims(events: Iterable[Event]) -> list[Status | None]:
    """The status that each event claims for its call: the given status, unless the event's type rules it
    out."""
    return [
        _claim(event.type, event.data["status"]) if "status" in event.data else _CLAIM_OF_TYPE.get(event.type)
        for event in events
    ]


def _claim(type_: str, said: Status) -> Status | None:
    of_type = _CLAIM_OF_TYPE.get(type_)
    if type_ in _OF_THEMSELVES:
        return of_type
    if of_type in FINAL and (said not in FINAL or (of_type == "failed" and said == "completed")):
        return of_type
    return said


def _ends(ordered: Sequence[Event], claims: Sequence[Status | None]) -> list[int]:
    """The indexes of the events that end the call, in order: all ends but void ones. The latest generated end
    counts only without any other end and without a later sign of life."""
    final = [n for n, claim in enumerate(claims) if claim in FINAL]
    if not final or (len(final) == 1 and claims[final[0]] == "completed"):
        return final  # as with most calls
    ends: list[int] = []
    made_up: int | None = None
    answered_later = False
    for n in range(len(ordered) - 1, -1, -1):
        if claims[n] == "in_progress":
            answered_later = True
        elif claims[n] in FINAL:
            if ordered[n].type == MISSING_HANGUP:
                made_up = n if made_up is None else made_up
            elif claims[n] == "completed" or not answered_later:
                ends.append(n)
    if ends or made_up is None:
        return ends[::-1]
    ended_at = ordered[made_up].timestamp
    if any(event.timestamp > ended_at and _tells_the_course(event) for event in ordered[made_up + 1 :]):
        return []
    return [made_up]


def _tells_the_course(event: Event) -> bool:
    """Whether an event is a sign of life of its call: not a recording, a transcript or a price."""
    if event.type in _OF_THEMSELVES or event.type == MISSING_HANGUP:
        return False
    return event.type != "call.updated" or "status" in event.data or "cost" not in event.data


def _completed_at(ordered: Sequence[Event], agreeing: Sequence[int]) -> datetime | None:
    """The end time given by the latest agreeing end, otherwise the timestamp of the winning end."""
    for n in reversed(agreeing):
        if (completed_at := ordered[n].data.get("completed_at")) is not None:
            return completed_at
    return ordered[agreeing[-1]].timestamp if agreeing else None


def _without(data: EventData, fields: Collection[str]) -> EventData:
    return cast("EventData", {field: given for field, given in data.items() if field not in fields})


def _read(claims: Sequence[Status | None], end: int) -> Status:
    """The status of an end by law 5."""
    claim: Any = claims[end]
    status: Status = claim
    if claim in _UNANSWERED and "in_progress" in claims[:end]:
        status = "completed"
    return status


def _highest(claims: Sequence[Status | None]) -> Status:
    """The status of a call without an end."""
    status: Status = "initiated"
    for claim in claims:
        if claim in _RANK and _RANK[claim] > _RANK[status]:
            status = claim
    return status


def _whole_seconds(span: timedelta) -> int | None:
    seconds = span // timedelta(seconds=1)
    return seconds if 0 <= seconds <= COUNT_MAX else None
