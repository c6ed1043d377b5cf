"""Which cells are counted: the query parameters that stats, trends and the list share, and the filters they
become."""

import re
from datetime import date
from typing import Annotated, Final, Literal, NamedTuple, get_args
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from services.api.credentials import Principal
from services.api.errors import invalid_parameter
from services.api.query import one_of
from shared.count import NO_PHONE_NUMBER
from shared.event import Status

is_day = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}").fullmatch


def as_day(text: object) -> date:
    """A day as a query has it, stricter than Pydantic, which takes times and seconds since 1970, too. Raises
    ValueError with the rule."""
    if isinstance(text, str) and is_day(text[:10]) and text[10:11] in ("T", "t"):
        raise ValueError("must be a whole day, as all that is counted by days; instants are for lists")
    if not isinstance(text, str) or not is_day(text):
        raise ValueError("must be a day written as YYYY-MM-DD")
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError("must be a day that the calendar has") from None


def _statuses(text: object) -> list[str]:
    names = text.split(",") if isinstance(text, str) else []
    if not names or any(name not in _STATUSES for name in names):
        raise ValueError(f"must be one of {', '.join(_STATUSES)}, or several of them separated by commas")
    return names


_STATUSES: Final = get_args(Status)
Day = Annotated[date, BeforeValidator(as_day)]
Statuses = Annotated[
    list[Status],
    BeforeValidator(_statuses),
    WithJsonSchema({"type": "string", "pattern": f"^({'|'.join(_STATUSES)})(,({'|'.join(_STATUSES)}))*$"}),
]


class CellsQuery(BaseModel):
    """Which cells can be asked for: what stats, trends and the list have in common."""

    status: Statuses | SkipJsonSchema[None] = Field(
        None,
        description="Only calls with this status, or one of these, separated by commas.",
        examples=["completed", "busy,no_answer"],
    )
    direction: Literal["inbound", "outbound", "unknown"] | SkipJsonSchema[None] = Field(
        None, description="Only calls of this direction; `unknown`: only those of which none is known."
    )
    phone_number_id: UUID | SkipJsonSchema[None] = Field(
        None,
        description="Only calls of this phone number.",
        examples=["6f1c2f0e-5d1b-4d0a-9a59-3f0f6f2b7c11"],
    )
    start_date: Day | SkipJsonSchema[None] = Field(
        None,
        description="Only calls created on this day or later, in the organization's time zone. Trends begin "
        "with it; without it, `interval` says how many days they have.",
        examples=["2026-11-01"],
    )
    end_date: Day | SkipJsonSchema[None] = Field(
        None,
        description="Only calls created on this day or earlier, in the organization's time zone. Trends end "
        "with it; without it, today.",
        examples=["2026-11-30"],
    )
    from_date: Day | SkipJsonSchema[None] = Field(None, description="The same as `start_date`.")
    to_date: Day | SkipJsonSchema[None] = Field(None, description="The same as `end_date`.")


class Filters(NamedTuple):
    """Which cells are asked for: the parameters $1 to $7 of every such statement. None: all."""

    organization_id: UUID
    livemode: bool
    start_date: date | None
    end_date: date | None
    status: list[Status] | None
    direction: str | None
    phone_number_id: UUID | None


def filters_of(principal: Principal, query: CellsQuery) -> Filters:
    """What a principal may see, narrowed to what the query asks for. Raises the 400 `ApiError`."""
    start = one_of("start_date", query.start_date, "from_date", query.from_date)
    end = one_of("end_date", query.end_date, "to_date", query.to_date)
    if start and end and start > end:
        raise invalid_parameter("start_date", "must not be after end_date")
    check_phone_number(query.phone_number_id)
    return Filters(
        principal.organization_id,
        principal.livemode,
        start,
        end,
        query.status,
        query.direction,
        query.phone_number_id,
    )


def check_phone_number(phone_number_id: UUID | None) -> None:
    """Raises the 400 `ApiError` for what stands in a cell for none."""
    if phone_number_id == NO_PHONE_NUMBER:
        raise invalid_parameter("phone_number_id", "must not be the nil UUID, which is no phone number's")
