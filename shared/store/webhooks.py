"""Webhooks in the database, as clients and operators change them.

Each function works within the caller's transaction. A change and its audit line are one transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID, uuid4

from asyncpg import Record

from shared.database.connection import AnyConnection
from shared.database.statement import Statement
from shared.secret_box import SecretBox
from shared.store.audit import write_audit
from shared.webhooks.signing import new_secret

WEBHOOKS_MAX: Final = 20
"""The most webhooks that an organization may have in each mode."""
ROTATION: Final = timedelta(days=1)
"""How long messages are also signed with the secret before."""


class TooManyWebhooks(Exception):
    """The organization has `WEBHOOKS_MAX` webhooks in this mode."""


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """An endpoint that gets messages about changed calls. Its secrets are not part of it."""

    id: UUID
    organization_id: UUID
    livemode: bool
    url: str
    description: str
    types: Sequence[str]
    """Of the messages that it gets; empty: all."""
    enabled: bool
    disabled_reason: str | None
    """Why callfold disabled it; None: it did not."""
    failing_since: datetime | None
    """The first failure after the last success."""
    previous_secret_until: datetime | None
    """Until when messages are also signed with the secret before."""
    created_at: datetime


async def create_webhook(
    connection: AnyConnection,
    box: SecretBox,
    *,
    organization_id: UUID,
    livemode: bool,
    url: str,
    description: str,
    types: Sequence[str],
    actor: str,
) -> tuple[Webhook, str]:
    """Creates a webhook. Returns it with its secret, which is shown once. Raises TooManyWebhooks,
    SecretsLocked and asyncpg's errors."""
    secret, webhook_id = new_secret(), uuid4()
    encrypted = box.encrypted({"current": secret})
    # Creations take turns, so that together they stay below the maximum.
    await _ONE_AT_A_TIME.fetch(connection, organization_id=organization_id)
    known = await _COUNT.fetchval(connection, organization_id=organization_id, livemode=livemode)
    if known >= WEBHOOKS_MAX:
        raise TooManyWebhooks
    (row,) = await _CREATE.fetch(
        connection,
        organization_id=organization_id,
        id=webhook_id,
        livemode=livemode,
        url=url,
        description=description,
        types=types,
        secrets=encrypted,
    )
    await _audit(connection, organization_id, webhook_id, "webhook created", actor)
    return _webhook(row), secret


async def list_webhooks(
    connection: AnyConnection, organization_id: UUID, livemode: bool | None = None
) -> list[Webhook]:
    """An organization's webhooks, of one mode or of both, the oldest first. Raises asyncpg's errors."""
    most = 2 * WEBHOOKS_MAX
    rows = await _LIST.fetch(connection, organization_id=organization_id, livemode=livemode, most=most)
    return [_webhook(row) for row in rows]


async def find_webhook(
    connection: AnyConnection, organization_id: UUID, webhook_id: UUID, livemode: bool | None = None
) -> Webhook | None:
    """The webhook with this id in this mode, or in any. It stays until the transaction ends. Raises asyncpg's
    errors."""
    row = await _FIND.fetchrow(connection, organization_id=organization_id, id=webhook_id, livemode=livemode)
    return None if row is None else _webhook(row)


async def change_webhook(
    connection: AnyConnection,
    webhook: Webhook,
    *,
    actor: str,
    url: str | None = None,
    description: str | None = None,
    types: Sequence[str] | None = None,
    enabled: bool | None = None,
) -> Webhook:
    """Changes what is not None. A webhook that is enabled, or has another URL, starts without failures.
    Raises asyncpg's errors."""
    row = await _CHANGE.fetchrow(
        connection,
        organization_id=webhook.organization_id,
        id=webhook.id,
        url=url,
        description=description,
        types=types,
        enabled=enabled,
    )
    action = {None: "webhook changed", True: "webhook enabled", False: "webhook disabled"}[enabled]
    await _audit(connection, webhook.organization_id, webhook.id, action, actor)
    return webhook if row is None else _webhook(row)


async def rotate_secret(
    connection: AnyConnection, box: SecretBox, webhook: Webhook, now: datetime, actor: str
) -> tuple[Webhook, str]:
    """Gives the webhook a new secret, and returns both. For `ROTATION`, messages are also signed with the
    secret before. Raises SecretsLocked and asyncpg's errors."""
    stored = box.decrypted(
        await _SECRETS.fetchval(connection, organization_id=webhook.organization_id, id=webhook.id)
    )
    secret = new_secret()
    row = await _ROTATE.fetchrow(
        connection,
        organization_id=webhook.organization_id,
        id=webhook.id,
        secrets=box.encrypted({"current": secret, "previous": stored["current"]}),
        until=now + ROTATION,
    )
    await _audit(connection, webhook.organization_id, webhook.id, "webhook secret rotated", actor)
    return (webhook if row is None else _webhook(row)), secret


