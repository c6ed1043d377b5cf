"""The webhook that a path names, in the organization and mode of the credentials."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated
from uuid import UUID

from fastapi import Path, Request

from services.api.access.credentials import Principal
from services.api.calls.running_api import Api
from services.api.database.databases import Connection, changing
from services.api.http.error_codes import ErrorCode
from services.api.http.errors import ApiError
from shared.store.webhooks import Webhook, find_webhook

WebhookId = Annotated[
    UUID,
    Path(alias="id", description="The webhook's id.", examples=["5a5c3a50-9a3c-4d0e-8a53-0f6f2b7c1111"]),
]


@asynccontextmanager
async def changing_webhooks(request: Request, principal: Principal) -> AsyncIterator[Connection]:
    """A transaction that can change this organization's webhooks. Raises the 503 `ApiError`."""
    async with (
        Api.of(request).databases.primary.connection() as connection,
        changing(connection, principal.organization_id),
    ):
        yield connection


def check_enabled(webhook: Webhook) -> None:
    """Raises the 409 `ApiError` for a disabled webhook."""
    if not webhook.enabled:
        raise ApiError(ErrorCode.WEBHOOK_DISABLED, "The webhook is disabled; enable it first.")


@asynccontextmanager
async def found_webhook(
    request: Request, principal: Principal, webhook_id: UUID
) -> AsyncIterator[tuple[Connection, Webhook]]:
    """The webhook, in a transaction that can change it. Raises the 404 and 503 `ApiError`."""
    async with changing_webhooks(request, principal) as connection:
        webhook = await find_webhook(
            connection, principal.organization_id, webhook_id, livemode=principal.livemode
        )
        if webhook is None:
            sentence = "There is no webhook with this id in the organization and mode of these credentials."
            raise ApiError(ErrorCode.NOT_FOUND, sentence)
        yield connection, webhook
