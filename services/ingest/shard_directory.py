"""The servers and shards of organizations in a distributed database, as ingest knows them.

These places are hints. A server of Citus passes on a statement that it gets by mistake, and the result is the
same. So shards may be moved and split at any time. A server that has left Citus still answers, by its old
places: a batch counts as stored once `confirm` has found its servers.
"""

import math
from collections.abc import Collection, Mapping, Set
from typing import Final
from uuid import UUID

from shared.database.connection import Connection
from shared.database.distributed import servers

LEARN_SECONDS: Final = 60
"""The interval at which the places of shards are read again."""
ORGANIZATIONS_MAX: Final = 100_000
"""The most organizations that are remembered."""


class ShardDirectory:
    """Knows what `learn` has read. Until then, it knows nothing."""

    def __init__(self, url: str) -> None:
        """`url` is that of the connections that `learn` takes."""
        self._url = url
        self._read_at_seconds = -math.inf
        self._shards: dict[UUID, int] = {}
        self._urls: Mapping[int, str] = {}
        self._there: Set[str] = frozenset()

    def forget(self) -> None:
        """Makes the next `learn` read the places of the shards again."""
        self._read_at_seconds = -math.inf

    def avoid(self, url: str) -> None:
        """Sends what is of a server to that of the directory, until the places are read again."""
        self._urls = {shard: self._url if one == url else one for shard, one in self._urls.items()}

    def knows(self, organizations: Set[UUID], now_seconds: float) -> bool:
        """Whether `learn` would read nothing."""
        is_fresh = now_seconds - self._read_at_seconds < LEARN_SECONDS
        return is_fresh and self._shards.keys() >= organizations

    async def learn(
        self, connection: Connection, organizations: Collection[UUID], now_seconds: float
    ) -> None:
        """Reads the places of the shards if that was long ago, and the shards of unknown organizations.
        Raises asyncpg's errors."""
        if now_seconds - self._read_at_seconds >= LEARN_SECONDS:
            urls = {one.group: one.url for one in await servers(connection, self._url)}
            placed = {shard: group for shard, group in await connection.fetch(_PLACEMENTS)}  # noqa: C416
            if placed.keys() != self._urls.keys():  # a shard was split
                self._shards.clear()
            self._urls = {shard: urls.get(group, self._url) for shard, group in placed.items()}
            self._read_at_seconds = now_seconds
        if len(self._shards) > ORGANIZATIONS_MAX:
            self._shards.clear()
        if unknown := [one for one in organizations if one not in self._shards]:
            for organization_id, shard in await connection.fetch(_SHARDS, unknown):
                self._shards[organization_id] = shard

    async def confirm(self, connection: Connection) -> None:
        """Reads which servers are in Citus now. Raises asyncpg's errors."""
        self._there = {self._url, *(one.url for one in await servers(connection, self._url))}

    def is_there(self, url: str) -> bool:
        """Whether `confirm` has found a server. Then all that was sent to it before is stored."""
        return url in self._there

    @property
    def urls(self) -> Set[str]:
        """The URLs of the servers with shards."""
        return set(self._urls.values())

    def shard_of(self, organization_id: UUID) -> int | None:
        """The shard of an organization; None if it is unknown."""
        return self._shards.get(organization_id)

    def url_of(self, organization_id: UUID) -> str:
        """The URL of an organization's server; that of the directory if it is unknown."""
        shard = self._shards.get(organization_id)
        return self._url if shard is None else self._urls.get(shard, self._url)


_PLACEMENTS: Final = """
SELECT shardid, groupid FROM pg_dist_shard JOIN pg_dist_placement USING (shardid)
WHERE logicalrelid = 'calls'::regclass
"""

_SHARDS: Final = """
SELECT organization_id, get_shard_id_for_distribution_column('calls', organization_id)
FROM unnest($1::uuid[]) AS organization_id
"""
