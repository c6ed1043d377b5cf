"""The fold: from the events of one call to the call. Pure: no I/O, no clock, no state.

Its laws, each held by a test in tests/test_fold.py:

1. Order never matters.
2. A duplicate (the id of an event already there) changes nothing.
3. Status climbs initiated < ringing < in_progress < final, and never goes back. Between two final events
   the later by (timestamp, id) wins: duration, cost, cause and end are its own, never the loser's.
4. Any other field is what the last event by (timestamp, id) says of it; what an event leaves out, it leaves.
5. `created_at` is the earliest `call.initiated`, or, before one is seen, the earliest event.
6. An end that callfold made up loses against any real one.
7. A call is live when any of its events is: test traffic never takes a live call out of sight, and a test
   key never sees one.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

import msgspec

from shared.event import MISSING_HANGUP, Direction, Event, Status

FINAL: Final[frozenset[Status]] = frozenset({"completed", "failed", "busy", "no_answer", "canceled"})


class Call(msgspec.Struct, frozen=True, gc=False):
    """A call as its events tell it. `version` is how many: it grows with each and depends on no order."""

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


def distinct(events: Iterable[Event]) -> list[Event]:
    """The events of one call without duplicates: of several with one id, the first."""
    first: dict[str, Event] = {}
    for event in events:
        first.setdefault(event.id, event)
    return list(first.values())


def fold(events: Sequence[Event]) -> Call:
    """The call that these events make: at least one, all of one call, no id twice; in any order."""
    ordered = sorted(events, key=_order)
    claims = [_claim(event) for event in ordered]
    end = _end(ordered, claims)
    status: Status = "initiated" if end is None else claims[end]  # type: ignore[assignment]
    created_at: datetime | None = None
    external_id: str | None = None
    livemode = False
    said: dict[str, object] = {}
    for n, event in enumerate(ordered):
        claim = claims[n]
        livemode = livemode or event.livemode
        external_id = event.external_id or external_id
        if event.type == "call.initiated":
            created_at = created_at or event.timestamp
        elif event.type == "call.answered":
            said["answered_at"] = event.timestamp
        if claim in FINAL:
            if n != end:
                said.update({field: value for field, value in event.data.items() if field not in _OF_THE_END})
                continue
            said["completed_at"] = event.timestamp
        elif end is None and claim is not None and _RANK[claim] > _RANK[status]:
            status = claim
        said.update(event.data)
    get = said.get
    some = ordered[0]
    return Call(
        some.organization_id,
        some.call_id,
        external_id,
        livemode,
        status,
        get("direction"),  # type: ignore[arg-type]
        get("from_number"),  # type: ignore[arg-type]
        get("to_number"),  # type: ignore[arg-type]
        get("phone_number_id"),  # type: ignore[arg-type]
        get("endpoint_id"),  # type: ignore[arg-type]
        get("duration"),  # type: ignore[arg-type]
        get("cost"),  # type: ignore[arg-type]
        get("latency_ms"),  # type: ignore[arg-type]
        get("hangup_cause"),  # type: ignore[arg-type]
        get("recording_url"),  # type: ignore[arg-type]
        get("transcript"),  # type: ignore[arg-type]
        created_at or some.timestamp,
        get("answered_at"),  # type: ignore[arg-type]
        get("completed_at"),  # type: ignore[arg-type]
        len(ordered),
    )


_RANK: Final[dict[Status, int]] = {"initiated": 0, "ringing": 1, "in_progress": 2}
_OF_THE_END: Final = frozenset({"duration", "cost", "hangup_cause", "completed_at"})
_CLAIM_OF_TYPE: Final[dict[str, Status]] = {
    "call.initiated": "initiated",
    "call.ringing": "ringing",
    "call.answered": "in_progress",
    "call.completed": "completed",
    "call.failed": "failed",
    MISSING_HANGUP: "failed",
}


def _order(event: Event) -> tuple[datetime, str]:
    return event.timestamp, event.id


def _claim(event: Event) -> Status | None:
    """The status that an event claims for its call: what it says, unless its type rules that out. The
    `status` of a recording or a transcript is that thing's own."""
    of_type = _CLAIM_OF_TYPE.get(event.type)
    said = event.data.get("status")
    if said is None or event.type in ("recording.ready", "transcript.ready"):
        return of_type
    if of_type in FINAL and (said not in FINAL or (of_type == "failed" and said == "completed")):
        return of_type
    return said


def _end(ordered: Sequence[Event], claims: Sequence[Status | None]) -> int | None:
    """Which event ends the call: the last real end, or else the last that was made up."""
    made_up: int | None = None
    for n in range(len(ordered) - 1, -1, -1):
        if claims[n] in FINAL:
            if ordered[n].type != MISSING_HANGUP:
                return n
            made_up = n if made_up is None else made_up
    return made_up
