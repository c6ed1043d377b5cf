"""The present state of calls in a distributed database.

The outbox of a server may name calls of a shard that was moved away since. Then two servers publish one call,
and no fence orders their records. So the publisher reads such a call again after it was published.
"""

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from services.publisher.changed_calls import (
    CALLS_MAX,
    TRANSCRIPTS_BYTES_MAX,
    CallKey,
    Change,
    State,
    gone,
    present,
)
from shared.calls.shown_call import SHOWN_FIELDS
from shared.database.connection import Connection


async def states_on_shards(
    connection: Connection, calls: Sequence[CallKey], changes: Mapping[CallKey, Change]
) -> Sequence[State]:
    """The states of the first of these calls: as many as fit into memory, and at least one. Raises asyncpg's
    errors."""
    some = list(calls[:CALLS_MAX])
    sizes = {(row[0], row[1]): row[2] for row in await connection.fetch(_SIZES, *_columns(some))}
    size = 0
    for n, key in enumerate(some):
        size += sizes.get(key, 0)
        if n and size > TRANSCRIPTS_BYTES_MAX:
            some = some[:n]
            break
    rows = await connection.fetch(_STATES, *_columns(some))
    found = {(row["organization_id"], row["id"]): present(row) for row in rows}
    return [found.get(key) or gone(key, changes) for key in some]


async def overtaken(connection: Connection, states: Sequence[State]) -> Sequence[CallKey]:
    """The calls of other servers' shards whose state is no longer the published one. Raises asyncpg's
    errors."""
    owners = {state.key[0] for state in states}
    elsewhere = {row[0] for row in await connection.fetch(_ELSEWHERE, list(owners))}
    published = {state.key: state.revision for state in states if state.key[0] in elsewhere}
    if not published:
        return ()
    rows = await connection.fetch(_REVISIONS, *_columns(list(published)))
    now = {(row[0], row[1]): row[2] for row in rows}
    return [key for key, revision in published.items() if now.get(key) != revision]


async def outboxes_are_complete(connection: Connection) -> bool:
    """Whether the outbox of each worker has every later change. Raises asyncpg's errors."""
    complete: bool = await connection.fetchval(_COMPLETE, _IS_COMPLETE)
    return complete


def _columns(calls: Sequence[CallKey]) -> tuple[list[UUID], list[UUID]]:
    return [organization_id for organization_id, _ in calls], [call_id for _, call_id in calls]


# Citus asks each shard with all keys. It accepts no outer join here.
_FOUND: Final = """
FROM unnest($1::uuid[], $2::uuid[]) AS key(organization_id, id)
    JOIN calls AS found ON found.organization_id = key.organization_id AND found.id = key.id
"""

_STATES: Final = f"SELECT {', '.join(f'found.{name}' for name in SHOWN_FIELDS)}, found.revision {_FOUND}"

_SIZES: Final = (
    f"SELECT found.organization_id, found.id, coalesce(octet_length(found.transcript), 0) {_FOUND}"
)

_REVISIONS: Final = f"SELECT found.organization_id, found.id, found.revision {_FOUND}"

_ELSEWHERE: Final = """
SELECT organization_id FROM unnest($1::uuid[]) AS organization_id
WHERE NOT EXISTS (
    SELECT 1 FROM pg_dist_placement JOIN pg_dist_local_group USING (groupid)
    WHERE shardid = get_shard_id_for_distribution_column('calls', organization_id)
)
"""

_IS_COMPLETE: Final = """
SELECT coalesce(bool_or(complete_from <= pg_snapshot_xmin(pg_current_snapshot())::text::bigint), false)
FROM publisher
"""

_COMPLETE: Final = "SELECT coalesce(bool_and(success AND result = 't'), true) FROM run_command_on_workers($1)"
