"""The proof: in one snapshot of a live system, the counts are a recount of the calls, and every call is the
fold of its events.

One REPEATABLE READ, READ ONLY transaction sees one state of the database while ingest, aggregator and
deletes continue; it takes no lock that they wait for. Calls and events are streamed side by side in the
order of their keys, so memory does not depend on their number.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from services.ops.proof import statements
from services.ops.proof.call_proof import prove_calls
from services.ops.proof.cell_proof import prove_cells
from services.ops.proof.chunks import STATEMENT_SECONDS
from services.ops.proof.deletion_proof import prove_tombstones
from services.ops.proof.difference import Difference, Findings, some_of_both
from services.ops.proof.organization_zones import read_zones
from shared.database.connection import Connection, connect

Progress = Callable[[int, int | None], None]
"""Receives the number of proved calls, and the approximate total where it is known."""


@dataclass(frozen=True)
class Proof:
    """The result of a proof, and its snapshot. Of many differences only the first are kept: those of calls
    and events come first, then those of cells, which most often follow from them."""

    snapshot: datetime
    cells: int
    calls: int
    events: int
    deltas: int
    tombstones: int
    differences: tuple[Difference, ...]
    differences_found: int
    sampled: bool = False
    """Whether only a sample of the calls was proved. A sample does not find events without a call."""
    folded_by_older_laws: int = 0
    """The number of calls that an older version folded, and that `refold` has yet to fold by the current
    laws. The proof covers their counts, but not their fields. They are not among the differences."""
    placed_by_other_rules: Mapping[UUID, int] = field(default_factory=dict)
    """By organization: the number of correct calls whose day or hour comes from other time-zone rules. They
    are not among the differences."""

    @property
    def exact(self) -> bool:
        """Whether everything that was examined is proved."""
        return (
            self.differences_found == 0 and not self.folded_by_older_laws and not self.placed_by_other_rules
        )

    def first_differences(self, count: int) -> Sequence[Difference]:
        """At most `count` differences, some of both kinds where both exist."""
        cells = [one for one in self.differences if one.kind == "cell"]
        return some_of_both(self.differences[: len(self.differences) - len(cells)], cells, count)


async def prove(
    database_url: str, organization_id: UUID | None = None, progress: Progress | None = None
) -> Proof:
    """Proves a database, or one organization of it. Raises asyncpg's errors and OSError."""
    connection = await connect(database_url, application_name="callfold-verify")
    try:
        return await prove_connection(connection, organization_id, progress)
    finally:
        await connection.close(timeout=5)


async def prove_connection(
    connection: Connection,
    organization_id: UUID | None = None,
    progress: Progress | None = None,
    *,
    sample_calls: int | None = None,
) -> Proof:
    """Proves every cell and every call, or about `sample_calls` calls chosen at random. The connection must
    not be in a transaction."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(statements.PLAN_FOR_THE_WHOLE)
        found = Findings()
        about: Any = await connection.fetchrow(
            statements.SNAPSHOT, organization_id, timeout=STATEMENT_SECONDS
        )
        snapshot, deltas, tombstones, calls_expected = about
        zones = await read_zones(connection, organization_id, found)
        cells = await prove_cells(connection, organization_id, found)
        await prove_tombstones(connection, organization_id, found)
        report = progress or (lambda _proved, _expected: None)
        expected = calls_expected if organization_id is None and calls_expected > 0 else None
        sample = None
        if sample_calls is not None:
            there = await connection.fetchval(
                statements.CALLS_COUNT, organization_id, timeout=STATEMENT_SECONDS
            )
            expected = min(sample_calls, there)
            sample = min(100.0, 100 * sample_calls / max(there, 1)), random.random()  # noqa: S311
        calls, events = await prove_calls(
            connection, organization_id, sample, zones, found, lambda proved: report(proved, expected)
        )
    return Proof(
        snapshot,
        cells,
        calls,
        events,
        deltas,
        tombstones,
        found.kept(),
        found.count,
        sample is not None,
        folded_by_older_laws=found.older_laws,
        placed_by_other_rules=found.placed_by_other_rules,
    )
