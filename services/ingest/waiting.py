"""Waiting deliveries: retried as soon as the organization of their calls is known.

Some deliveries cannot name the organization of their call, until another one has named it. Others name a
value that the source does not map yet.
"""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg

from services.ingest.redrive import Redriven, redrive_once
from shared.database.connection import REFUSAL_TYPES, Connection
from shared.database.statement import Statement
from shared.sources.placement import UNMAPPED
from shared.store.batch import Overtaken, TooLarge

logger = logging.getLogger("callfold.ingest")

CHUNK_RECORDS: Final = 200
OVERLAP: Final = timedelta(minutes=5)
"""How long a transaction may take between its start, whose time its rows have, and its commit."""
_CONFLICTS: Final = (Overtaken, asyncpg.TransactionRollbackError, asyncpg.LockNotAvailableError)


class Waiting:
    """Retries the deliveries whose organization has become known."""

    def __init__(self, deliveries_topic: str, *, create_organizations: bool) -> None:
        self._deliveries_topic = deliveries_topic
        self._create_organizations = create_organizations
        self._looked_until = datetime(1970, 1, 1, tzinfo=UTC)

    async def retry(self, connection: Connection) -> None:
        """Retries those that became known since the last round, one chunk after another. Conflicts with
        other writers are left to the next round. Raises asyncpg's errors."""
        now = await connection.fetchval("SELECT clock_timestamp()")
        is_complete = await self._retry_all(connection, _READY)
        is_complete &= await self._retry_all(connection, _OF_CHANGED_SOURCES)
        if is_complete:
            self._looked_until = now - OVERLAP

    async def _retry_all(self, connection: Connection, ready: Statement) -> bool:
        """Retries the records that the statement finds. Returns false after a conflict."""
        tried: list[UUID] = []
        is_complete = True
        while rows := await ready.fetch(
            connection, since=self._looked_until, tried=tried, most=CHUNK_RECORDS
        ):
            ids = [id_ for (id_,) in rows]
            tried += ids
            try:
                done = await self._redrive(connection, ids)
            except _CONFLICTS as faster:
                logger.info("retries waiting deliveries later: %s", str(faster).partition("\n")[0])
                is_complete = False
                continue
            logger.info("retried %d waiting deliveries: %d accepted", done.retried, done.accepted)
        return is_complete

    async def _redrive(self, connection: Connection, ids: Sequence[UUID]) -> Redriven:
        """Retries these, one by one where they are too large together or PostgreSQL refuses one."""
        now = datetime.now(UTC)
        try:
            return await self._redrive_once(connection, ids, now)
        except (TooLarge, *REFUSAL_TYPES):
            if len(ids) == 1:
                raise
        done = Redriven()
        for id_ in ids:
            try:
                done += await self._redrive_once(connection, [id_], now)
            except REFUSAL_TYPES:
                logger.exception("PostgreSQL refuses a waiting delivery; it stays in the quarantine")
        return done

    async def _redrive_once(self, connection: Connection, ids: Sequence[UUID], now: datetime) -> Redriven:
        return await redrive_once(
            connection,
            ids,
            now,
            self._deliveries_topic,
            create_organizations=self._create_organizations,
        )


# Two searches, each by an index: calls named lately, and deliveries quarantined lately.
_READY: Final = Statement("""
WITH ready AS (
    SELECT q.id, c.organization_id
    FROM source_calls AS c
        JOIN quarantined_records AS q ON q.source_id = c.source_id AND q.waits_for = c.call_id
    WHERE c.seen_at > :since::timestamptz AND q.waits_for IS NOT NULL
    UNION
    SELECT q.id, c.organization_id
    FROM quarantined_records AS q
        JOIN source_calls AS c ON q.source_id = c.source_id AND q.waits_for = c.call_id
    WHERE q.quarantined_at > :since::timestamptz AND q.waits_for IS NOT NULL
)
SELECT id FROM ready WHERE NOT id = ANY(:tried::uuid[])
GROUP BY id HAVING count(DISTINCT organization_id) = 1
ORDER BY id LIMIT :most::integer
""")

_OF_CHANGED_SOURCES: Final = Statement(f"""
SELECT q.id FROM sources AS s JOIN quarantined_records AS q ON q.source_id = s.id
WHERE s.changed_at > :since::timestamptz AND q.reason LIKE '%{UNMAPPED}' AND NOT q.id = ANY(:tried::uuid[])
ORDER BY q.id LIMIT :most::integer
""")
