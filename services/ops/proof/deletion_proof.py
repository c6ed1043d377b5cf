"""The proof of deletions: nothing is left of a deleted call."""

from collections.abc import Mapping
from typing import Any, Final

from services.ops.proof.chunks import chunks
from services.ops.proof.difference import Difference, Findings
from services.ops.proof.part import Part
from shared.calls.named_call import named_call
from shared.database.connection import Connection
from shared.store.quarantine import read_deleted

_NOT_LEFT: Final[Mapping[str, object]] = {"calls": 0, "events": 0, "quarantined records": 0}
"""The numbers of rows that must be left of a deleted call."""


async def prove_tombstones(connection: Connection, part: Part, found: Findings) -> None:
    """Proves that nothing is left of a deleted call: no row, no event, and no quarantined record with
    content."""
    async for rows in chunks(connection, part.statements.tombstones_with_calls, part.argument):
        for owner, call_id, *counts in rows:
            stored = dict(zip(_NOT_LEFT, counts, strict=True))
            found.add(Difference("tombstone", owner, stored, _NOT_LEFT, call_id))
    statement = part.statements.quarantined_of_unknown_calls
    async for rows in chunks(connection, statement, part.argument, length_of=_value_length):
        for _, key, value in rows:
            for owner, call_id in sorted(await read_deleted(connection, named_call(key, value).tombstones)):
                if part.has(owner):
                    left = {"quarantined records": 1}
                    found.add(Difference("tombstone", owner, left, {"quarantined records": 0}, call_id))


def _value_length(row: Any) -> int:
    return len(row["value"] or b"")
