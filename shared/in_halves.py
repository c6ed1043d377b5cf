"""Dividing work that is too large to be done at once."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


async def in_halves(
    items: Sequence[_Item],
    attempt: Callable[[Sequence[_Item]], Awaitable[_Result]],
    faults: type[Exception] | tuple[type[Exception], ...],
) -> list[_Result]:
    """Attempts all items at once. Where that raises one of `faults`, it attempts each half, and so on.

    Returns the results of the attempts that succeeded, in the order of the items. Raises the fault of an
    attempt with one item or none, and any other exception; what was attempted before it stays done.
    """
    try:
        return [await attempt(items)]
    except faults:
        if len(items) <= 1:
            raise
    half = len(items) // 2
    return [
        *await in_halves(items[:half], attempt, faults),
        *await in_halves(items[half:], attempt, faults),
    ]
