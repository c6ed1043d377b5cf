"""Histograms: the bucket of a value, and statistics from the buckets. Pure.

A histogram is stored as a packed number (`shared.counts.packed`) of calls by bucket. Bucket 0 is below the
first threshold. Bucket n runs from threshold n - 1 up to, but excluding, threshold n; the last bucket is
open. Thresholds never change, because stored numbers would change their meaning.

The representative of a bucket is within 5% of every value in it, except in the first and the last bucket. The
first is represented by its middle, the last by its start.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from decimal import Decimal
from typing import Final


def _thresholds(first: int, last: int, *others: int) -> tuple[int, ...]:
    """The fewest thresholds from `first` to `last` that represent each value within 5%. `others` are always
    among them, so that the number of values below each of these is exact."""
    thresholds = [first]
    while (begin := thresholds[-1]) < last:
        # The harmonic mean of a and b, 2ab / (a + b), differs from either by the share (b - a) / (b + a): at
        # most 1/20 as long as b is at most 21/19 of a.
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
    """The value that represents a bucket. It is exact if the bucket covers a single whole number."""
    if index == 0:
        return (thresholds[0] - 1) / 2
    first = thresholds[index - 1]
    if index == len(thresholds):
        return float(first)
    last = thresholds[index] - 1
    return 2 * first * last / (first + last)


def percentile(buckets: Sequence[int], thresholds: Sequence[int], share: float) -> float | None:
    """The value that this share of all values (above 0, up to 1, such as 0.95) does not exceed, by nearest
    rank: the representative of its bucket. None without values. `buckets` are calls by bucket; trailing zeros
    may be left out."""
    rank = math.ceil(Decimal(str(share)) * sum(buckets))  # in decimal: 0.07 * 100 exceeds 7 in binary
    if rank <= 0:
        return None
    counted = 0
    for index, calls in enumerate(buckets):
        counted += calls
        if counted >= rank:
            return representative(index, thresholds)
    raise AssertionError("the sum of all buckets is at least any rank")


def limits(buckets: Sequence[int], thresholds: Sequence[int]) -> tuple[int, float]:
    """The lowest and highest possible sum of all counted values. The highest is infinite with values in the
    last bucket. `buckets` are calls by bucket, none negative."""
    lowest, highest = 0, 0.0
    for index, calls in enumerate(buckets):
        if calls:
            lowest += calls * (thresholds[index - 1] if index else 0)
            highest += calls * (thresholds[index] - 1 if index < len(thresholds) else math.inf)
    return lowest, highest


def below(buckets: Sequence[int], thresholds: Sequence[int], value: int) -> int:
    """The exact number of values smaller than this one. Raises ValueError if it is not a threshold."""
    if value not in thresholds:
        raise ValueError(f"{value} is not a threshold: the number of values below it is not known exactly")
    return sum(buckets[: bucket(value, thresholds)])
