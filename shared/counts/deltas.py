"""Deltas: changes of the counts, summed per cell. Pure."""

from collections.abc import Mapping
from operator import add, neg
from typing import Any, Final

from shared.counts.cell import PACKED_DIGITS, Cell, Counted, Measures
from shared.counts.packed import EXACT


class Deltas:
    """Signed changes summed per cell, so that a busy cell is one row for any number of calls."""

    def __init__(self) -> None:
        self._sums: dict[Cell, Measures] = {}

    def add(self, now: Counted) -> None:
        """Adds the measures of a call's new state."""
        before = self._sums.get(now.cell)
        self._sums[now.cell] = now.measures if before is None else _sum(before, now.measures)

    def take(self, before: Counted) -> None:
        """Subtracts the measures of a call's previous state."""
        # One call's numbers have few nonzero digits, so Python's default context does not round them.
        measures: tuple[Any, ...] = before.measures
        self.add(Counted(before.cell, Measures._make(map(neg, measures))))

    def changes(self) -> Mapping[Cell, Measures]:
        """The cells that change, with their changes."""
        return {cell: measures for cell, measures in self._sums.items() if any(measures)}


def _sum(a: Measures, b: Measures) -> Measures:
    return Measures._make((*map(add, a[:_PACKED], b[:_PACKED]), *map(EXACT.add, a[_PACKED:], b[_PACKED:])))


_PACKED: Final = len(Measures._fields) - len(PACKED_DIGITS)
