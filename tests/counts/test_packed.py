"""Many counts in one number: packed, unpacked and added."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.counts.packed import DIGITS, EXACT, NINES, pack, power, unpack

LARGEST = 10**DIGITS // 2 - 1
counts = st.lists(st.integers(-LARGEST // 4, LARGEST // 4), max_size=110)


def trimmed(some: list[int]) -> list[int]:
    return some[: max((n + 1 for n, count in enumerate(some) if count), default=0)]


def added(some: list[int], others: list[int]) -> list[int]:
    length = max(len(some), len(others))
    padded = ([*one, *[0] * (length - len(one))] for one in (some, others))
    return [a + b for a, b in zip(*padded, strict=True)]


def test_each_count_has_digits_of_its_own() -> None:
    assert pack([3, 0, 5]) == Decimal(5000000000000000000000003)
    assert unpack("5000000000000000000000003") == [3, 0, 5]
    assert pack([7, 1], digits=4) == 10_007
    assert power(2, digits=4) == 100_000_000


@pytest.mark.parametrize(
    "some", [[], [0], [-1], [1, -1], [-1, 1], [LARGEST] * 3, [-LARGEST, LARGEST], [0, -2]]
)
def test_what_is_packed_can_be_taken_apart(some: list[int]) -> None:
    assert unpack(pack(some)) == trimmed(some)


@given(counts, st.sampled_from([".0", ".0000"]))
def test_the_scale_of_a_numeric_is_no_count(some: list[int], decimals: str) -> None:
    text = f"{pack(some):f}{decimals}"
    assert unpack(text) == unpack(Decimal(text)) == trimmed(some)


@given(counts, st.sampled_from([12, 20, 24]))
def test_any_counts_come_back(some: list[int], digits: int) -> None:
    packed = pack(some, digits)
    assert unpack(packed, digits) == unpack(f"{packed:f}", digits) == trimmed(some)


@given(counts, counts)
def test_sums_and_differences_are_those_of_the_counts(some: list[int], others: list[int]) -> None:
    one, other = pack(some), pack(others)
    assert unpack(EXACT.add(one, other)) == trimmed(added(some, others))
    assert unpack(EXACT.subtract(one, other)) == trimmed(added(some, [-count for count in others]))
    assert EXACT.subtract(EXACT.add(one, other), other) == one


@given(st.lists(st.integers(0, 10**9), max_size=70))
def test_the_remainder_is_the_sum_of_the_counts(some: list[int]) -> None:
    assert EXACT.remainder(pack(some), Decimal(NINES)) == sum(some)
