"""Webhooks of an organization, and the processes that send to them."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest

from shared.database import roles
from shared.database.connection import Connection
from shared.secret_box import SecretBox, new_key
from shared.store.webhooks import Webhook, create_webhook
from tests.publisher.conftest import calls_topic, start_publisher
from tests.support.events import ORGANIZATION
from tests.support.processes import Service, starting
from tests.support.roles import as_role
from tests.support.webhook_receiver import WebhookReceiver, webhook_receiver

__all__ = ["calls_topic", "start_publisher"]

AddWebhook = Callable[..., Awaitable[Webhook]]
StartWebhooks = Callable[..., Service]


@pytest.fixture
def secrets_key() -> str:
    return new_key()


@pytest.fixture
def start_webhooks(database_url: str, secrets_key: str, tmp_path: Path) -> Iterator[StartWebhooks]:
    """Starts processes that send, in their role, and kills those that still run at the end."""
    with starting(
        "webhooks",
        tmp_path,
        database_url=as_role(database_url, roles.WEBHOOKS),
        secrets_key=secrets_key,
        webhook_networks="127.0.0.0/8",
        webhook_timeout_seconds="1",
        webhook_lease_seconds="2",
    ) as start:
        yield start


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with webhook_receiver() as receiver:
        yield receiver


@pytest.fixture
def add_webhook(database: Connection, secrets_key: str) -> AddWebhook:
    """Adds a webhook for a receiver, which then checks signatures."""

    async def add(
        receiver: WebhookReceiver,
        types: tuple[str, ...] = (),
        *,
        livemode: bool = True,
        organization_id: UUID = ORGANIZATION,
    ) -> Webhook:
        async with database.transaction():
            webhook, receiver.secret = await create_webhook(
                database,
                SecretBox([secrets_key]),
                organization_id=organization_id,
                livemode=livemode,
                url=receiver.url,
                description="",
                types=types,
                actor="test",
            )
        return webhook

    return add
