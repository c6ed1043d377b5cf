"""The outcomes of attempts, as they are stored with deliveries and endpoints."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from services.webhooks.due_deliveries import EndpointKey
from shared.database.connection import Connection
from shared.store.audit import write_audit
from shared.webhooks.retry_schedule import DISABLED_AFTER

ACTOR: Final = "callfold webhooks"


class Outcome(NamedTuple):
    """What became of one attempt."""

    endpoint: EndpointKey
    delivery_id: int
    attempts: int
    """With this one."""
    attempted_at: datetime
    delivered: bool
    due_at: datetime | None
    """When it is sent again; None: not again."""
    was_due_at: datetime
    """When this attempt was due. A resend in the meantime has changed it."""
    answer_status: int | None
    answer_body: str | None
    error: str | None
    is_gone: bool = False
    """Whether the endpoint has asked for no further messages, by 410."""


class Disabled(NamedTuple):
    endpoint: EndpointKey
    reason: str


async def store_outcomes(connection: Connection, outcomes: Sequence[Outcome]) -> Sequence[Disabled]:
    """Stores outcomes in one transaction, and disables endpoints that have failed for too long. Returns those
    that it has disabled. A delivery that a client has made due again in the meantime is left so. Raises
    asyncpg's errors."""
    async with connection.transaction():
        await connection.execute(
            _STORE,
            [outcome.endpoint[0] for outcome in outcomes],
            [outcome.delivery_id for outcome in outcomes],
            [outcome.attempts for outcome in outcomes],
            [outcome.attempted_at for outcome in outcomes],
            [outcome.delivered for outcome in outcomes],
            [outcome.due_at for outcome in outcomes],
            [outcome.answer_status for outcome in outcomes],
            [outcome.answer_body for outcome in outcomes],
            [outcome.error for outcome in outcomes],
            [outcome.was_due_at for outcome in outcomes],
        )
        return await _note_failures(connection, outcomes)


async def _note_failures(connection: Connection, outcomes: Sequence[Outcome]) -> Sequence[Disabled]:
    """Notes which endpoints fail. An endpoint with a success among these outcomes does not."""
    of_endpoint: dict[EndpointKey, list[Outcome]] = {}
    for outcome in outcomes:
        of_endpoint.setdefault(outcome.endpoint, []).append(outcome)
    rows = await connection.fetch(
        _NOTE_FAILURES,
        [organization_id for organization_id, _ in of_endpoint],
        [webhook_id for _, webhook_id in of_endpoint],
        [any(one.delivered for one in each) for each in of_endpoint.values()],
        [min(one.attempted_at for one in each) for each in of_endpoint.values()],
        [any(one.is_gone for one in each) for each in of_endpoint.values()],
        [min(one.attempted_at for one in each) - DISABLED_AFTER for each in of_endpoint.values()],
        f"It has failed at each attempt for {DISABLED_AFTER.days} days.",
    )
    return [
        await note_disabled(connection, Disabled((row["organization_id"], row["id"]), row["disabled_reason"]))
        for row in rows
        if not row["enabled"]
    ]


async def note_disabled(connection: Connection, disabled: Disabled) -> Disabled:
    """Writes the audit line of an endpoint that callfold has disabled. Raises asyncpg's errors."""
    organization_id, webhook_id = disabled.endpoint
    await write_audit(
        connection,
        organization_id=organization_id,
        actor=ACTOR,
        action="webhook disabled",
        subject=str(webhook_id),
        details=disabled.reason,
    )
    return disabled


_STORE: Final = """
UPDATE webhook_deliveries AS delivery SET
    attempts = outcome.attempts, attempted_at = outcome.attempted_at,
    delivered_at = CASE WHEN delivered THEN outcome.attempted_at END, due_at = outcome.due_at,
    answer_status = outcome.answer_status, answer_body = outcome.answer_body, error = outcome.error
FROM unnest(
    $1::uuid[], $2::bigint[], $3::smallint[], $4::timestamptz[], $5::boolean[], $6::timestamptz[],
    $7::smallint[], $8::text[], $9::text[], $10::timestamptz[]
) AS outcome(
    organization_id, id, attempts, attempted_at, delivered, due_at, answer_status, answer_body, error,
    was_due_at
)
WHERE delivery.organization_id = outcome.organization_id AND delivery.id = outcome.id
    AND delivery.due_at = outcome.was_due_at AND delivery.attempts = outcome.attempts - 1
"""

_NOTE_FAILURES: Final = """
UPDATE webhooks SET
    failing_since = CASE WHEN NOT succeeded THEN coalesce(failing_since, attempted_at) END,
    enabled = NOT is_gone
        AND (succeeded OR coalesce(failing_since, attempted_at) >= long_ago),
    disabled_reason = CASE
        WHEN is_gone THEN 'It has answered 410: it wants no further messages.'
        WHEN NOT succeeded AND failing_since < long_ago THEN $7
        ELSE disabled_reason
    END
FROM unnest($1::uuid[], $2::uuid[], $3::boolean[], $4::timestamptz[], $5::boolean[], $6::timestamptz[])
    AS seen(organization_id, id, succeeded, attempted_at, is_gone, long_ago)
WHERE webhooks.organization_id = seen.organization_id AND webhooks.id = seen.id AND enabled
    AND (
        is_gone
        OR succeeded AND failing_since IS NOT NULL
        OR NOT succeeded AND (failing_since IS NULL OR failing_since < long_ago)
    )
RETURNING webhooks.organization_id, webhooks.id, enabled, disabled_reason
"""
