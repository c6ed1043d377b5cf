"""The deliveries of webhooks in the database, as clients and operators see and repeat them.

Each function works within the caller's transaction.
"""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Final, Literal
from uuid import UUID, uuid4

from asyncpg import Record

from shared.database.connection import AnyConnection
from shared.database.statement import Statement
from shared.store.webhooks import Webhook
from shared.webhooks.message import message_of_test

DeliveryState = Literal["waiting", "delivered", "failed"]


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A message for a webhook, and its last attempt."""

    id: int
    message_id: str
    type: str
    call_id: UUID | None
    state: DeliveryState
    created_at: datetime
    attempts: int
    attempted_at: datetime | None
    delivered_at: datetime | None
    due_at: datetime | None
    """When it is sent next; None: not again."""
    answer_status: int | None
    answer_body: str | None
    error: str | None


async def send_test(connection: AnyConnection, webhook: Webhook, now: datetime) -> int:
    """Stores a message `webhook.test` for this webhook alone. Returns the id of its delivery. Raises
    asyncpg's errors."""
    message = message_of_test(uuid4(), webhook.id, webhook.organization_id, now)
    await _STORE_MESSAGE.fetch(
        connection,
        organization_id=webhook.organization_id,
        id=message.id,
        type=message.type,
        body=message.body,
    )
    delivery_id: int = await _STORE_DELIVERY.fetchval(
        connection, organization_id=webhook.organization_id, webhook_id=webhook.id, message_id=message.id
    )
    await _NOTIFY.fetch(connection)
    return delivery_id


async def list_deliveries(
    connection: AnyConnection,
    webhook: Webhook,
    *,
    state: DeliveryState | None = None,
    before_id: int | None = None,
    limit: int,
) -> list[Delivery]:
    """The newest deliveries of a webhook, or those before the one with `before_id`. Raises asyncpg's
    errors."""
    rows = await _DELIVERIES.fetch(
        connection,
        organization_id=webhook.organization_id,
        webhook_id=webhook.id,
        state=state,
        before_id=before_id,
        most=limit,
    )
    return [_delivery(row) for row in rows]


async def find_delivery(connection: AnyConnection, webhook: Webhook, delivery_id: int) -> Delivery | None:
    """The webhook's delivery with this id. Raises asyncpg's errors."""
    row = await _DELIVERY.fetchrow(
        connection, organization_id=webhook.organization_id, webhook_id=webhook.id, id=delivery_id
    )
    return None if row is None else _delivery(row)


async def send_again(connection: AnyConnection, webhook: Webhook, delivery_id: int) -> None:
    """Makes a delivery due now, with all attempts. The message keeps its id and its body. Raises asyncpg's
    errors."""
    await _SEND_AGAIN.fetch(
        connection, organization_id=webhook.organization_id, webhook_id=webhook.id, id=delivery_id
    )
    await _NOTIFY.fetch(connection)


def _delivery(row: Record) -> Delivery:
    return Delivery(**{field.name: row[field.name] for field in fields(Delivery)})


_STORE_MESSAGE: Final = Statement("""
INSERT INTO webhook_messages (organization_id, id, type, body)
VALUES (:organization_id::uuid, :id::text, :type::text, :body::bytea)
""")

_STORE_DELIVERY: Final = Statement("""
INSERT INTO webhook_deliveries (organization_id, webhook_id, message_id)
VALUES (:organization_id::uuid, :webhook_id::uuid, :message_id::text)
RETURNING id
""")

_STATE: Final = """
CASE WHEN due_at IS NOT NULL THEN 'waiting' WHEN delivered_at IS NOT NULL THEN 'delivered' ELSE 'failed' END
"""
_OF_WEBHOOK: Final = """
webhook_deliveries.organization_id = :organization_id::uuid AND webhook_id = :webhook_id::uuid
"""
_SHOWN_DELIVERY: Final = f"""
SELECT delivery.*, type, call_id
FROM (
    SELECT organization_id, id, message_id, {_STATE} AS state, created_at, attempts, attempted_at,
        delivered_at, due_at, answer_status, answer_body, error
    FROM webhook_deliveries WHERE {_OF_WEBHOOK} AND {{}}
    ORDER BY webhook_deliveries.id DESC LIMIT {{}}
) AS delivery
JOIN webhook_messages AS message
    ON message.organization_id = delivery.organization_id AND message.id = delivery.message_id
ORDER BY delivery.id DESC
"""

_DELIVERIES: Final = Statement(
    _SHOWN_DELIVERY.format(
        f"id < coalesce(:before_id::bigint, {2**63 - 1}) AND {_STATE} = coalesce(:state::text, {_STATE})",
        ":most::integer",
    )
)

_DELIVERY: Final = Statement(_SHOWN_DELIVERY.format("id = :id::bigint", "1"))

_SEND_AGAIN: Final = Statement(f"""
UPDATE webhook_deliveries SET due_at = now(), attempts = 0, delivered_at = NULL
WHERE {_OF_WEBHOOK} AND id = :id::bigint
""")

_NOTIFY: Final = Statement("NOTIFY callfold_webhooks")
