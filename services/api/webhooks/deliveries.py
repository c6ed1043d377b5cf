"""The deliveries of a webhook: listed, and sent again."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response

from services.api.access.credentials import MayManageWebhooks
from services.api.database.databases import Connection
from services.api.http.answers import answer
from services.api.http.error_codes import ErrorCode
from services.api.http.errors import ApiError
from services.api.http.query import no_query
from services.api.webhooks import documentation
from services.api.webhooks.deliveries_query import DeliveriesQuery, deliveries_query
from services.api.webhooks.found_webhook import WebhookId, check_enabled, found_webhook
from shared.store.webhook_deliveries import Delivery, find_delivery, list_deliveries, send_again
from shared.store.webhooks import Webhook

DeliveryId = Annotated[
    int, Path(ge=1, le=2**63 - 1, description="The delivery's id, as the list has it.", examples=[4711])
]

router = APIRouter(tags=["webhooks"])


@router.get("/webhooks/{id}/deliveries", **documentation.LIST_DELIVERIES)
async def list_newest(
    request: Request,
    principal: MayManageWebhooks,
    webhook_id: WebhookId,
    query: Annotated[DeliveriesQuery, Depends(deliveries_query)],
) -> Response:
    """Returns the deliveries of a webhook, the newest first. They are kept for as many days as the operator
    has set; the default is 7."""
    async with found_webhook(request, principal, webhook_id) as (connection, webhook):
        found = await list_deliveries(
            connection, webhook, state=query.state, before_id=query.before, limit=query.limit
        )
    before = found[-1].id if len(found) == query.limit else None
    return answer({"data": found, "next_before": before})


@router.get(
    "/webhooks/{id}/deliveries/{delivery_id}",
    dependencies=[Depends(no_query)],
    **documentation.GET_DELIVERY,
)
async def get_one(
    request: Request, principal: MayManageWebhooks, webhook_id: WebhookId, delivery_id: DeliveryId
) -> Response:
    """Returns one delivery, with the result of its last attempt."""
    async with found_webhook(request, principal, webhook_id) as (connection, webhook):
        return answer(await _found(connection, webhook, delivery_id))


@router.post(
    "/webhooks/{id}/deliveries/{delivery_id}/resend",
    dependencies=[Depends(no_query)],
    **documentation.RESEND_DELIVERY,
)
async def resend(
    request: Request, principal: MayManageWebhooks, webhook_id: WebhookId, delivery_id: DeliveryId
) -> Response:
    """Sends a delivery again, now, in any state. The message keeps its id and its body. If it fails, it is
    retried from the start."""
    async with found_webhook(request, principal, webhook_id) as (connection, webhook):
        check_enabled(webhook)
        await send_again(connection, webhook, delivery_id)
        return answer(await _found(connection, webhook, delivery_id), status=HTTPStatus.ACCEPTED)


async def _found(connection: Connection, webhook: Webhook, delivery_id: int) -> Delivery:
    """The delivery. Raises the 404 `ApiError`."""
    delivery = await find_delivery(connection, webhook, delivery_id)
    if delivery is None:
        raise ApiError(ErrorCode.NOT_FOUND, "This webhook has no delivery with this id.")
    return delivery
