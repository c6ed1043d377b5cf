"""One simulated call, from its first event to its last. Pure: all randomness comes from the given generator.

A call is planned as a timeline in its true order. simulator.py makes records late, duplicate or out of
order."""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import msgspec

from shared.calls.event import Direction, Status
from shared.calls.zones import time_zone

COST_STEP: Final = Decimal("0.0001")
CENTS_PER_MINUTE: Final = {"inbound": Decimal("0.85"), "outbound": Decimal("1.3275")}
Headers = tuple[tuple[str, bytes | None], ...]
JSON_HEADERS: Final[Headers] = (("content-type", b"application/json"),)
_encode: Final = msgspec.json.Encoder(decimal_format="number").encode


@dataclass(frozen=True)
class PhoneNumber:
    id: UUID
    number: str


@dataclass(frozen=True)
class Organization:
    """A customer whose calls are simulated."""

    id: UUID
    name: str
    time_zone: str
    phone_numbers: tuple[PhoneNumber, ...]
    weight: float
    """Its share of the calls, relative to the other weights."""


@dataclass(frozen=True)
class Outcome:
    """The expected state of a call when all its events have arrived."""

    organization_id: UUID
    livemode: bool
    day: date
    direction: Direction | None
    status: Status
    answered: bool
    duration: int
    cost: Decimal = Decimal(0)


@dataclass(frozen=True)
class SimulatedEvent:
    """A statement about a call: callfold's own event, or a system's delivery, which becomes some events."""

    timestamp: datetime
    value: bytes
    headers: Headers = JSON_HEADERS
    events: int = 1


@dataclass(frozen=True)
class SimulatedCall:
    """A call's events in their true order, and their outcome."""

    key: bytes
    events: tuple[SimulatedEvent, ...]
    outcome: Outcome


Data = dict[str, Any]
Step = tuple[timedelta, str, Data]
"""The time since the call's start, the type of the event, and its data."""

_SCENARIOS: Final[tuple[tuple[str, int], ...]] = (
    ("completed", 685),
    ("no_answer", 115),
    ("busy", 60),
    ("failed", 60),
    ("canceled", 60),
    ("stuck", 12),  # its hangup was never sent
    ("corrected", 8),  # ended twice, the second time with the correct values
)
_CAUSES: Final = {
    "completed": ("NORMAL_CLEARING",),
    "corrected": ("NORMAL_CLEARING",),
    "no_answer": ("NO_ANSWER", "NO_USER_RESPONSE"),
    "busy": ("USER_BUSY",),
    "failed": ("UNALLOCATED_NUMBER", "CALL_REJECTED", "NETWORK_OUT_OF_ORDER", "RECOVERY_ON_TIMER_EXPIRE"),
    "canceled": ("ORIGINATOR_CANCEL",),
}
_SENTENCES: Final = (
    "Hello, how can I help you?",
    "I'm calling about my last invoice.",
    "Could you spell the name for me, please?",
    "Für wann darf ich den Termin eintragen?",
    "One moment, I'll look that up.",
    "धन्यवाद, यही जानना था।",
    "That works for me, thank you.",
    "Good bye!",
)


