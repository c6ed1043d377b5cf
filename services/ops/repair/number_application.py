"""Applies an organization's numbers to its stored calls: by an event that callfold generates for each call.

The event has the time of the call's begin, so that a number's id that the system itself gives counts before
it. Counts follow by deltas, as with every event.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from services.ingest.deliveries import event_of
from services.ops.repair.retry_overtaken import until_not_overtaken
from shared.calls.event import Event
from shared.database.connection import Connection
from shared.database.statement import Statement
from shared.in_halves import in_halves
from shared.sources.outcome import Fact
from shared.store.batch import TooLarge, read_known, write
from shared.store.changes import changes, group

CHUNK_CALLS: Final = 500


async def apply_numbers(
    connection: Connection, organization_id: UUID, numbers: Sequence[str], now: datetime, actor: str
) -> int:
    """Gives calls of these numbers, without a phone number's id, the id of their own number, and the
    direction if they have none. All numbers of the organization count as its own. Returns the number of
    changed calls. Raises asyncpg's errors, and Failure after too many conflicts."""
    owned = {
        (organization_id, number): id_
        for number, id_ in await _OWNED.fetch(connection, organization_id=organization_id)
    }
    last = UUID(int=0)
    changed = 0
    while rows := await _CALLS.fetch(
        connection, organization_id=organization_id, numbers=list(numbers), after=last, most=CHUNK_CALLS
    ):
        last = rows[-1]["id"]
        events = [_event(row, owned, now) for row in rows]
        found = [event for event in events if "phone_number_id" in event.data]

        async def store(some: Sequence[Event]) -> int:
            return await until_not_overtaken(lambda: _store(connection, some, now, actor))

        if found:
            changed += sum(await in_halves(found, store, TooLarge))
    return changed


def _event(row: Any, owned: Mapping[tuple[UUID, str], UUID], now: datetime) -> Event:
    parties = {name: row[name] for name in ("from_number", "to_number", "direction")}
    numbers = f"{row['from_number']}\n{row['to_number']}".encode()
    fact = Fact(
        f"callfold_number_{sha256(numbers).hexdigest()[:32]}",
        "call.updated",
        row["external_id"] or str(row["id"]),
        row["created_at"],
        parties,
    )
    return event_of(fact, row["organization_id"], owned, now)


async def _store(connection: Connection, events: Sequence[Event], now: datetime, actor: str) -> int:
    organizations, touched = await read_known(connection, group(events))
    batch = changes(touched, organizations, create_organizations=False, replace=True)
    await write(connection, batch, [], now=now, actor=actor)
    return len(batch.changed_calls)


_OWNED: Final = Statement(
    "SELECT number, phone_number_id FROM phone_numbers WHERE organization_id = :organization_id::uuid"
)

_CALLS: Final = Statement("""
SELECT organization_id, id, external_id, from_number, to_number, direction, created_at FROM calls
WHERE organization_id = :organization_id::uuid AND id > :after::uuid AND phone_number_id IS NULL
    AND (from_number = ANY(:numbers::text[]) OR to_number = ANY(:numbers::text[]))
ORDER BY id LIMIT :most::integer
""")
