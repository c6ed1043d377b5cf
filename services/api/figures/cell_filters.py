"""Filters: the query parameters that stats, trends and lists share, and their conditions in SQL."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from enum import IntEnum
from functools import cached_property
from typing import Annotated, Any, Final, Literal, get_args
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from services.api.access.credentials import Principal
from services.api.http.errors import invalid_parameter
from services.api.http.query import one_of
from shared.calls.event import Status
from shared.counts.cell import NO_DIRECTION, NO_PHONE_NUMBER
from shared.database.statement import Statement

is_day = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}").fullmatch


def as_day(text: object) -> date:
    """A day of a query. Pydantic would also accept times and seconds since 1970. Raises ValueError with the
    rule."""
    if isinstance(text, str) and is_day(text[:10]) and text[10:11] in ("T", "t"):
        raise ValueError("must be a date (YYYY-MM-DD); only lists and exports take timestamps")
    if not isinstance(text, str) or not is_day(text):
        raise ValueError("must be a date (YYYY-MM-DD)")
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError("must be a date that exists, in the years 1 to 9999") from None


def _statuses(text: object) -> list[str]:
    names = text.split(",") if isinstance(text, str) else []
    if not names or any(name not in _STATUSES for name in names):
        raise ValueError(f"must be one or more of {', '.join(_STATUSES)}, separated by commas")
    return sorted(set(names))


_STATUSES: Final = get_args(Status)
Day = Annotated[date, BeforeValidator(as_day)]
Statuses = Annotated[
    list[Status],
    BeforeValidator(_statuses),
    WithJsonSchema({"type": "string", "pattern": f"^({'|'.join(_STATUSES)})(,({'|'.join(_STATUSES)}))*$"}),
]


class AccessPath(IntEnum):
    """How PostgreSQL finds the calls of a condition: the narrowest path has the lowest number."""

    KEY = 1
    """The primary key: one call."""
    FEW_BY_TIME = 2
    """An index ordered by time, with few calls per value."""
    MANY_BY_TIME = 3
    """An index ordered by time, with many calls per value."""
    MANY = 4
    """An index with another order."""
    SPAN = 5
    """Bounds in time, which narrow a scan of each of these indexes."""
    SCAN = 6
    """No index: PostgreSQL examines each call that meets the other conditions."""


@dataclass(frozen=True)
class Condition:
    """One condition on the table `calls`, as an annotation of a query parameter."""

    type: str
    """PostgreSQL's type of the first parameter. If that is null, the condition is true."""
    sql: str
    path: AccessPath = AccessPath.SCAN

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        return Statement(self.sql).parameters

    def __str__(self) -> str:
        return f"(:{self.parameters[0]}::{self.type} IS NULL OR {self.sql})"


def conditions_of(model: type[BaseModel]) -> Iterator[Condition]:
    """The conditions of a query, in the order of its fields."""
    for field in model.model_fields.values():
        yield from (each for each in field.metadata if isinstance(each, Condition))


class StateQuery(BaseModel):
    """The filters by the state of a call, which need no time zone."""

    status: Annotated[Statuses | SkipJsonSchema[None], Condition("text[]", "status = ANY (:status)")] = Field(
        None,
        description="Only calls with this status, or with one of these, separated by commas.",
        examples=["completed", "busy,no_answer"],
    )
    direction: Annotated[
        Literal["inbound", "outbound", "unknown"] | SkipJsonSchema[None],
        Condition("text", f"coalesce(direction, '{NO_DIRECTION}') = :direction"),
    ] = Field(None, description="Only calls of this direction. `unknown`: only calls without a direction.")
    phone_number_id: Annotated[
        UUID | SkipJsonSchema[None],
        Condition("uuid", "phone_number_id = :phone_number_id", AccessPath.MANY_BY_TIME),
    ] = Field(
        None,
        description="Only calls of this phone number.",
        examples=["6f1c2f0e-5d1b-4d0a-9a59-3f0f6f2b7c11"],
    )


class CellsQuery(StateQuery):
    """The filters that stats, trends and the list have in common."""

    start_date: Day | SkipJsonSchema[None] = Field(
        None,
        description="Only calls created on this day or later, in the organization's time zone.",
        examples=["2026-11-01"],
    )
    end_date: Day | SkipJsonSchema[None] = Field(
        None,
        description="Only calls created on this day or earlier, in the organization's time zone.",
        examples=["2026-11-30"],
    )
    from_date: Day | SkipJsonSchema[None] = Field(None, description="An alias of `start_date`.")
    to_date: Day | SkipJsonSchema[None] = Field(None, description="An alias of `end_date`.")


@dataclass(frozen=True)
class Filters:
    """Which cells are requested. None means no restriction."""

    organization_id: UUID
    livemode: bool
    start_date: date | None = None
    end_date: date | None = None
    status: list[Status] | None = None
    direction: str | None = None
    phone_number_id: UUID | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """The values of the parameters that each statement about cells has, by name."""
        return vars(self)


def filters_of(principal: Principal, query: CellsQuery) -> Filters:
    """The filters for what the principal may see and the query requests. Raises the 400 `ApiError`."""
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
    """Raises the 400 `ApiError` for the id that a cell uses for calls without a phone number."""
    if phone_number_id == NO_PHONE_NUMBER:
        raise invalid_parameter(
            "phone_number_id", "must not be the nil UUID, which identifies no phone number"
        )
