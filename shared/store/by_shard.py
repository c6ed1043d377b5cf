"""Statements over calls of many organizations, one for each shard of a distributed database.

Citus sends a statement over arrays of keys to every shard. It sends one that also names the organizations
of a single shard to that shard alone. On one PostgreSQL, a shorter statement does.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar
from uuid import UUID

_Item = TypeVar("_Item")

ShardOf = Callable[[UUID], int | None]
"""The shard of an organization, as far as it is known. A wrong shard costs time, and changes no result."""

KEYS: Final = "unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS key(organization_id, call_id, n)"
"""Organizations and ids of calls, in two arrays, with their numbers from 1."""


class Part(NamedTuple, Generic[_Item]):
    """The items of one shard, in their order, and their organizations; None: the database has no shards."""

    items: Sequence[_Item]
    organizations: Sequence[UUID] | None


def by_shard(
    items: Sequence[_Item], organization_of: Callable[[_Item], UUID], shard_of: ShardOf | None
) -> Sequence[Part[_Item]]:
    """Parts the items by the shard of their organizations; without `shard_of`, they are one part. All writers
    use the same order of shards, so that concurrent ones rarely deadlock."""
    if shard_of is None:
        return [Part(items, None)]
    parts: defaultdict[int | None, list[_Item]] = defaultdict(list)
    for item in items:
        parts[shard_of(organization_of(item))].append(item)
    ordered = sorted(parts, key=lambda shard: -1 if shard is None else shard)
    return [Part(parts[shard], list(dict.fromkeys(map(organization_of, parts[shard])))) for shard in ordered]


class ByShard(NamedTuple):
    """A statement in two forms. The last two parameters of `in_shard` are those of `in_organizations`."""

    everywhere: str
    in_shard: str

    def of(self, organizations: Sequence[UUID] | None, *arguments: Any) -> tuple[Any, ...]:
        """The form for a part, and its arguments."""
        if organizations is None:
            return (self.everywhere, *arguments)
        return (self.in_shard, *arguments, organizations, organizations[0])


def in_organizations(column: str, n: int) -> str:
    """The condition by which Citus finds the shard. Parameter `n` are organizations of one shard, the next
    one is any of them.

    The second half says nothing new. It keeps all organizations out of the index condition. PostgreSQL would
    try each of them for each key."""
    return f"({column} = ANY(${n}::uuid[]) OR {column} = ${n + 1}::uuid)"


def found_by_key(columns: str, table: str, call_id: str, n: int) -> str:
    """The rows of a table for each of `KEYS`, as `found`, `in_organizations` of parameter `n`. OFFSET makes
    PostgreSQL look up each key, even in a table that was never analyzed."""
    return f"""{KEYS}, LATERAL (
    SELECT {columns} FROM {table} AS stored
    WHERE stored.organization_id = key.organization_id AND stored.{call_id} = key.call_id
        AND {in_organizations("stored.organization_id", n)}
    OFFSET 0
) AS found"""