async def encrypt_webhooks_again(connection: AnyConnection, box: SecretBox) -> int:
    """Encrypts the secrets of all webhooks with the first key of the box, each in a transaction of its own.
    Returns their number. Raises SecretsLocked and asyncpg's errors."""
    count, owner, after = 0, UUID(int=0), UUID(int=0)
    while True:
        async with connection.transaction():
            row = await _NEXT_SECRETS.fetchrow(connection, organization_id=owner, id=after)
            if row is None:
                return count
            owner, after, secrets = row
            again = box.encrypted(box.decrypted(secrets))
            await _ENCRYPT.fetch(connection, organization_id=owner, id=after, secrets=again)
            count += 1


async def remove_webhook(connection: AnyConnection, webhook: Webhook, actor: str) -> None:
    """Removes a webhook with its deliveries. Raises asyncpg's errors."""
    await _REMOVE.fetch(connection, organization_id=webhook.organization_id, id=webhook.id)
    await _audit(connection, webhook.organization_id, webhook.id, "webhook removed", actor)


def _webhook(row: Record) -> Webhook:
    values = {field.name: row[field.name] for field in fields(Webhook)}
    until = values["previous_secret_until"]
    # In a distributed database, PostgreSQL's clock cannot be part of RETURNING.
    if until is not None and until <= datetime.now(UTC):
        values["previous_secret_until"] = None
    return Webhook(**values)


async def _audit(
    connection: AnyConnection, organization_id: UUID, webhook_id: UUID, action: str, actor: str
) -> None:
    await write_audit(
        connection, organization_id=organization_id, actor=actor, action=action, subject=str(webhook_id)
    )


_SHOWN: Final = """
id, organization_id, livemode, url, description, types, enabled, disabled_reason, failing_since,
previous_secret_until, created_at
"""
_WEBHOOK: Final = "organization_id = :organization_id::uuid AND id = :id::uuid"

_ONE_AT_A_TIME: Final = Statement("""
SELECT pg_advisory_xact_lock(hashtextextended('callfold webhooks ' || :organization_id::uuid, 0))
""")

_COUNT: Final = Statement("""
SELECT count(*) FROM webhooks WHERE organization_id = :organization_id::uuid AND livemode = :livemode::boolean
""")

_CREATE: Final = Statement(f"""
INSERT INTO webhooks (organization_id, id, livemode, url, description, types, secrets)
VALUES (:organization_id::uuid, :id::uuid, :livemode::boolean, :url::text, :description::text,
    :types::text[], :secrets::bytea)
RETURNING {_SHOWN}
""")

_LIST: Final = Statement(f"""
SELECT {_SHOWN} FROM webhooks
WHERE organization_id = :organization_id::uuid AND livemode = coalesce(:livemode::boolean, livemode)
ORDER BY created_at, id LIMIT :most::integer
""")

_FIND: Final = Statement(f"""
SELECT {_SHOWN} FROM webhooks WHERE {_WEBHOOK} AND livemode = coalesce(:livemode::boolean, livemode)
FOR NO KEY UPDATE
""")

_CHANGE: Final = Statement(f"""
UPDATE webhooks SET
    url = coalesce(:url::text, url),
    description = coalesce(:description::text, description),
    types = coalesce(:types::text[], types),
    enabled = coalesce(:enabled::boolean, enabled),
    disabled_reason = CASE WHEN :enabled::boolean IS NULL THEN disabled_reason END,
    failing_since = CASE
        WHEN :enabled::boolean IS NULL AND coalesce(:url::text, url) = url THEN failing_since
    END
WHERE {_WEBHOOK}
RETURNING {_SHOWN}
""")

_SECRETS: Final = Statement(f"SELECT secrets FROM webhooks WHERE {_WEBHOOK} FOR UPDATE")

_NEXT_SECRETS: Final = Statement("""
SELECT organization_id, id, secrets FROM webhooks
WHERE (organization_id, id) > (:organization_id::uuid, :id::uuid)
ORDER BY organization_id, id LIMIT 1 FOR UPDATE
""")

_ENCRYPT: Final = Statement(f"UPDATE webhooks SET secrets = :secrets::bytea WHERE {_WEBHOOK}")

_ROTATE: Final = Statement(f"""
UPDATE webhooks SET secrets = :secrets::bytea, previous_secret_until = :until::timestamptz WHERE {_WEBHOOK}
RETURNING {_SHOWN}
""")

_REMOVE: Final = Statement(f"DELETE FROM webhooks WHERE {_WEBHOOK}")
