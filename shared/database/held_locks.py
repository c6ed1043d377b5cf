"""Advisory locks that exclude each other on all servers of a distributed database.

An advisory lock belongs to one server. So these locks are taken at a server that the statement itself names,
by an organization: Citus routes it there, within the caller's transaction. On one PostgreSQL, it is that
server.
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from shared.database.connection import AnyConnection, Connection
from shared.database.distributed import is_distributed
from shared.database.locks import CALL_LOCKS

AT_SERVER: Final = (
    "(SELECT count(*) FROM (SELECT 1 FROM calls WHERE organization_id = {} LIMIT 0) AS none) AS there"
)
"""A FROM clause of one row. It makes Citus evaluate the statement at the server of an organization, which
needs no rows."""

COORDINATOR: Final = 0
"""The coordinator's group in Citus."""


class NotEverywhere(Exception):
    """A lock cannot be taken on every server. The text is a sentence without its period."""


async def hold_alone(connection: AnyConnection, key: int, *, seconds: float | None = None) -> None:
    """Takes a lock alone until the caller's transaction ends, waiting for it at most so long."""
    await connection.execute(_ALONE, key, timeout=seconds)


async def share_locks_of_calls(connection: AnyConnection, buckets: Sequence[int]) -> None:
    """Shares these `CALL_LOCKS`, in their order, until the caller's transaction ends."""
    await connection.execute(_SHARE_CALLS, CALL_LOCKS, buckets)


async def hold_lock_of_calls(connection: AnyConnection, bucket: int) -> None:
    """Takes one of the `CALL_LOCKS` alone until the caller's transaction ends."""
    await connection.execute(_CALLS_ALONE, CALL_LOCKS, bucket)


async def hold_on_each_server(
    connection: Connection, key: int, organization_id: UUID, *, seconds: float
) -> None:
    """Takes a lock alone, where the connection is and on each other server, until the caller's transaction
    ends on that server. The organization's shards stay where they are until then.

    Raises NotEverywhere, and asyncpg's errors. If a server is lost later, the transaction cannot commit."""
    is_on_several = await is_distributed(connection)
    if is_on_several and not await connection.fetchval(_IS_COORDINATOR):
        raise NotEverywhere("This server is a worker of Citus; connect to the coordinator")
    await connection.execute(
        _ALONE_HERE, key, timeout=seconds
    )  # the first one: only one waits for the others
    if not is_on_several:
        return
    await keep_in_place(connection, organization_id)
    own = await connection.fetchval(_GROUP, organization_id)
    if own != COORDINATOR:
        await connection.execute(_ALONE_OF, key, organization_id, timeout=seconds)
    held = {COORDINATOR, own}
    while waiting := [one for one in await connection.fetch(_OTHERS, _DRAWN) if one["groupid"] not in held]:
        for group, host, port, placed in waiting:
            if placed is None:
                raise NotEverywhere(
                    f"Server {host}:{port} has no organization by which its lock could be taken; move shards "
                    "there, or remove it"
                )
            await connection.execute(_ALONE_OF, key, placed, timeout=seconds)
            if await connection.fetchval(_GROUP, placed) == group:  # otherwise its shard was just moved
                held.add(group)


async def keep_in_place(connection: Connection, organization_id: UUID) -> None:
    """Keeps the organization's shards on their server until the caller's transaction ends. The database must
    be distributed. A reading statement alone would not."""
    await connection.execute(_WRITE_NOTHING, organization_id)


# The nil UUID is no organization. It stands for one server, the same for all connections.
_AT_ONE_SERVER: Final = AT_SERVER.format(f"'{UUID(int=0)}'")

_ALONE: Final = f"SELECT pg_advisory_xact_lock($1) FROM {_AT_ONE_SERVER}"

_SHARE_CALLS: Final = f"""
SELECT pg_advisory_xact_lock_shared($1, bucket) FROM unnest($2::integer[]) AS bucket, {_AT_ONE_SERVER}
"""

_CALLS_ALONE: Final = f"SELECT pg_advisory_xact_lock($1, $2) FROM {_AT_ONE_SERVER}"

_ALONE_HERE: Final = "SELECT pg_advisory_xact_lock($1)"

_ALONE_OF: Final = f"SELECT pg_advisory_xact_lock($1) FROM {AT_SERVER.format('$2')}"

_IS_COORDINATOR: Final = f"SELECT groupid = {COORDINATOR} FROM pg_dist_local_group"

_GROUP: Final = """
SELECT groupid FROM pg_dist_placement
WHERE shardid = get_shard_id_for_distribution_column('calls', $1::uuid)
"""

_DRAWN: Final = 2_000
"""The number of random organizations among which each server finds one of its own."""

_OTHERS: Final = """
SELECT node.groupid, node.nodename, node.nodeport, placed.id
FROM pg_dist_node AS node
LEFT JOIN (
    SELECT DISTINCT ON (groupid) groupid, id
    FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, $1)) AS drawn
    JOIN pg_dist_placement ON shardid = get_shard_id_for_distribution_column('calls', id)
) AS placed USING (groupid)
WHERE node.isactive AND node.noderole = 'primary'
ORDER BY node.groupid
"""

_WRITE_NOTHING: Final = f"""
UPDATE silent_calls SET version = version WHERE organization_id = $1 AND call_id = '{UUID(int=0)}'
"""
