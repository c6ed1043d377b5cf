"""The query parameters of the admin API."""

from datetime import UTC, datetime
from typing import Annotated, NamedTuple
from uuid import UUID

from fastapi import Request
from pydantic import AfterValidator, AwareDatetime, BaseModel, Field, TypeAdapter

from services.api.calls.parameter_types import storable_text
from services.api.http.errors import invalid_parameter
from services.api.http.query import read_query

PAGE_MAX = 100
_CURSOR_CHARACTERS_MAX = 100


Text = Annotated[str, AfterValidator(storable_text)]


class ReasonsQuery(BaseModel):
    """The filters of quarantined records."""

    topic: Text | None = Field(None, max_length=249, description="Only records of this topic.")
    organization_id: UUID | None = Field(None, description="Only records that name this organization.")
    reason: Text | None = Field(
        None, max_length=2_000, description="Only records whose reason contains this text."
    )
    limit: int = Field(50, ge=1, le=PAGE_MAX, description="The most entries of an answer.")


class QuarantineQuery(ReasonsQuery):
    """The filters and the page."""

    cursor: str | None = Field(
        None, max_length=_CURSOR_CHARACTERS_MAX, description="`next_cursor` of the page before."
    )


class WebhooksQuery(BaseModel):
    """The page of webhooks."""

    limit: int = Field(50, ge=1, le=PAGE_MAX, description="The most entries of an answer.")
    cursor: str | None = Field(
        None, max_length=_CURSOR_CHARACTERS_MAX, description="`next_cursor` of the page before."
    )


class ProofsQuery(BaseModel):
    """The number of proofs."""

    limit: int = Field(20, ge=1, le=PAGE_MAX, description="The most entries of an answer.")


async def reasons_query(request: Request) -> ReasonsQuery:
    """The dependency that reads the query. Raises the 400 `ApiError`, as do the others."""
    return read_query(request, ReasonsQuery)


async def quarantine_query(request: Request) -> QuarantineQuery:
    """The dependency that reads the query."""
    return read_query(request, QuarantineQuery)


async def webhooks_query(request: Request) -> WebhooksQuery:
    """The dependency that reads the query."""
    return read_query(request, WebhooksQuery)


async def proofs_query(request: Request) -> ProofsQuery:
    """The dependency that reads the query."""
    return read_query(request, ProofsQuery)


class Place(NamedTuple):
    """The last row of a page, by the keys of its order."""

    at: datetime
    id: UUID


_AWARE = TypeAdapter(AwareDatetime)


def cursor_of(place: Place) -> str:
    """The place as a text, in which a client needs to escape nothing."""
    return f"{place.at.isoformat().replace('+00:00', 'Z')}_{place.id}"


def place_of(cursor: str | None) -> Place | None:
    """The place in a cursor, if there is one. Raises the 400 `ApiError`."""
    if cursor is None:
        return None
    at, _, id_ = cursor.partition("_")
    try:
        return Place(_AWARE.validate_python(at).astimezone(UTC), UUID(id_))
    except (ValueError, OverflowError):
        raise invalid_parameter("cursor", "must be a next_cursor of the page before") from None
