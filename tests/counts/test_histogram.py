"""Histograms: statistics of the values counted in them."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.counts.histogram import (
    ANSWER_DELAYS,
    DURATIONS,
    LATENCIES,
    below,
    bucket,
    limits,
    percentile,
    representative,
)

WITHIN = 0.05 + 1e-9
ALL = {"durations": DURATIONS, "answer_delays": ANSWER_DELAYS, "latencies": LATENCIES}
thresholds_of = pytest.mark.parametrize("thresholds", ALL.values(), ids=ALL)


def histogram(values: list[int], thresholds: tuple[int, ...]) -> list[int]:
    buckets = [0] * (len(thresholds) + 1)
    for value in values:
        buckets[bucket(value, thresholds)] += 1
    return buckets


@thresholds_of
def test_every_value_but_the_lowest_and_highest_is_told_within_5_percent(thresholds: tuple[int, ...]) -> None:
    for index in range(1, len(thresholds)):
        for value in (thresholds[index - 1], thresholds[index] - 1):
            assert bucket(value, thresholds) == index
            assert representative(index, thresholds) == pytest.approx(value, rel=WITHIN)


@thresholds_of
def test_there_are_few_buckets_and_none_is_empty(thresholds: tuple[int, ...]) -> None:
    assert len(thresholds) < 100
    assert list(thresholds) == sorted(set(thresholds))


def test_the_thresholds_never_change() -> None:
    """Other thresholds would change the meaning of stored histograms."""
    assert [(len(some), sum(some), some[0], some[-1]) for some in ALL.values()] == [
        (98, 928_744, 1, 86_400),
        (92, 6_911_768, 100, 600_000),
        (88, 645_990, 10, 60_000),
    ]


def test_short_durations_are_told_exactly() -> None:
    assert [representative(bucket(seconds, DURATIONS), DURATIONS) for seconds in range(10)] == list(range(10))


def test_the_first_bucket_is_told_as_its_middle_and_the_last_as_its_beginning() -> None:
    assert representative(0, ANSWER_DELAYS) == 49.5
    assert representative(len(ANSWER_DELAYS), ANSWER_DELAYS) == 600_000
    assert representative(bucket(10**9, DURATIONS), DURATIONS) == 86_400


def test_percentiles_are_by_the_nearest_rank() -> None:
    buckets = histogram([1, 2, 3, 4, 5, 6, 7, 8, 9, 9], DURATIONS)
    shares = (0.01, 0.1, 0.11, 0.5, 0.8, 0.81, 1.0)
    assert [percentile(buckets, DURATIONS, share) for share in shares] == [1, 1, 2, 5, 8, 9, 9]
    one_each = [1] * 100
    assert percentile(one_each, range(1, 100), 0.07) == 6, "the 7th, though 0.07 * 100 is above 7 in binary"


def test_of_nothing_there_is_no_percentile() -> None:
    assert percentile([], LATENCIES, 0.5) is None
    assert percentile([0, 0], LATENCIES, 0.5) is None


@given(
    st.lists(st.integers(0, 86_399), min_size=1, max_size=200),
    st.sampled_from([0.01, 0.25, 0.5, 0.9, 0.95, 0.99, 1.0]),
)
def test_a_percentile_is_within_5_percent_of_the_true_one(values: list[int], share: float) -> None:
    true = sorted(values)[math.ceil(Fraction(str(share)) * len(values)) - 1]
    answered = percentile(histogram(values, DURATIONS), DURATIONS, share)
    assert answered == pytest.approx(true, rel=WITHIN)


def test_what_lies_below_a_threshold_is_exact() -> None:
    buckets = histogram([0, 5, 6, 7, 29, 30], DURATIONS)
    assert [below(buckets, DURATIONS, seconds) for seconds in (6, 30, 60)] == [2, 5, 6]
    assert below([1], DURATIONS, 6) == 1
    with pytest.raises(ValueError, match="11 is not a threshold"):
        below(buckets, DURATIONS, 11)


@given(st.lists(st.integers(0, 200_000) | st.integers(0, 9), max_size=50))
def test_the_total_lies_within_the_limits(values: list[int]) -> None:
    least, most = limits(histogram(values, DURATIONS), DURATIONS)

    assert least <= sum(values) <= most
    if all(value < 10 for value in values):
        assert least == most, "each of these is a bucket of its own"
    assert math.isinf(most) == any(value >= 86_400 for value in values)
