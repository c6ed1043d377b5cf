"""Histograms: in which bucket a value is counted, and what the buckets tell of all values. Pure.

A histogram is kept as a packed number (`shared.counts.packed`) of calls by bucket. Bucket 0 is below the
first threshold, bucket n from threshold n - 1 up to, and without, threshold n; the last one is open.
Thresholds never change: what is stored would mean something else.

What is told of a bucket is within 5% of every value in it, but in the first and the last: the first is told
as its middle, the last as its beginning.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from decimal import Decimal
from typing import Final


def _thresholds(first: int, last: int, *others: int) -> tuple[int, ...]:
    """From `first` to `last`, as few as tell each value within 5%; `others` are thresholds in any case, so
    that what lies below each of them is known exactly."""
    thresholds = [first]
    while (begin := thresholds[-1]) < last:
        # The middle of a to b by their reciprocals, 2ab / (a + b), is off by (b - a) / (b + a) of either:
        # within 1/20 as long as b is up to 21/19 of a.
        end = begin * 21 // 19 + 1
        thresholds.append(min(end, last, *(other for other in others if other > begin)))
    return tuple(thresholds)


DURATIONS: Final = _thresholds(1, 86_400, 6, 15, 30, 60, 120, 300, 600, 1_800, 3_600)
"""Seconds; each whole number below 10 is a bucket of its own."""
ANSWER_DELAYS: Final = _thresholds(
    100, 600_000, 1_000, 5_000, 10_000, 15_000, 20_000, 30_000, 60_000, 120_000
)
"""Milliseconds."""
LATENCIES: Final = _thresholds(10, 60_000, 100, 200, 500, 800, 1_000, 2_000, 5_000)
"""Milliseconds."""


def bucket(value: int, thresholds: Sequence[int]) -> int:
    """The bucket that a value is counted in: PostgreSQL's `width_bucket(value, thresholds)`."""
    return bisect_right(thresholds, value)


def representative(index: int, thresholds: Sequence[int]) -> float:
    """The value that stands for a bucket; it is exact where the bucket has one whole number alone."""
    if index == 0:
        return (thresholds[0] - 1) / 2
    first = thresholds[index - 1]
    if index == len(thresholds):
        return float(first)
    last = thresholds[index] - 1
    return 2 * first * last / (first + last)


def percentile(buckets: Sequence[int], thresholds: Sequence[int], share: float) -> float | None:
    """The value that this share of all (above 0, up to 1: 0.95) does not exceed, by the nearest rank: the
    representative of its bucket. None without any. `buckets` are calls by bucket, trailing zeros left out or
    not."""
    rank = math.ceil(Decimal(str(share)) * sum(buckets))  # as it is written: 0.07 * 100 is above 7 in binary
    if rank <= 0:
        return None
    counted = 0
    for index, calls in enumerate(buckets):
        counted += calls
        if counted >= rank:
            return representative(index, thresholds)
    raise AssertionError("the sum of all buckets is at least any rank")


def limits(buckets: Sequence[int], thresholds: Sequence[int]) -> tuple[int, float]:
    """The least and the most that all counted values can add up to; the most is infinite with values in the
    last bucket. `buckets` are calls by bucket, none below 0."""
    firsts, lasts = (0, *thresholds), (*(threshold - 1 for threshold in thresholds), math.inf)
    return (
        sum(calls * first for calls, first in zip(buckets, firsts, strict=False)),
        sum(calls * last for calls, last in zip(buckets, lasts, strict=False) if calls),
    )


def below(buckets: Sequence[int], thresholds: Sequence[int], value: int) -> int:
    """How many values are smaller than this one, exactly. Raises ValueError where it is no threshold."""
    if value not in thresholds:
        raise ValueError(f"{value} is no threshold: what lies below it is not known exactly")
    return sum(buckets[: bucket(value, thresholds)])
