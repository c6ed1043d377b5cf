"""OpenAPI descriptions of the routes of webhooks, beyond their signatures."""

from http import HTTPStatus
from typing import Any, Final

from services.api.http.common_responses import ERRORS, error, unavailable
from services.api.http.error_codes import ErrorCode
from services.api.http.query import query_parameters
from services.api.webhooks import models
from services.api.webhooks.deliveries_query import DeliveriesQuery

_NO_SUCH_WEBHOOK: Final = error(
    "The webhook does not exist, or belongs to another organization or mode.",
    ErrorCode.NOT_FOUND,
    "There is no webhook with this id in the organization and mode of these credentials.",
)
_NO_SUCH_DELIVERY: Final = error(
    "The webhook or its delivery does not exist, or belongs to another organization or mode.",
    ErrorCode.NOT_FOUND,
    "This webhook has no delivery with this id.",
)
_TOO_MANY: Final = error(
    "The organization has as many webhooks in this mode as it may.",
    ErrorCode.TOO_MANY_WEBHOOKS,
    "The organization has 20 webhooks in this mode, which is the limit; delete one.",
)
_DISABLED: Final = error(
    "The webhook is disabled.",
    ErrorCode.WEBHOOK_DISABLED,
    "The webhook is disabled; enable it first.",
)
_SECRETS: Final = unavailable(
    "`DATABASE_UNAVAILABLE`: the database is unreachable or busy. `SECRETS_UNAVAILABLE`: the operator has "
    "set no key that encrypts secrets."
)

CREATE_WEBHOOK: Final[dict[str, Any]] = {
    "operation_id": "create_webhook",
    "summary": "Create a webhook",
    "status_code": HTTPStatus.CREATED,
    "response_model": models.WebhookWithSecret,
    "response_description": "The webhook, with its secret.",
    "responses": {**ERRORS, 409: _TOO_MANY, 503: _SECRETS},
}
LIST_WEBHOOKS: Final[dict[str, Any]] = {
    "operation_id": "list_webhooks",
    "summary": "List webhooks",
    "response_model": models.WebhookList,
    "response_description": "The webhooks.",
    "responses": ERRORS,
}
GET_WEBHOOK: Final[dict[str, Any]] = {
    "operation_id": "get_webhook",
    "summary": "Get one webhook",
    "response_model": models.Webhook,
    "response_description": "The webhook.",
    "responses": {**ERRORS, 404: _NO_SUCH_WEBHOOK},
}
CHANGE_WEBHOOK: Final[dict[str, Any]] = {
    "operation_id": "change_webhook",
    "summary": "Change, disable or enable a webhook",
    "response_model": models.Webhook,
    "response_description": "The changed webhook.",
    "responses": {**ERRORS, 404: _NO_SUCH_WEBHOOK},
}
DELETE_WEBHOOK: Final[dict[str, Any]] = {
    "operation_id": "delete_webhook",
    "summary": "Delete a webhook",
    "status_code": HTTPStatus.NO_CONTENT,
    "response_description": "The webhook and its deliveries are deleted.",
    "responses": {**ERRORS, 404: _NO_SUCH_WEBHOOK},
}
ROTATE_SECRET: Final[dict[str, Any]] = {
    "operation_id": "rotate_webhook_secret",
    "summary": "Give a webhook a new secret",
    "response_model": models.WebhookWithSecret,
    "response_description": "The webhook, with its new secret.",
    "responses": {**ERRORS, 404: _NO_SUCH_WEBHOOK, 503: _SECRETS},
}
TEST_WEBHOOK: Final[dict[str, Any]] = {
    "operation_id": "test_webhook",
    "summary": "Send a test message",
    "status_code": HTTPStatus.ACCEPTED,
    "response_model": models.WebhookDelivery,
    "response_description": "The delivery, which is sent at once.",
    "responses": {**ERRORS, 404: _NO_SUCH_WEBHOOK, 409: _DISABLED},
}
LIST_DELIVERIES: Final[dict[str, Any]] = {
    "operation_id": "list_webhook_deliveries",
    "summary": "List the deliveries of a webhook",
    "response_model": models.WebhookDeliveryList,
    "response_description": "A page of deliveries.",
    "openapi_extra": {"parameters": query_parameters(DeliveriesQuery)},
    "responses": {**ERRORS, 404: _NO_SUCH_WEBHOOK},
}
GET_DELIVERY: Final[dict[str, Any]] = {
    "operation_id": "get_webhook_delivery",
    "summary": "Get one delivery of a webhook",
    "response_model": models.WebhookDelivery,
    "response_description": "The delivery.",
    "responses": {**ERRORS, 404: _NO_SUCH_DELIVERY},
}
RESEND_DELIVERY: Final[dict[str, Any]] = {
    "operation_id": "resend_webhook_delivery",
    "summary": "Send a delivery again",
    "status_code": HTTPStatus.ACCEPTED,
    "response_model": models.WebhookDelivery,
    "response_description": "The delivery, which is sent at once.",
    "responses": {**ERRORS, 404: _NO_SUCH_DELIVERY, 409: _DISABLED},
}
SAMPLES: Final = {
    "create_webhook": ("/webhooks",),
    "list_webhooks": ("/webhooks",),
    "get_webhook": ("/webhooks/$WEBHOOK",),
    "change_webhook": ("/webhooks/$WEBHOOK",),
    "delete_webhook": ("/webhooks/$WEBHOOK",),
    "rotate_webhook_secret": ("/webhooks/$WEBHOOK/rotate",),
    "test_webhook": ("/webhooks/$WEBHOOK/test",),
    "list_webhook_deliveries": ("/webhooks/$WEBHOOK/deliveries?state=failed",),
    "get_webhook_delivery": ("/webhooks/$WEBHOOK/deliveries/$DELIVERY",),
    "resend_webhook_delivery": ("/webhooks/$WEBHOOK/deliveries/$DELIVERY/resend",),
}
"""Paths of requests, by operation. A body is the example of its schema."""
