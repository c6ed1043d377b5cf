"""Waiting deliveries: retried as soon as the organization of their calls is known.

Some deliveries cannot name the organization of their call, until another one has named it. Others name a
value that the source does not map yet, or domains that are not its own yet. A change of the source retries
all of these, once.
"""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg

from services.ingest.redrive import Redriven, redrive_once
from shared.database.connection import REFUSAL_TYPES, Connection
from shared.database.loggable import loggable
from shared.database.statement import Statement
from shared.sources.placement import NOT_OWN, UNMAPPED
from shared.store.batch import Overtaken, TooLarge
from shared.store.sources import KnownSources

logger = logging.getLogger("callfold.ingest")

CHUNK_RECORDS: Final = 200
ROUND_CHUNKS: Final = 10
OVERLAP: Final = timedelta(minutes=1)
"""How long a transaction may take between its start, whose time its rows have, and its commit."""
_CONFLICTS: Final = (Overtaken, asyncpg.TransactionRollbackError, asyncpg.LockNotAvailableError)


class _Search:
    """A search that continues over several rounds, in the order of ids."""

    def __init__(self, statement: Statement) -> None:
        self.statement = statement
        self.since = datetime(1970, 1, 1, tzinfo=UTC)
        self.began: datetime | None = None
        self.after = UUID(int=0)

    def end(self) -> None:
        """Ends the search. The next one begins where this one began."""
        if self.began is not None:
            self.since = self.began - OVERLAP
        self.began, self.after = None, UUID(int=0)


class Waiting:
    """Retries the deliveries whose organization has become known."""

    def __init__(self, deliveries_topic: str, *, create_organizations: bool) -> None:
        self._deliveries_topic = deliveries_topic
        self._create_organizations = create_organizations
        self._searches = [_Search(statement) for statement in (_READY, _OF_CHANGED_SOURCES)]

    async def retry(self, connection: Connection, known: KnownSources) -> None:
        """Retries those that became known since the last round, at most ROUND_CHUNKS chunks of each search.
        The next round continues. Raises asyncpg's errors."""
        for search in self._searches:
            await self._retry(connection, known, search)

    async def _retry(self, connection: Connection, known: KnownSources, search: "_Search") -> None:
        if search.began is None:
            search.began = await connection.fetchval("SELECT clock_timestamp()")
        for _ in range(ROUND_CHUNKS):
            rows = await search.statement.fetch(
                connection, since=search.since, after=search.after, most=CHUNK_RECORDS
            )
            if not rows:
                search.end()
                return
            ids = [id_ for (id_,) in rows]
            try:
                done = await self._redrive(connection, known, ids)
            except _CONFLICTS as faster:
                logger.info("retries waiting deliveries later: %s", str(faster).partition("\n")[0])
                return
            search.after = ids[-1]
            if done.accepted:
                logger.info("stored %d of %d waiting deliveries", done.accepted, done.retried)

    async def _redrive(self, connection: Connection, known: KnownSources, ids: Sequence[UUID]) -> Redriven:
        """Retries these, one by one where they are too large together or PostgreSQL refuses one."""
        try:
            return await self._once(connection, known, ids)
        except (TooLarge, *REFUSAL_TYPES) as refusal:
            if len(ids) == 1:
                logger.error("a waiting delivery stays in the quarantine: %s", loggable(refusal))
                return Redriven(1, 0, 1)
        done = Redriven()
        for id_ in ids:
            done += await self._redrive(connection, known, [id_])
        return done

    async def _once(self, connection: Connection, known: KnownSources, ids: Sequence[UUID]) -> Redriven:
        return await redrive_once(
            connection,
            ids,
            datetime.now(UTC),
            self._deliveries_topic,
            create_organizations=self._create_organizations,
            known=known,
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
SELECT id FROM ready WHERE id > :after::uuid
GROUP BY id HAVING count(DISTINCT organization_id) = 1
ORDER BY id LIMIT :most::integer
""")

_OF_CHANGED_SOURCES: Final = Statement(f"""
SELECT q.id FROM sources AS s JOIN quarantined_records AS q ON q.source_id = s.id
WHERE s.changed_at > :since::timestamptz AND q.id > :after::uuid
    AND (q.reason LIKE '%{UNMAPPED}' OR q.reason LIKE '%{NOT_OWN}' OR q.waits_for IS NOT NULL)
ORDER BY q.id LIMIT :most::integer
""")
