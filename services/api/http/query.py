"""Query parameters: every route reads its own here, and the OpenAPI document describes them."""

from collections.abc import Collection
from datetime import date
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from services.api.http.errors import broken_rule, invalid_parameter

Query = TypeVar("Query", bound=BaseModel)


def one_of(name: str, day: date | None, other_name: str, other: date | None) -> date | None:
    """The value of a parameter that has two names. Raises the 400 `ApiError` when both are sent."""
    if day is not None and other is not None:
        raise invalid_parameter(other_name, f"is an alias of {name}; send only one of them")
    return day or other


def read_query(request: Request, model: type[Query]) -> Query:
    """The query, validated by this model. Raises the 400 `ApiError`.

    FastAPI could also do it, but at several times the cost, and it drops one value of a repeated parameter.
    """
    try:
        return model.model_validate(_each_once(request, model.model_fields))
    except ValidationError as error:
        raise broken_rule(error.errors()[0]) from None


async def no_query(request: Request) -> None:
    """The dependency of a route without query parameters. Raises the 400 `ApiError`."""
    _each_once(request, ())


def _each_once(request: Request, known: Collection[str]) -> dict[str, str]:
    """The query's parameters by name. An unknown name is refused, because a misspelt filter that is ignored
    would give wrong numbers."""
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in known:
            has = f"which takes {', '.join(known)}" if known else "which takes none"
            raise invalid_parameter(name, f"is not a parameter of this route, {has}")
        if name in given:
            raise invalid_parameter(name, "must be sent only once")
        given[name] = value
    return given


def query_parameters(model: type[BaseModel]) -> list[dict[str, object]]:
    """The OpenAPI parameters of the query that this model describes."""
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
