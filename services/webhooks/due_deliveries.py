"""The deliveries that are due, and the leases by which processes share the endpoints.

Only the holder of an endpoint's lease sends to it. After a crash or a suspension the lease ends, and another
process repeats what was not noted as delivered.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from shared.database.connection import Connection
from shared.webhooks.call_change import TEST_TYPE

EndpointKey = tuple[UUID, UUID]
"""Organization and webhook."""


class Endpoint(NamedTuple):
    """An endpoint with due deliveries, to which this process sends."""

    key: EndpointKey
    url: str
    secrets: bytes
    """Encrypted."""
    previous_secret_until: datetime | None
    failing_since: datetime | None


class DueDelivery(NamedTuple):
    id: int
    endpoint: EndpointKey
    attempts: int
    """Before this one."""
    due_at: datetime
    message_id: str
    body: bytes
    is_test: bool
    """Whether it is sent once only."""


class Room(NamedTuple):
    """How much of one endpoint may be read."""

    messages: int
    bytes: int
    """Of their bodies; the first one may have more."""


async def due_endpoints(
    connection: Connection, process: UUID, lease_seconds: float, locked: Collection[bytes]
) -> Sequence[Endpoint]:
    """The endpoints with due deliveries to which this process sends. It takes the leases that are free, and
    extends its own in time. It leaves endpoints with `locked` secrets to other processes. Raises asyncpg's
    errors."""
    rows = await connection.fetch(_DUE_ENDPOINTS, process, timedelta(seconds=lease_seconds / 2))
    found = [row for row in rows if row["secrets"] not in locked]
    asked = [(row["organization_id"], row["id"]) for row in found if row["needs_lease"]]
    taken = await _taken(connection, process, rows[0]["now"], lease_seconds, asked) if asked else set()
    return [
        Endpoint(
            (row["organization_id"], row["id"]),
            row["url"],
            row["secrets"],
            row["previous_secret_until"],
            row["failing_since"],
        )
        for row in found
        if not row["needs_lease"] or (row["organization_id"], row["id"]) in taken
    ]


async def due_deliveries(
    connection: Connection, rooms: Mapping[EndpointKey, Room], known: Collection[int]
) -> Sequence[DueDelivery]:
    """The oldest due deliveries of each endpoint, as many as there is room for, without those that are known.
    Raises asyncpg's errors."""
    organization_ids, webhook_ids = zip(*rooms, strict=True)
    messages, bytes_ = zip(*rooms.values(), strict=True)
    rows = await connection.fetch(_DUE, organization_ids, webhook_ids, messages, bytes_, list(known))
    return [
        DueDelivery(
            row["id"],
            (row["organization_id"], row["webhook_id"]),
            row["attempts"],
            row["due_at"],
            row["message_id"],
            row["body"],
            row["type"] == TEST_TYPE,
        )
        for row in rows
    ]


async def release_endpoints(connection: Connection, process: UUID) -> None:
    """Ends the leases of this process. Raises asyncpg's errors."""
    await connection.execute(_RELEASE, process)


async def _taken(
    connection: Connection, process: UUID, now: datetime, lease_seconds: float, asked: Sequence[EndpointKey]
) -> set[EndpointKey]:
    until = now + timedelta(seconds=lease_seconds)
    rows = await connection.fetch(_TAKE, process, now, until, *zip(*asked, strict=True))
    return {(row["organization_id"], row["id"]) for row in rows}


# Reads one row of the index for each webhook with waiting deliveries, however many wait.
_DUE_ENDPOINTS: Final = """
WITH RECURSIVE waiting AS (
    (
        SELECT organization_id, webhook_id, due_at FROM webhook_deliveries
        WHERE due_at IS NOT NULL ORDER BY organization_id, webhook_id, due_at LIMIT 1
    )
    UNION ALL
    SELECT following.*
    FROM waiting, LATERAL (
        SELECT organization_id, webhook_id, due_at FROM webhook_deliveries AS delivery
        WHERE due_at IS NOT NULL
            AND (delivery.organization_id, delivery.webhook_id)
                > (waiting.organization_id, waiting.webhook_id)
        ORDER BY organization_id, webhook_id, due_at LIMIT 1
    ) AS following
)
SELECT webhooks.organization_id, webhooks.id, url, secrets, previous_secret_until, failing_since,
    sender IS DISTINCT FROM $1 OR sends_until < clock_timestamp() + $2::interval AS needs_lease,
    clock_timestamp() AS now
FROM waiting
JOIN webhooks ON webhooks.organization_id = waiting.organization_id AND webhooks.id = waiting.webhook_id
WHERE due_at <= clock_timestamp() AND enabled
    AND (sender = $1 OR sender IS NULL OR sends_until < clock_timestamp())
"""

# The time is a parameter: Citus lets no UPDATE ask for it.
_TAKE: Final = """
UPDATE webhooks SET sender = $1, sends_until = $3
FROM unnest($4::uuid[], $5::uuid[]) AS asked(organization_id, id)
WHERE webhooks.organization_id = asked.organization_id AND webhooks.id = asked.id
    AND (sender = $1 OR sender IS NULL OR sends_until < $2)
RETURNING webhooks.organization_id, webhooks.id
"""

_DUE: Final = """
SELECT organization_id, id, webhook_id, attempts, due_at, message_id, body, type
FROM (
    SELECT due.*, body, type, endpoint.bytes,
        sum(octet_length(body)) OVER (PARTITION BY due.webhook_id ORDER BY due_at, due.id)
            - octet_length(body) AS before
    FROM unnest($1::uuid[], $2::uuid[], $3::integer[], $4::bigint[])
            AS endpoint(organization_id, webhook_id, messages, bytes),
        LATERAL (
            SELECT * FROM webhook_deliveries AS delivery
            WHERE delivery.organization_id = endpoint.organization_id
                AND delivery.webhook_id = endpoint.webhook_id
                AND due_at <= clock_timestamp() AND delivery.id NOT IN (SELECT unnest($5::bigint[]))
            ORDER BY due_at LIMIT endpoint.messages
        ) AS due
        JOIN webhook_messages AS message
            ON message.organization_id = due.organization_id AND message.id = due.message_id
) AS measured
WHERE before < bytes
ORDER BY due_at, id
"""

_RELEASE: Final = "UPDATE webhooks SET sender = NULL, sends_until = NULL WHERE sender = $1"
