"""Calls to count, and their expected figures, computed from each call without the code under test."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from types import MappingProxyType
from typing import Any, NamedTuple, get_args
from uuid import uuid4

import pytest

from shared.calls.event import Direction, Event, Status
from shared.calls.fold import FINAL, Call, is_answered
from shared.calls.hangup import CAUSES, EFFECTIVE, cause_index
from shared.counts.cell import NO_DIRECTION
from tests.support import seed
from tests.support.seed import Tenant

_TYPES: dict[str, str] = {**dict.fromkeys(FINAL, "call.failed"), "completed": "call.completed"}
_NEVER = datetime.max.replace(tzinfo=UTC)


class Made(NamedTuple):
    """A call to create: when it starts and how it ends."""

    created_at: datetime
    status: str
    answer_delay: timedelta | None = None
    duration: int | None = None
    data: Mapping[str, Any] = MappingProxyType({})

    def events(self, tenant: Tenant) -> list[Event]:
        """The events of this call: created, answered, and its final status at the end of its duration."""
        call_id = str(uuid4())
        answered_at = self.created_at + (self.answer_delay or timedelta())
        last = answered_at + timedelta(seconds=self.duration or 0)
        events = [seed.event(tenant, call_id, self.created_at, "call.initiated", **self.data)]
        if self.answer_delay is not None:
            events.append(seed.event(tenant, call_id, answered_at, "call.answered"))
        type_ = _TYPES.get(self.status, "call.updated")
        said: dict[str, Any] = {"status": self.status, "duration": self.duration}
        return [*events, seed.event(tenant, call_id, last, type_, **said)]


def figures_of(calls: Sequence[Call]) -> dict[str, Any]:
    """All figures of these calls, with exact percentiles."""
    answered = [call for call in calls if is_answered(call.status, call.answered_at)]
    ended = [call for call in calls if call.status in FINAL]
    seizures = [call for call in calls if call in answered or call in ended]
    seconds = sum(call.duration or 0 for call in calls)
    cents = sum((call.cost or Decimal(0) for call in calls), Decimal(0))
    latencies = [call.latency_ms for call in calls if call.latency_ms is not None]
    durations = [call.duration for call in answered if call.duration is not None]
    short = [duration for duration in durations if duration < 6]
    causes = Counter(CAUSES[cause_index(call.hangup_cause)] for call in ended)
    return {
        "total": len(calls),
        "by_status": {status: sum(call.status == status for call in calls) for status in get_args(Status)},
        "by_direction": {
            direction: sum((call.direction or NO_DIRECTION) == direction for call in calls)
            for direction in (*get_args(Direction), NO_DIRECTION)
        },
        "answered": len(answered),
        "answer_rate": _ratio(len(answered), len(calls)),
        "seizures": len(seizures),
        "asr": _ratio(len(answered), len(seizures)),
        "ner": _ratio(sum(map(_is_effective, seizures)), len(seizures)),
        "total_duration": seconds,
        "average_duration": _ratio(sum(durations), len(durations)),
        "acd": _ratio(sum(durations), len(durations)),
        "total_cost": float(cents),
        "average_cost": float((cents / len(calls)).quantize(Decimal("0.0001"), ROUND_HALF_EVEN))
        if calls
        else None,
        "average_latency_ms": _ratio(sum(latencies), len(latencies)),
        "short_calls": len(short),
        "short_call_share": _ratio(len(short), len(durations)),
        "hangup_causes": dict(sorted(causes.items(), key=lambda cause: (-cause[1], cause[0]))),
        "percentiles": {
            "duration": _percentiles([min(duration, _DAY_SECONDS) for duration in durations]),
            "answer_delay_ms": _percentiles(
                [
                    (call.answered_at - call.created_at) // _MILLISECOND
                    for call in answered
                    if call.answered_at
                ]
            ),
            "latency_ms": _percentiles(latencies),
        },
    }


def check(answer: dict[str, Any], calls: Sequence[Call], *, of_day: Sequence[Call] | None = None) -> None:
    """Fails unless the answer for these calls is right: exact, and percentiles within 5%. `of_day`: they are
    the calls of one hour, and these are all calls of its day."""
    expected = figures_of(calls)
    if of_day is not None:
        expected["acd"] = _acd_of_hour(calls, of_day)
    elif any(call.duration and not call.answered_at and call.status in _BROKEN for call in calls):
        of_a_day = any((call.duration or 0) >= _DAY_SECONDS for call in calls)
        for name in ("average_duration", "acd"):
            known = expected.pop(name)
            expected |= {} if of_a_day else {name: known and pytest.approx(known, rel=0.11)}
    expected |= {"duration": expected["total_duration"], "cost": expected["total_cost"]}
    told = {name: value for name, value in answer.items() if name in expected}
    percentiles = told.pop("percentiles", {})
    assert told == {name: expected[name] for name in told}
    if "hangup_causes" in told:  # and in the same order
        assert list(told["hangup_causes"]) == list(expected["hangup_causes"])
    for of, values in percentiles.items():
        for name, exact in expected["percentiles"][of].items():
            assert values[name] == (exact and pytest.approx(exact, rel=0.05)), (of, name)


def peak_of(calls: Sequence[Call], begin: datetime, end: datetime) -> dict[str, Any]:
    """The most calls in progress at any instant of a span, checked at each instant at which the number can
    grow."""
    talks = [(call.answered_at, call.completed_at or _NEVER) for call in calls if call.answered_at]
    instants = sorted(max(begin, answered_at) for answered_at, _ in talks if answered_at < end)
    counts = [(sum(start <= at < over for start, over in talks), at) for at in instants]
    most, at = max(counts, key=lambda count: (count[0], -count[1].timestamp()), default=(0, None))
    return {"calls": most, "at": at if most else None}


_MILLISECOND = timedelta(milliseconds=1)


_DAY_SECONDS = 86_400
_BROKEN = ("failed", "in_progress")


def _acd_of_hour(calls: Sequence[Call], of_day: Sequence[Call]) -> float | None:
    """By the hour: of completed calls, on days when each of these has a duration."""
    if any(call.status == "completed" and call.duration is None for call in of_day):
        return None
    durations = [call.duration or 0 for call in calls if call.status == "completed"]
    return _ratio(sum(durations), len(durations))


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _is_effective(call: Call) -> bool:
    by_status = is_answered(call.status, call.answered_at) or call.status in ("busy", "no_answer", "canceled")
    return by_status or cause_index(call.hangup_cause) in EFFECTIVE


def _percentiles(values: Sequence[int]) -> dict[str, int | None]:
    """The percentile by nearest rank: the smallest value that this percentage of values does not exceed."""
    ordered = sorted(values)
    return {
        f"p{percent}": ordered[math.ceil(percent * len(ordered) / 100) - 1] if ordered else None
        for percent in (50, 90, 95, 99)
    }
