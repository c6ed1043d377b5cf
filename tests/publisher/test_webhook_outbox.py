"""Messages of changes that the publisher reads in parts."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from services.publisher.changed_calls import Change, Overtaken, State, changed_calls, forget, hold
from services.publisher.webhook_outbox import MessageOutbox, Reported, Subscription
from shared.database.connection import Connection
from shared.webhooks.call_change import call_before
from tests.support import seed
from tests.support.events import CALL, NOON

LIVE = 16
RINGING, IN_PROGRESS, COMPLETED = LIVE + 2, LIVE + 32 + 3, LIVE + 32 + 4


def shown(organization_id: UUID, status: str, **fields: object) -> dict[str, Any]:
    """A call as clients see it, as far as messages depend on it."""
    return {
        "id": CALL,
        "organization_id": organization_id,
        "livemode": True,
        "status": status,
        "answered_at": NOON if status in ("in_progress", "completed") else None,
        "recording_url": None,
        "transcript": None,
        **fields,
    }


async def test_a_state_that_is_ahead_of_the_outbox_is_reported_once(database: Connection) -> None:
    """The state of the first batch is of revision 5, although the batch ends with the change to 4."""
    tenant = await seed.tenant(database)
    webhook_id = await seed.webhook(database, tenant.id)
    await database.execute("DELETE FROM webhook_messages")
    subscribed = {(tenant.id, True): [Subscription(webhook_id, frozenset())]}
    reported, key = Reported(), (tenant.id, CALL)

    async def publish(before: tuple[int, int], revision: int, call: dict[str, Any]) -> None:
        change = Change(call_before(*before), call_before(*before), NOON)
        outbox = MessageOutbox({key: change}, subscribed, reported)
        outbox.add([State(key, call, revision, True)])
        await outbox.store(database)
        outbox.note()

    await publish((3, RINGING), 5, shown(tenant.id, "completed"))
    await publish((4, IN_PROGRESS), 5, shown(tenant.id, "completed"))
    await publish((4, IN_PROGRESS), 6, shown(tenant.id, "completed", recording_url="https://r"))

    types = await database.fetch("SELECT type FROM webhook_messages ORDER BY created_at, type")
    assert [row["type"] for row in types] == ["call.answered", "call.completed", "recording.ready"]


async def test_a_publisher_that_was_overtaken_removes_nothing(database: Connection) -> None:
    """It would remove changes whose messages no publisher has stored."""
    await database.execute("INSERT INTO publisher DEFAULT VALUES")
    tenant = await seed.tenant(database)
    for _ in range(2):
        await seed.call(database, tenant)
    changed = await changed_calls(database)
    assert len(changed.row_ids) >= 2
    await database.execute("DELETE FROM call_changes WHERE id = $1", changed.row_ids[0])

    for step in (hold, forget):
        with pytest.raises(Overtaken):
            async with database.transaction():
                await step(database, changed)

    left = await database.fetch("SELECT id FROM call_changes ORDER BY id")
    assert [row["id"] for row in left] == list(changed.row_ids[1:])


async def test_what_is_new_or_deleted_between_two_looks(database: Connection) -> None:
    tenant = await seed.tenant(database)
    subscribed = {(tenant.id, True): [Subscription(uuid4(), frozenset())]}
    key = (tenant.id, CALL)
    never_seen = MessageOutbox({key: Change(None, call_before(1, RINGING), NOON)}, subscribed, Reported())
    never_seen.add([State(key, None, None, True)])
    assert never_seen.deliveries == 0
    ended = MessageOutbox(
        {key: Change(call_before(1, RINGING), call_before(2, COMPLETED), NOON)}, subscribed, Reported()
    )
    ended.add([State(key, None, None, True)])
    assert ended.deliveries == 1, "only the deletion"
