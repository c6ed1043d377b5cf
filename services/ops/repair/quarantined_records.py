"""Quarantined records for the operator: listed, counted by reason, shown, retried and discarded."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from asyncpg import Record

from services.ops.repair.redrive import Redriven
from services.ops.repair.redrive import redrive as try_again
from services.ops.repair.retry_overtaken import until_not_overtaken
from services.ops.terminal.operator import audit
from services.ops.terminal.printing import counted
from shared.database.connection import Connection
from shared.store.audit import NO_ORGANIZATION

BATCH_RECORDS: Final = 500
BATCH_BYTES: Final = 16 * 1024 * 1024


class Choice(NamedTuple):
    """The choice of records; None for a criterion that is not used. `reason` is a part of the reason."""

    ids: list[UUID] | None = None
    reason: str | None = None
    topic: str | None = None
    organization_id: UUID | None = None
    call_id: UUID | None = None


async def list_records(
    connection: Connection,
    chosen: Choice,
    limit: int,
    *,
    before: datetime | None = None,
    after: tuple[datetime, UUID] | None = None,
) -> list[Record]:
    """The newest records of a choice, without their content: those quarantined before a time, and those that
    follow the record with this time and id. Raises asyncpg's errors, as do the others."""
    return await connection.fetch(_LIST, *chosen, before, limit, *(after or (None, None)))


async def count_by_reason(
    connection: Connection, chosen: Choice, limit: int, *, before: datetime | None = None
) -> list[Record]:
    """The number of records of each topic and reason, the most frequent first."""
    return await connection.fetch(_LIST_BY_REASON, *chosen, before, limit)


async def find_record(connection: Connection, record_id: UUID) -> Record | None:
    """One record with its content; None if there is none."""
    return await connection.fetchrow(_SHOW, record_id)


async def count_records(connection: Connection, chosen: Choice) -> int:
    """The number of records of a choice."""
    found: int = await connection.fetchval(_HOW_MANY, *chosen)
    return found


async def redrive_chosen(
    connection: Connection,
    chosen: Choice,
    clock: Callable[[], datetime],
    deliveries_topic: str,
    *,
    actor: str | None = None,
    report: Callable[[int, str], None] = lambda _retried, _last: None,
) -> Redriven:
    """Retries the records of a choice, with one audit line for all. After each batch, `report` gets the
    number of retried records and the id of the last one. Also raises Failure, after too many conflicts with
    other writers."""
    done, last = Redriven(), UUID(int=0)
    await audit(connection, "quarantined records tried again", details=description(chosen), actor=actor)
    while rows := await connection.fetch(_NEXT, *chosen, last, BATCH_RECORDS, BATCH_BYTES):
        ids = [id_ for (id_,) in rows]
        last = ids[-1]
        done += await try_again(connection, ids, clock(), deliveries_topic)
        report(done.retried, str(last))
    return done


async def discard_chosen(connection: Connection, chosen: Choice, actor: str) -> int:
    """Removes the records of a choice, each with an audit line. Returns their number. Also raises Failure,
    after too many conflicts with other writers."""
    discarded, last = 0, UUID(int=0)

    async def discard_some() -> Sequence[Any]:
        return await connection.fetch(_DISCARD, *chosen, last, BATCH_RECORDS, NO_ORGANIZATION, actor)

    while rows := await until_not_overtaken(discard_some):
        last = rows[-1]["id"]
        discarded += len(rows)
    return discarded


def description(chosen: Choice) -> str:
    """The choice of records, for the audit log."""
    if chosen.ids is not None:
        return counted(len(chosen.ids), "id")
    parts = [
        None if chosen.reason is None else "by their reason",
        None if chosen.topic is None else f"of topic {chosen.topic}",
        None if chosen.organization_id is None else f"of organization {chosen.organization_id}",
        None if chosen.call_id is None else f"of call {chosen.call_id}",
    ]
    return ", ".join(part for part in parts if part is not None) or "all"


_CHOSEN: Final = """
($1::uuid[] IS NULL OR id = ANY($1)) AND ($2::text IS NULL OR position($2 IN reason) > 0)
    AND ($3::text IS NULL OR topic = $3) AND ($4::uuid IS NULL OR organization_id = $4)
    AND ($5::uuid IS NULL OR call_id = $5)
"""

_HOW_MANY: Final = f"SELECT count(*) FROM quarantined_records WHERE {_CHOSEN}"

_LIST: Final = f"""
SELECT id, quarantined_at, produced_at, topic, partition, "offset", organization_id, call_id, reason
FROM quarantined_records WHERE {_CHOSEN} AND ($6::timestamptz IS NULL OR quarantined_at < $6)
    AND ($8::timestamptz IS NULL OR quarantined_at < $8 OR quarantined_at = $8 AND id > $9::uuid)
ORDER BY quarantined_at DESC, id LIMIT $7
"""

_LIST_BY_REASON: Final = f"""
SELECT count(*) AS records, topic, reason, min(quarantined_at) AS oldest, max(quarantined_at) AS newest
FROM quarantined_records WHERE {_CHOSEN} AND ($6::timestamptz IS NULL OR quarantined_at < $6)
GROUP BY topic, reason ORDER BY records DESC, topic, reason LIMIT $7
"""

_SHOW: Final = "SELECT * FROM quarantined_records WHERE id = $1"

# At most $7 records of at most $8 bytes together, but at least one record.
_NEXT: Final = f"""
SELECT id FROM (
    SELECT id, bytes, sum(bytes) OVER (ORDER BY id) AS so_far
    FROM (SELECT id, coalesce(octet_length(key), 0) + coalesce(octet_length(value), 0)
              + pg_column_size(header_values) AS bytes
          FROM quarantined_records WHERE {_CHOSEN} AND id > $6 ORDER BY id LIMIT $7) AS record
) AS record
WHERE so_far - bytes < $8 ORDER BY id
"""

# The audit log gets only the rule, before the colon: the rest of a reason may quote the record.
_DISCARD: Final = f"""
WITH gone AS (
    DELETE FROM quarantined_records
    WHERE id IN (SELECT id FROM quarantined_records WHERE {_CHOSEN} AND id > $6
                 ORDER BY id LIMIT $7 FOR UPDATE)
    RETURNING id, organization_id, topic, partition, "offset", reason
), logged AS (
    INSERT INTO audit_log (organization_id, actor, action, subject, details)
    SELECT coalesce(organization_id, $8), $9, 'quarantined record discarded', id::text,
        topic || '/' || partition || '/' || "offset" || ': ' || split_part(reason, ':', 1)
    FROM gone
)
SELECT id FROM gone ORDER BY id
"""