def simulate_call(
    rng: random.Random,
    organization: Organization,
    started: datetime,
    *,
    end: datetime | None = None,
    typical_talk_seconds: float = 95,
) -> SimulatedCall:
    """A call that starts at this (aware) time. Events after `end` have not happened yet."""
    started = started.replace(microsecond=started.microsecond // 1000 * 1000)
    livemode = rng.random() >= 0.05
    about, direction = _about(rng, organization)
    steps = [
        step
        for step in _steps(rng, about, direction, typical_talk_seconds)
        if end is None or started + step[0] <= end
    ]
    key = _call_id(rng)
    local = time_zone(organization.time_zone) if rng.random() < 0.3 else UTC
    wire: Data = {"organization_id": organization.id, "call_id": key}
    if not livemode or rng.random() < 0.5:
        wire["livemode"] = livemode
    events = tuple(
        SimulatedEvent(
            started + after,
            _encode(
                {"id": f"evt_{rng.getrandbits(96):024x}", "type": type_, **wire}
                | {"timestamp": (started + after).astimezone(local).isoformat(timespec="milliseconds")}
                | ({"data": data} if data or rng.random() < 0.5 else {})
            ),
        )
        for after, type_, data in steps
    )
    day = started.astimezone(time_zone(organization.time_zone)).date()
    return SimulatedCall(
        key.encode(), events, _outcome(organization.id, livemode, day, direction, [s[1:] for s in steps])
    )


def _outcome(
    organization_id: UUID,
    livemode: bool,
    day: date,
    direction: Direction | None,
    timeline: list[tuple[str, Data]],
) -> Outcome:
    """Follows the timeline in its true order: simpler than the fold and independent of it."""
    status: Status = "initiated"
    answered, duration, cost = False, 0, Decimal(0)
    for type_, data in timeline:
        if type_ == "call.answered":
            status, answered = "in_progress", True
        elif type_ == "call.ringing":
            status = "ringing"
        elif type_ in ("call.completed", "call.failed"):
            status = data.get("status", type_.removeprefix("call."))
            duration = data["duration"]
        cost = data.get("cost", cost)
    return Outcome(organization_id, livemode, day, direction, status, answered, duration, cost)


def _about(rng: random.Random, organization: Organization) -> tuple[Data, Direction | None]:
    """The fields of the first event that identify the two ends of the call, and the direction."""
    ours = rng.choice(organization.phone_numbers)
    theirs = f"{ours.number[:-4]}{rng.randrange(10_000):04}"
    odd = rng.random()
    if odd < 0.03:
        theirs = "anonymous"
    elif odd < 0.06:
        theirs = f"sip:{rng.choice(('front-desk', 'anna', 'ravi.k', 'ops'))}@pbx.example.com"
    inbound = rng.random() < 0.62
    direction: Direction | None = "inbound" if inbound else "outbound"
    about: Data = {"from_number": theirs, "to_number": ours.number}
    if not inbound:
        about = {"from_number": ours.number, "to_number": theirs}
    if rng.random() < 0.02:
        direction = None
    else:
        about["direction"] = direction
    if rng.random() >= 0.03:
        about["phone_number_id"] = ours.id
    if rng.random() < 0.4:
        about["endpoint_id"] = UUID(int=rng.getrandbits(128), version=4)
    if rng.random() < 0.2:
        about["campaign"] = rng.choice(("spring", "win-back", None))  # a field that callfold does not know
    return about, direction


def _steps(
    rng: random.Random, about: Data, direction: Direction | None, typical_talk_seconds: float
) -> Iterator[Step]:
    (scenario,) = rng.choices([name for name, _ in _SCENARIOS], [share for _, share in _SCENARIOS])
    stuck_at = rng.choice(("initiated", "ringing", "in_progress")) if scenario == "stuck" else None
    yield timedelta(), "call.initiated", about
    if stuck_at == "initiated":
        return
    set_up = _milliseconds(rng.uniform(0.2, 2.5))
    if scenario == "failed" and rng.random() < 0.6:
        yield set_up, "call.failed", _end_of_unanswered(rng, scenario)
        return
    yield set_up, "call.ringing", {}
    rung = set_up + _milliseconds(min(_log_normal(rng, 8, 0.6), 45))
    if stuck_at == "ringing":
        return
    if scenario in ("no_answer", "busy", "failed", "canceled"):
        type_ = "call.completed" if scenario == "canceled" and rng.random() < 0.5 else "call.failed"
        yield rung, type_, _end_of_unanswered(rng, scenario)
        return
    yield rung, "call.answered", {"latency_ms": int(_log_normal(rng, 140, 0.5))} if rng.random() < 0.9 else {}
    if stuck_at == "in_progress":
        return
    talk = _milliseconds(min(_log_normal(rng, typical_talk_seconds, 0.9), 4 * 3600))
    yield from _end_of_answered(rng, scenario, rung + talk, talk, direction)


def _end_of_unanswered(rng: random.Random, status: str) -> Data:
    data: Data = {"duration": 0, "hangup_cause": rng.choice(_CAUSES[status])}
    return data if status == "failed" and rng.random() < 0.5 else {"status": status, **data}


def _end_of_answered(
    rng: random.Random, scenario: str, ended: timedelta, talk: timedelta, direction: Direction | None
) -> Iterator[Step]:
    seconds = round(talk.total_seconds())
    rate = CENTS_PER_MINUTE[direction or "inbound"]
    data: Data = {"duration": seconds, "hangup_cause": rng.choice(_CAUSES[scenario])}
    cost = (Decimal(seconds) * rate / 60).quantize(COST_STEP)
    if scenario == "corrected":
        yield ended, "call.completed", {**data, "duration": seconds + 7, "cost": Decimal("99.5")}
        ended += _milliseconds(2.5)
    cost_is_late = scenario == "completed" and rng.random() < 0.1
    yield ended, "call.completed", data if cost_is_late else {**data, "cost": cost}
    after: list[Step] = []
    if cost_is_late:
        after.append((ended + _milliseconds(rng.uniform(600, 6 * 3600)), "call.updated", {"cost": cost}))
    if rng.random() < 0.35:
        url = f"https://recordings.example.com/{rng.getrandbits(64):016x}.opus"
        after.append((ended + _milliseconds(rng.uniform(2, 40)), "recording.ready", {"recording_url": url}))
        if rng.random() < 0.5:
            text = " ".join(rng.choice(_SENTENCES) for _ in range(rng.randrange(2, 12)))
            after.append(
                (ended + _milliseconds(rng.uniform(41, 300)), "transcript.ready", {"transcript": text})
            )
    yield from sorted(after, key=lambda step: step[0])


def _call_id(rng: random.Random) -> str:
    """Usually a UUID; otherwise a call id as SIP switches write it."""
    if rng.random() < 0.12:
        return f"{rng.getrandbits(64):016x}@pbx{rng.randrange(1, 5)}.example.com"
    text = str(UUID(int=rng.getrandbits(128), version=4))
    return text.upper() if rng.random() < 0.05 else text


def _log_normal(rng: random.Random, median: float, spread: float) -> float:
    return rng.lognormvariate(math.log(median), spread)


def _milliseconds(seconds: float) -> timedelta:
    return timedelta(milliseconds=round(seconds * 1000))
