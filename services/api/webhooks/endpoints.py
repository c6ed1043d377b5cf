"""The routes that create, list, change and delete endpoints."""

from http import HTTPStatus

from fastapi import APIRouter, Depends, Request, Response

from services.api.access.credentials import MayManageWebhooks
from services.api.calls.running_api import Api
from services.api.http.answers import answer
from services.api.http.error_codes import ErrorCode
from services.api.http.errors import ApiError, invalid_parameter
from services.api.http.query import no_query
from services.api.webhooks import documentation
from services.api.webhooks.found_webhook import WebhookId, changing_webhooks, check_enabled, found_webhook
from services.api.webhooks.models import NewWebhook, WebhookChange
from shared.secret_box import SecretsLocked
from shared.store.webhook_deliveries import find_delivery, send_test
from shared.store.webhooks import (
    WEBHOOKS_MAX,
    TooManyWebhooks,
    Webhook,
    change_webhook,
    create_webhook,
    list_webhooks,
    remove_webhook,
    rotate_secret,
)
from shared.webhooks.target import check_url

router = APIRouter(tags=["webhooks"], dependencies=[Depends(no_query)])


@router.post("/webhooks", **documentation.CREATE_WEBHOOK)
async def create(request: Request, principal: MayManageWebhooks, new: NewWebhook) -> Response:
    """Creates a webhook for the mode of the key: a live key's gets messages about live calls. The answer has
    its secret, which is not shown again."""
    api = Api.of(request)
    async with changing_webhooks(request, principal) as connection:
        try:
            webhook, secret = await create_webhook(
                connection,
                api.secret_box,
                organization_id=principal.organization_id,
                livemode=principal.livemode,
                url=_checked(api, new.url),
                description=new.description,
                types=list(dict.fromkeys(new.types)),
                actor=principal.actor,
            )
        except TooManyWebhooks:
            sentence = (
                f"The organization has {WEBHOOKS_MAX} webhooks in this mode, which is the limit; delete one."
            )
            raise ApiError(ErrorCode.TOO_MANY_WEBHOOKS, sentence) from None
        except SecretsLocked:
            raise _no_secrets() from None
    return answer(_with_secret(webhook, secret), status=HTTPStatus.CREATED)


@router.get("/webhooks", **documentation.LIST_WEBHOOKS)
async def list_all(request: Request, principal: MayManageWebhooks) -> Response:
    """Returns all webhooks of the key's mode."""
    async with changing_webhooks(request, principal) as connection:
        found = await list_webhooks(connection, principal.organization_id, principal.livemode)
    return answer({"data": found})


@router.get("/webhooks/{id}", **documentation.GET_WEBHOOK)
async def get(request: Request, principal: MayManageWebhooks, webhook_id: WebhookId) -> Response:
    """Returns one webhook."""
    async with found_webhook(request, principal, webhook_id) as (_, webhook):
        return answer(webhook)


@router.patch("/webhooks/{id}", **documentation.CHANGE_WEBHOOK)
async def change(
    request: Request, principal: MayManageWebhooks, webhook_id: WebhookId, wanted: WebhookChange
) -> Response:
    """Changes the fields that the body has. A webhook that callfold has disabled is enabled again with
    `{"enabled": true}`."""
    url = None if wanted.url is None else _checked(Api.of(request), wanted.url)
    async with found_webhook(request, principal, webhook_id) as (connection, webhook):
        changed = await change_webhook(
            connection,
            webhook,
            actor=principal.actor,
            url=url,
            description=wanted.description,
            types=None if wanted.types is None else list(dict.fromkeys(wanted.types)),
            enabled=wanted.enabled,
        )
    return answer(changed)


@router.delete("/webhooks/{id}", **documentation.DELETE_WEBHOOK)
async def delete(request: Request, principal: MayManageWebhooks, webhook_id: WebhookId) -> Response:
    """Deletes a webhook with its deliveries. A message that is being sent may still arrive."""
    async with found_webhook(request, principal, webhook_id) as (connection, webhook):
        await remove_webhook(connection, webhook, principal.actor)
    return Response(status_code=HTTPStatus.NO_CONTENT)


@router.post("/webhooks/{id}/rotate", **documentation.ROTATE_SECRET)
async def rotate(request: Request, principal: MayManageWebhooks, webhook_id: WebhookId) -> Response:
    """Gives a webhook a new secret. For a day, messages are signed with the new secret and with the one
    before, so that the endpoint can be changed in time."""
    api = Api.of(request)
    async with found_webhook(request, principal, webhook_id) as (connection, webhook):
        try:
            changed, secret = await rotate_secret(
                connection, api.secret_box, webhook, api.clock(), principal.actor
            )
        except SecretsLocked:
            raise _no_secrets() from None
    return answer(_with_secret(changed, secret))


@router.post("/webhooks/{id}/test", **documentation.TEST_WEBHOOK)
async def test(request: Request, principal: MayManageWebhooks, webhook_id: WebhookId) -> Response:
    """Sends a message `webhook.test` to the endpoint. The delivery shows what it has answered."""
    async with found_webhook(request, principal, webhook_id) as (connection, webhook):
        check_enabled(webhook)
        delivery_id = await send_test(connection, webhook, Api.of(request).clock())
        sent = await find_delivery(connection, webhook, delivery_id)
    return answer(sent, status=HTTPStatus.ACCEPTED)


def _checked(api: Api, url: str) -> str:
    """The URL. Raises the 400 `ApiError`."""
    try:
        return check_url(url, api.webhook_networks)
    except ValueError as rule:
        raise invalid_parameter("url", f"must {rule}") from None


def _with_secret(webhook: Webhook, secret: str) -> dict[str, object]:
    return {**vars(webhook), "secret": secret}


def _no_secrets() -> ApiError:
    return ApiError(
        ErrorCode.SECRETS_UNAVAILABLE,
        "The API has no key that encrypts secrets; the operator must set CALLFOLD_SECRETS_KEY.",
        headers={"Retry-After": "60"},
    )
