"""The proof of the counts: each is a recount of the calls."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from services.ops.proof.chunks import chunks
from services.ops.proof.difference import Difference, Findings
from services.ops.proof.part import Part
from shared.counts.cell import PACKED_DIGITS, Cell, Measures
from shared.counts.packed import unpack
from shared.database.connection import Connection


async def prove_cells(connection: Connection, part: Part, found: Findings) -> int:
    """Compares counts plus deltas, and totals plus deltas, with a recount of the calls, in one statement.
    Returns the number of cells. In a finding, the cell of a total has no phone number id."""
    cells = 0
    width, measures = len(Cell._fields), len(Measures._fields)
    async for rows in chunks(connection, part.statements.cells, part.argument):
        for row in rows:
            cells, off = row[0], tuple(row[1:])
            if off[0] is None:
                continue  # the only row, when nothing differs
            cell = dict(zip(Cell._fields, off, strict=False))
            stored = _readable(off[width : width + measures])
            expected = _readable(off[width + measures :])
            found.add(Difference("cell", off[0], stored, expected, cell=cell))
    return cells


def _readable(measures: Sequence[Any]) -> dict[str, object]:
    """The measures by name. A packed measure is unpacked into the counts of its groups, without zeros. A
    column that is not a finite number (`NaN`, `Infinity`) is given as its text."""
    named: dict[str, object] = dict(zip(Measures._fields, measures, strict=True))
    for name, measure in zip(Measures._fields, measures, strict=True):
        if isinstance(measure, Decimal) and not measure.is_finite():
            named[name] = str(measure)
        elif name in PACKED_DIGITS:
            counts = unpack(measure, PACKED_DIGITS[name])
            named[name] = {group: count for group, count in enumerate(counts) if count}
    return named
