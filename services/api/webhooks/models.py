"""The bodies of requests and answers about webhooks: every field with its meaning."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from typing_extensions import TypeAliasType

from shared.store.webhook_deliveries import DeliveryState
from shared.webhooks.call_change import MessageType
from shared.webhooks.target import URL_CHARACTERS_MAX, URL_PATTERN

DESCRIPTION_CHARACTERS_MAX = 200

WebhookMessageType = TypeAliasType(
    "WebhookMessageType", Annotated[MessageType, Field(description="The change that a message reports.")]
)

WebhookUrl = Annotated[
    str, WithJsonSchema({"type": "string", "maxLength": URL_CHARACTERS_MAX, "pattern": URL_PATTERN})
]
"""A URL, which `check_url` checks."""

WEBHOOK_EXAMPLE: dict[str, Any] = {
    "id": "5a5c3a50-9a3c-4d0e-8a53-0f6f2b7c1111",
    "organization_id": "b6d9a1f4-2f6e-4b0c-9a70-5a7f6f1f9a01",
    "livemode": True,
    "url": "https://example.com/callfold",
    "description": "CRM",
    "types": ["call.answered", "call.completed", "call.failed"],
    "enabled": True,
    "disabled_reason": None,
    "failing_since": None,
    "previous_secret_until": None,
    "created_at": "2026-11-24T10:00:00Z",
}
DELIVERY_EXAMPLE: dict[str, Any] = {
    "id": 4711,
    "message_id": "msg_0d1e5a5b0b5c5f0f9a3c4d0e8a530f6f",
    "type": "call.completed",
    "call_id": "0b8f6c1e-7a52-5c55-8d3a-0a4b8f1c2d3e",
    "state": "waiting",
    "created_at": "2026-11-24T10:01:41Z",
    "attempts": 1,
    "attempted_at": "2026-11-24T10:01:41.020000Z",
    "delivered_at": None,
    "due_at": "2026-11-24T10:02:45Z",
    "answer_status": 500,
    "answer_body": "out of order",
    "error": "It has answered 500.",
}


class NewWebhook(BaseModel):
    """A webhook to create."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {name: WEBHOOK_EXAMPLE[name] for name in ("url", "description", "types")},
            ]
        },
    )

    url: WebhookUrl = Field(
        description="Where messages are sent, by POST. It begins with https:// and leads to a public "
        "address, unless the operator has named other networks.",
    )
    description: str = Field("", description="Any text.", max_length=DESCRIPTION_CHARACTERS_MAX)
    types: list[WebhookMessageType] = Field(
        [], description="The types of messages to send. Empty: all.", max_length=20
    )


class WebhookChange(BaseModel):
    """Changes to a webhook. Fields that are absent or null stay."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"enabled": True}]})

    url: WebhookUrl | None = Field(None, description="As at the creation.")
    description: str | None = Field(None, description="Any text.", max_length=DESCRIPTION_CHARACTERS_MAX)
    types: list[WebhookMessageType] | None = Field(
        None, description="The types of messages to send. Empty: all.", max_length=20
    )
    enabled: bool | None = Field(
        None,
        description="false: it gets no messages, and those that wait stay. true: it starts without failures.",
    )


class Webhook(BaseModel):
    """An endpoint that gets messages about changed calls."""

    model_config = ConfigDict(json_schema_extra={"examples": [WEBHOOK_EXAMPLE]})

    id: UUID = Field(description="The webhook's id.")
    organization_id: UUID = Field(description="The organization.")
    livemode: bool = Field(description="true: its messages are about live calls. false: about test calls.")
    url: str = Field(description="Where messages are sent, by POST.")
    description: str = Field(description="Any text.")
    types: list[WebhookMessageType] = Field(description="The types of messages that it gets. Empty: all.")
    enabled: bool = Field(description="Whether it gets messages.")
    disabled_reason: str | None = Field(description="Why callfold disabled it. Null if it did not.")
    failing_since: datetime | None = Field(
        description="The first failure after the last success. After five days of failures, it is disabled."
    )
    previous_secret_until: datetime | None = Field(
        description="Until when messages are also signed with the secret before."
    )
    created_at: datetime = Field(description="When it was created.")


class WebhookWithSecret(Webhook):
    """A webhook with its secret, which no other answer shows."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{**WEBHOOK_EXAMPLE, "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}]
        }
    )

    secret: str = Field(description="The secret that signs messages, by the Standard Webhooks specification.")


class WebhookList(BaseModel):
    """All webhooks of the organization in the mode of the key, the oldest first."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"data": [WEBHOOK_EXAMPLE]}]})

    data: list[Webhook] = Field(description="The webhooks.")


class WebhookDelivery(BaseModel):
    """A message for a webhook, and its last attempt."""

    model_config = ConfigDict(json_schema_extra={"examples": [DELIVERY_EXAMPLE]})

    id: int = Field(description="The delivery's id.")
    message_id: str = Field(description="The header `webhook-id` of each attempt.")
    type: WebhookMessageType | Literal["webhook.test"] = Field(
        description="The change that the message reports."
    )
    call_id: UUID | None = Field(description="The call. Null for a test.")
    state: DeliveryState = Field(
        description="`waiting`: it will be sent, or sent again. `delivered`: the endpoint has answered with "
        "2xx. `failed`: it was given up. A delivery whose attempts fail waits until the last one."
    )
    created_at: datetime = Field(description="When the message was stored.")
    attempts: int = Field(description="How often it was sent.")
    attempted_at: datetime | None = Field(description="The last attempt.")
    delivered_at: datetime | None = Field(description="When the endpoint has answered with 2xx.")
    due_at: datetime | None = Field(description="When it is sent next.")
    answer_status: int | None = Field(description="The HTTP status of the last answer.")
    answer_body: str | None = Field(description="The first 1,024 bytes of the last answer.")
    error: str | None = Field(description="Why the last attempt failed, as a sentence.")


class WebhookDeliveryList(BaseModel):
    """A page of deliveries, the newest first."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"data": [DELIVERY_EXAMPLE], "next_before": 4711}]}
    )

    data: list[WebhookDelivery] = Field(description="The deliveries.")
    next_before: int | None = Field(description="`before` of the next page. Null after the last one.")
