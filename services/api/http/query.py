"""Query parameters: how every route reads its own, and what the OpenAPI document says of them."""

from collections.abc import Collection
from datetime import date
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from services.api.http.errors import broken_rule, invalid_parameter

Query = TypeVar("Query", bound=BaseModel)


def one_of(name: str, day: date | None, other_name: str, other: date | None) -> date | None:
    """What is given under one of two names. Raises the 400 `ApiError` where both are."""
    if day is not None and other is not None:
        raise invalid_parameter(other_name, f"is another word for {name}, which is given, too")
    return day or other


def read_query(request: Request, model: type[Query]) -> Query:
    """The query as this model has it. Raises the 400 `ApiError`.

    FastAPI would do it, too, but at several times the cost, and of a parameter given twice it drops one.
    """
    try:
        return model.model_validate(_each_once(request, model.model_fields))
    except ValidationError as error:
        raise broken_rule(error.errors()[0]) from None


async def no_query(request: Request) -> None:
    """The dependency of a route without query parameters. Raises the 400 `ApiError`."""
    _each_once(request, ())


def _each_once(request: Request, known: Collection[str]) -> dict[str, str]:
    """The query's parameters by name. A name that is not known is refused, for ignoring a misspelt filter
    would give wrong numbers."""
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in known:
            has = f"which has {', '.join(known)}" if known else "which has none"
            raise invalid_parameter(name, f"is not a parameter of this route, {has}")
        if name in given:
            raise invalid_parameter(name, "must be given once")
        given[name] = value
    return given


def query_parameters(model: type[BaseModel]) -> list[dict[str, object]]:
    """What the OpenAPI document says of the query that this model is."""
    properties = model.model_json_schema()["properties"]
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": schema.pop("description"),
            "schema": schema,
        }
        for name, schema in properties.items()
    ]
