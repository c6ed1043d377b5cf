"""Deltas: changes of the counts, summed per cell. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import localcontext
from functools import reduce
from operator import add, neg
from typing import Any

from shared.counts.cell import Cell, Counted, Measures
from shared.counts.packed import EXACT


class Deltas:
    """Signed changes summed per cell, so that a busy cell is one row for any number of calls."""

    def __init__(self) -> None:
        self._of_cell: defaultdict[Cell, list[Measures]] = defaultdict(list)

    def add(self, now: Counted) -> None:
        """Adds the measures of a call's new state."""
        self._of_cell[now.cell].append(now.measures)

    def take(self, before: Counted) -> None:
        """Subtracts the measures of a call's previous state."""
        # One call's numbers have few nonzero digits, so Python's default context does not round them.
        measures: tuple[Any, ...] = before.measures
        self._of_cell[before.cell].append(Measures._make(map(neg, measures)))

    def changes(self) -> Mapping[Cell, Measures]:
        """The cells that change, with their changes."""
        with localcontext(EXACT):  # one for all sums: it costs as much as a sum
            sums = {cell: _sum(each) for cell, each in self._of_cell.items()}
        return {cell: measures for cell, measures in sums.items() if any(measures)}


def _sum(each: list[Measures]) -> Measures:
    if len(each) == 1:
        return each[0]
    measures: Iterable[tuple[Any, ...]] = zip(*each, strict=True)
    # Not `sum`: it begins at 0, and a Decimal plus 0 writes out all its zeros.
    return Measures._make([reduce(add, those) for those in measures])
