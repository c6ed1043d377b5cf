"""The parts of a proof: the organizations that one snapshot proves."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from services.ops.proof.chunks import STATEMENT_SECONDS
from services.ops.proof.statements import OF_ONE_OR_ALL, OF_SHARD, Statements
from shared.database.connection import Connection
from shared.database.distributed import is_distributed

ORGANIZATIONS_AT_ONCE: Final = 1_000


@dataclass(frozen=True)
class Part:
    """The organizations (None: all), and their statements with the first parameter of each."""

    organizations: Collection[UUID] | None
    statements: Statements
    argument: UUID | Sequence[UUID] | None

    def has(self, organization_id: UUID) -> bool:
        return self.organizations is None or organization_id in self.organizations


async def parts(connection: Connection, organization_id: UUID | None) -> list[Part]:
    """The parts of the proof of one organization or of all: one part, but on a distributed database at least
    one per shard. Raises asyncpg's errors."""
    one = None if organization_id is None else [organization_id]
    if not await is_distributed(connection):
        return [Part(one, OF_ONE_OR_ALL, organization_id)]
    return [
        Part(frozenset(some), OF_SHARD, some) for some in ([one] if one else await _of_shards(connection))
    ]


async def _of_shards(connection: Connection) -> list[list[UUID]]:
    """All organizations that have any row, each time some of the same shard."""
    there: set[UUID] = set()
    for statement in _ORGANIZATIONS:
        there.update(id_ for (id_,) in await connection.fetch(statement, timeout=STATEMENT_SECONDS))
    shards = [ids for (ids,) in await connection.fetch(_BY_SHARD, list(there))]
    most = ORGANIZATIONS_AT_ONCE
    return [ids[n : n + most] for ids in shards for n in range(0, len(ids), most)] or [[]]


_ORGANIZATIONS: Final = (
    "SELECT id FROM organizations",
    *(
        f"SELECT DISTINCT organization_id FROM {table}"
        for table in (
            "calls",
            "call_events",
            "deleted_calls",
            "daily_call_counts",
            "daily_call_totals",
            "daily_call_deltas",
            "pruned_call_counts",
        )
    ),
)

_BY_SHARD: Final = """
SELECT array_agg(id ORDER BY id) FROM unnest($1::uuid[]) AS id
GROUP BY get_shard_id_for_distribution_column('calls', id)
ORDER BY get_shard_id_for_distribution_column('calls', id)
"""
