"""Work that is too large at once is divided until each part succeeds."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.in_halves import in_halves


class TooMuch(Exception):
    pass


@given(st.lists(st.integers(min_value=1, max_value=100)), st.integers(min_value=100, max_value=300))
async def test_every_item_is_done_once_in_its_order(weights: list[int], most: int) -> None:
    async def lift(some: Sequence[int]) -> list[int]:
        if sum(some) > most:
            raise TooMuch
        return list(some)

    parts = await in_halves(weights, lift, TooMuch)

    assert [weight for part in parts for weight in part] == weights
    assert all(sum(part) <= most for part in parts)
    assert len(parts) == 1 or sum(weights) > most


async def test_one_item_that_is_too_much_is_the_end() -> None:
    attempts: list[Sequence[str]] = []

    async def lift(some: Sequence[str]) -> None:
        attempts.append(some)
        if "anvil" in some:
            raise TooMuch

    with pytest.raises(TooMuch):
        await in_halves(["feather", "anvil", "pen"], lift, TooMuch)

    assert attempts == [["feather", "anvil", "pen"], ["feather"], ["anvil", "pen"], ["anvil"]]


async def test_other_faults_divide_nothing() -> None:
    attempts: list[Sequence[int]] = []

    async def fail(some: Sequence[int]) -> None:
        attempts.append(some)
        raise LookupError

    with pytest.raises(LookupError):
        await in_halves([1, 2], fail, (TooMuch, ValueError))

    assert attempts == [[1, 2]]
