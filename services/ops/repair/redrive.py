"""Redrive for the operator: retries after conflicts, and halves batches that are too large."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from services.ingest.redrive import Redriven, redrive_once
from services.ops.repair.retry_overtaken import until_not_overtaken
from shared.database.connection import REFUSAL_TYPES, Connection
from shared.in_halves import in_halves
from shared.settings.kafka import DELIVERIES_TOPIC
from shared.store.batch import TooLarge

__all__ = ["Redriven", "redrive"]


async def redrive(
    connection: Connection, ids: Sequence[UUID], now: datetime, deliveries_topic: str = DELIVERIES_TOPIC
) -> Redriven:
    """Retries these quarantined records at `now` (aware), as `redrive_once` does. Raises asyncpg's errors,
    and Failure after too many conflicts with other writers."""

    async def attempt(some: Sequence[UUID]) -> Redriven:
        try:
            return await until_not_overtaken(lambda: redrive_once(connection, some, now, deliveries_topic))
        except REFUSAL_TYPES as refusal:
            if len(some) > 1:
                raise
            await connection.execute(_REFUSED, some, f"PostgreSQL refuses it: {refusal}")
            return Redriven(1, 0, 1)

    return sum(await in_halves(ids, attempt, (TooLarge, *REFUSAL_TYPES)), Redriven())


_REFUSED: Final = """
UPDATE quarantined_records SET reason = $2, waits_for = NULL WHERE id = ANY($1::uuid[])
"""
