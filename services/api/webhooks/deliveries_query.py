"""The query parameters of `GET /webhooks/{id}/deliveries`."""

from fastapi import Request
from pydantic import BaseModel, Field

from services.api.http.query import read_query
from shared.store.webhook_deliveries import DeliveryState


class DeliveriesQuery(BaseModel):
    """The filters and the page."""

    state: DeliveryState | None = Field(None, description="Only deliveries in this state.")
    before: int | None = Field(
        None, ge=1, le=2**63 - 1, description="Only deliveries older than this one: `next_before` of a page."
    )
    limit: int = Field(50, ge=1, le=100, description="The most deliveries that a page has.")


async def deliveries_query(request: Request) -> DeliveriesQuery:
    """The dependency that reads the query. Raises the 400 `ApiError`."""
    return read_query(request, DeliveriesQuery)
