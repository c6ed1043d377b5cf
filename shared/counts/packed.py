"""Packed numbers: many counts in one number, such as the buckets of a histogram. Pure.

Count n is the n-th group of decimal digits from the right, starting at 0. With 12 digits a group, 3 in group
0 and 5 in group 2 are 5000000000000000000000003. Sums and differences of packed numbers are those of their
counts. So PostgreSQL's numeric adds, subtracts and compares histograms like any other measure. A count may be
negative. Its absolute value must be smaller than half of what its digits can hold.
"""

from collections.abc import Iterable, Sequence
from decimal import Clamped, Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow
from typing import Final

DIGITS: Final = 12
"""The digits of a group that counts calls: enough for 500 billion calls."""

NINES: Final = 10**DIGITS - 1
"""The remainder of a packed number divided by this is the sum of its counts, as 111 modulo 9 is 3."""

EXACT: Final = Context(
    prec=100_000,
    traps=[Clamped, DivisionByZero, Inexact, InvalidOperation, Overflow],
    Emax=999_999,
    Emin=-999_999,
)
"""Decimal arithmetic that never rounds. Python's default context rounds beyond 28 digits."""

NOTHING: Final = Decimal(0)


def power(group: int, digits: int = DIGITS) -> Decimal:
    """A count of one in this group."""
    return Decimal((0, (1,), group * digits))


def pack(counts: Iterable[int], digits: int = DIGITS) -> Decimal:
    """These counts, the first in group 0, as one number."""
    packed = NOTHING
    for group, count in enumerate(counts):
        packed = EXACT.add(packed, EXACT.multiply(power(group, digits), count))
    return packed


def unpack(packed: str | Decimal, digits: int = DIGITS) -> list[int]:
    """The counts of a packed number (or of its text from PostgreSQL), up to the last nonzero one. Decimal
    places hold no count: a sum may have them (`5000.0000`), because numeric keeps the longest scale. Raises
    ValueError for `NaN` and `Infinity`."""
    text = packed if isinstance(packed, str) else f"{packed:f}"
    text = text.partition(".")[0]
    sign = -1 if text.startswith("-") else 1
    text = text.removeprefix("-")
    text = text.zfill(-(-len(text) // digits) * digits)
    counts = [int(text[start : start + digits]) for start in range(len(text) - digits, -1, -digits)]
    if max(counts) * 2 >= 10**digits:
        counts = _without_borrows(counts, 10**digits)
    while counts and not counts[-1]:
        counts.pop()
    return counts if sign > 0 else [-count for count in counts]


def _without_borrows(counts: Sequence[int], whole: int) -> list[int]:
    """The counts, some negative: each of these has borrowed one whole group from the group above it."""
    found: list[int] = []
    borrowed = 0
    for count in counts:
        borrowed = (count := count + borrowed) * 2 >= whole
        found.append(count - whole * borrowed)
    return [*found, 1] if borrowed else found
