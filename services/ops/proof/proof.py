"""The proof: in one snapshot of a live system, the counts are a recount of the calls, and every call is the
fold of its events.

One REPEATABLE READ, READ ONLY transaction sees one state of the database while ingest, aggregator and
deletes continue; it takes no lock that they wait for. Calls and events are streamed side by side in the
order of their keys, so memory does not depend on their number.

A distributed database has no snapshot of all its servers. There each organization is proved in one snapshot,
together with others of its shard.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from services.ops.proof import statements
from services.ops.proof.call_proof import Sample, prove_calls
from services.ops.proof.cell_proof import prove_cells
from services.ops.proof.chunks import STATEMENT_SECONDS
from services.ops.proof.deletion_proof import prove_tombstones
from services.ops.proof.difference import Difference, Findings, some_of_both
from services.ops.proof.organization_zones import read_zones
from services.ops.proof.part import Part, parts
from shared.database.connection import Connection, connect

Progress = Callable[[int, int | None], None]
"""Receives the number of proved calls, and the approximate total where it is known."""


@dataclass(frozen=True)
class Proof:
    """The result of a proof, and the time of its first snapshot. Of many differences only the first are kept:
    those of calls and events come first, then those of cells, which most often follow from them."""

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
    snapshots: int = 1
    """The number of snapshots. Each organization was proved in one of them."""

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
    found = Findings()
    proved: list[_Proved] = []
    expected, sample = None, None
    if sample_calls is not None:
        there = await _count_calls(connection, organization_id)
        expected = min(sample_calls, there)
        sample = Sample(min(100.0, 100 * sample_calls / max(there, 1)), random.random())  # noqa: S311
    for part in await parts(connection, organization_id):
        before = sum(one.calls for one in proved)

        def report(calls: int, approximately: int | None, before: int = before) -> None:
            if progress is not None:
                progress(before + calls, approximately if expected is None else expected)

        proved.append(await _prove_part(connection, part, sample, found, report))
    return Proof(
        proved[0].snapshot,
        sum(one.cells for one in proved),
        sum(one.calls for one in proved),
        sum(one.events for one in proved),
        sum(one.deltas for one in proved),
        sum(one.tombstones for one in proved),
        found.kept(),
        found.count,
        sample is not None,
        folded_by_older_laws=found.older_laws,
        placed_by_other_rules=found.placed_by_other_rules,
        snapshots=len(proved),
    )


class _Proved(NamedTuple):
    """The snapshot of a part, and its numbers of rows."""

    snapshot: datetime
    cells: int
    calls: int
    events: int
    deltas: int
    tombstones: int


async def _prove_part(
    connection: Connection, part: Part, sample: Sample | None, found: Findings, report: Progress
) -> _Proved:
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(statements.PLAN_FOR_THE_WHOLE)
        about: Any = await connection.fetchrow(
            part.statements.snapshot, part.argument, timeout=STATEMENT_SECONDS
        )
        snapshot, deltas, tombstones, calls_expected = about
        zones = await read_zones(connection, part, found)
        cells = await prove_cells(connection, part, found)
        await prove_tombstones(connection, part, found)
        expected = calls_expected if part.organizations is None and calls_expected > 0 else None
        calls, events = await prove_calls(
            connection, part, sample, zones, found, lambda calls: report(calls, expected)
        )
    return _Proved(snapshot, cells, calls, events, deltas, tombstones)


async def _count_calls(connection: Connection, organization_id: UUID | None) -> int:
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(statements.PLAN_FOR_THE_WHOLE)
        there: int = await connection.fetchval(
            statements.CALLS_COUNT, organization_id, timeout=STATEMENT_SECONDS
        )
    return there
