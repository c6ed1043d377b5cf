"""Figures: telephony's figures from sums of calls, each with its formula. Pure.

docs/reference/figures.md explains the same formulas, with a worked example.

Calls from before step 0006 have no distributions, so their deletion can make a sum negative until a rebuild.
The formulas then use 0.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal
from typing import Final

from services.api.figures.sums import SHORT_SECONDS, Distribution, Sums
from shared.calls.fold import FINAL
from shared.calls.hangup import CAUSES
from shared.counts.histogram import (
    ANSWER_DELAYS,
    DURATIONS,
    LATENCIES,
    below,
    limits,
    percentile,
    representative,
)
from shared.counts.packed import unpack
from shared.encoding import number

PERCENTILES: Final[Mapping[str, float]] = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}

_CENT_DECIMALS: Final = Decimal("0.0001")

Figures = dict[str, object]


def of_stats(sums: Sums) -> Figures:
    """All figures for these sums; a ratio whose denominator is 0 is None."""
    short_calls, other = _short_calls(sums), _other_durations(sums)
    return {
        "total": sums.calls,
        "by_status": sums.by_status,
        "by_direction": sums.by_direction,
        "answered": sums.answered,
        "answer_rate": _ratio(sums.answered, sums.calls),
        "seizures": _seizures(sums),
        "asr": _asr(sums),
        "ner": _ner(sums),
        "total_duration": sums.duration_seconds,
        "average_duration": (acd := _acd(sums, other)),
        "acd": acd,
        "total_cost": number(sums.cost_cents),
        "average_cost": _average_cost(sums),
        "average_latency_ms": _average_latency_ms(sums),
        "short_calls": short_calls,
        "short_call_share": _ratio(short_calls, _timed(sums, other)),
        "hangup_causes": _hangup_causes(sums),
        "percentiles": _percentiles(sums),
    }


def of_hour(sums: Sums) -> Figures:
    """The figures that exist by the hour."""
    return _of_hour(sums, _other_durations(sums))


def _of_hour(sums: Sums, other: Sequence[int]) -> Figures:
    return {
        "total": sums.calls,
        "by_status": sums.by_status,
        "answered": sums.answered,
        "duration": sums.duration_seconds,
        "cost": number(sums.cost_cents),
        "asr": _asr(sums),
        "acd": _acd(sums, other),
        "average_cost": _average_cost(sums),
    }


def of_days(sums: Sums, distributions: Collection[Distribution]) -> Figures:
    """The figures of a day, week or month in trends, with these distributions."""
    short_calls, other = _short_calls(sums), _other_durations(sums)
    figures: Figures = {
        **_of_hour(sums, other),
        "ner": _ner(sums),
        "average_latency_ms": _average_latency_ms(sums),
        "short_calls": short_calls,
        "short_call_share": _ratio(short_calls, _timed(sums, other)),
    }
    return figures | {name: _DISTRIBUTIONS[name](sums) for name in distributions}


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _seizures(sums: Sums) -> int:
    """Calls that have ended or are answered."""
    return sum(sums.by_status[status] for status in FINAL) + sums.answered_going_on


def _asr(sums: Sums) -> float | None:
    """Answer-seizure ratio, ITU-T E.425."""
    return _ratio(sums.answered, _seizures(sums))


def _ner(sums: Sums) -> float | None:
    """Network effectiveness ratio, ITU-T E.425."""
    return _ratio(max(0, sums.effective), _seizures(sums))


def _acd(sums: Sums, other: Sequence[int]) -> float | None:
    """Average duration of the answered calls that have one, in seconds."""
    return _ratio(sums.completed_seconds + _other_seconds(sums, other), _timed(sums, other))


def _timed(sums: Sums, other: Sequence[int]) -> int:
    """The answered calls that have a duration."""
    return sums.completed_timed + sum(other)


def _other_seconds(sums: Sums, other: Sequence[int]) -> float:
    """The sum of the durations of answered calls that are not completed.

    `broken_seconds` is exactly this sum, unless unanswered calls also have durations. Then it is usually
    outside of the range that the histogram allows, and the histogram's estimate is used.
    """
    least, most = limits(other, DURATIONS)
    if least <= sums.broken_seconds <= most:
        return sums.broken_seconds
    return sum(calls * representative(index, DURATIONS) for index, calls in enumerate(other))


def _other_durations(sums: Sums) -> list[int]:
    """The durations of answered calls that are not completed, by bucket."""
    return [max(0, calls) for calls in unpack(sums.other_durations)]


def _average_cost(sums: Sums) -> int | Decimal | None:
    """Cents per call, answered or not."""
    return number((sums.cost_cents / sums.calls).quantize(_CENT_DECIMALS)) if sums.calls else None


def _average_latency_ms(sums: Sums) -> float | None:
    return _ratio(sums.latency_ms, sums.latency_calls)


def _short_calls(sums: Sums) -> int:
    return max(0, below(unpack(sums.short_durations), DURATIONS, SHORT_SECONDS))


def _hangup_causes(sums: Sums) -> dict[str, int]:
    """Ended calls by cause, the most frequent first, then by name."""
    calls = zip(CAUSES, unpack(sums.hangup_causes), strict=False)
    return dict(sorted(((cause, n) for cause, n in calls if n > 0), key=lambda of: (-of[1], of[0])))


def _percentiles(sums: Sums) -> dict[str, dict[str, float | None]]:
    return {
        "duration": _of_each(unpack(sums.durations), DURATIONS),
        "answer_delay_ms": _of_each(unpack(sums.answer_delays), ANSWER_DELAYS),
        "latency_ms": _of_each(unpack(sums.latencies), LATENCIES),
    }


def _of_each(buckets: Sequence[int], thresholds: Sequence[int]) -> dict[str, float | None]:
    return {name: percentile(buckets, thresholds, share) for name, share in PERCENTILES.items()}


_DISTRIBUTIONS: Final[Mapping[Distribution, Callable[[Sums], object]]] = {
    "percentiles": _percentiles,
    "hangup_causes": _hangup_causes,
}
