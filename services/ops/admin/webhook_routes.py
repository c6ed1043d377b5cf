"""`GET /admin/webhooks`."""

from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Request, Response

from services.api.http.answers import answer
from services.ops.admin import documentation
from services.ops.admin.models import DELIVERIES_EXAMINED, WAITING_COUNTED_MAX
from services.ops.admin.queries import Place, WebhooksQuery, cursor_of, place_of, webhooks_query
from services.ops.admin.running_admin import RunningAdmin
from shared.database.statement import Statement

router = APIRouter(tags=["webhooks"])


@router.get("/webhooks", **documentation.LIST_WEBHOOKS)
async def list_all(request: Request, query: Annotated[WebhooksQuery, Depends(webhooks_query)]) -> Response:
    """Returns the webhooks of all organizations, the newest first, with the state of their deliveries."""
    after = place_of(query.cursor)
    async with RunningAdmin.of(request).connection() as connection:
        rows = await _WEBHOOKS.fetch(
            connection,
            after_at=None if after is None else after.at,
            after_id=None if after is None else after.id,
            limit=query.limit + 1,
            counted=WAITING_COUNTED_MAX,
            examined=DELIVERIES_EXAMINED,
        )
    page = rows[: query.limit]
    more = len(rows) > len(page)
    following = cursor_of(Place(page[-1]["created_at"], page[-1]["id"])) if more else None
    return answer({"data": [_shown(dict(row)) for row in page], "next_cursor": following})


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    host = urlsplit(row.pop("url")).hostname
    return {**row, "host": host or ""}


_WEBHOOKS: Final = Statement("""
SELECT webhook.id, webhook.organization_id, organization.name AS organization_name, webhook.livemode,
    webhook.url, webhook.enabled, webhook.disabled_reason, webhook.failing_since,
    (SELECT count(*) FROM (
        SELECT FROM webhook_deliveries AS delivery
        WHERE delivery.organization_id = webhook.organization_id AND delivery.webhook_id = webhook.id
            AND delivery.due_at IS NOT NULL
        LIMIT :counted::integer
    ) AS waiting)::integer AS waiting_deliveries,
    newest.failed AS failed_deliveries, newest.failure_at AS last_failure_at,
    newest.failure_status AS last_failure_status, webhook.created_at
FROM (
    SELECT * FROM webhooks
    WHERE :after_at::timestamptz IS NULL OR created_at < :after_at::timestamptz
        OR created_at = :after_at::timestamptz AND id > :after_id::uuid
    ORDER BY created_at DESC, id LIMIT :limit::integer
) AS webhook
    JOIN organizations AS organization ON organization.id = webhook.organization_id
    CROSS JOIN LATERAL (
        SELECT (count(*) FILTER (WHERE due_at IS NULL AND delivered_at IS NULL))::integer AS failed,
            max(attempted_at) FILTER (WHERE error IS NOT NULL) AS failure_at,
            (array_agg(answer_status ORDER BY attempted_at DESC) FILTER (WHERE error IS NOT NULL))[1]
                AS failure_status
        FROM (
            SELECT due_at, delivered_at, attempted_at, error, answer_status
            FROM webhook_deliveries AS delivery
            WHERE delivery.organization_id = webhook.organization_id AND delivery.webhook_id = webhook.id
            ORDER BY id DESC LIMIT :examined::integer
        ) AS delivery
    ) AS newest
ORDER BY webhook.created_at DESC, webhook.id
""")
