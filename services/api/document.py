"""The OpenAPI document: what FastAPI makes of the routes, with what it leaves out of that, and how to ask."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from fastapi import APIRouter
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from services.api import health
from services.api.calls import documentation as calls_documentation
from services.api.calls import models
from services.api.figures import documentation as figures_documentation

_SAMPLES: Final = {**calls_documentation.SAMPLES, **figures_documentation.SAMPLES, **health.SAMPLES}
_EXAMPLES: Final = ("example", "examples")

_API_KEY: Final = {
    "type": "apiKey",
    "in": "header",
    "name": "x-api-key",
    "description": "The same API key, by itself.",
}
_ORGANIZATION: Final = {
    "name": "x-organization-id",
    "in": "header",
    "required": False,
    "description": "The organization that is asked about. Without this it is the key's own, and with a "
    "user's token the first one that they belong to.",
    # Not by its format: clients that openapi-python-client generates could not put a UUID into a header.
    "schema": {
        "type": "string",
        "pattern": "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
        "examples": [models.CALL_EXAMPLE["organization_id"]],
    },
}


def complete(made: Callable[[], dict[str, Any]], routers: Iterable[APIRouter]) -> dict[str, Any]:
    """The document that `made` gives, of these routers' routes, with its examples as they were given and
    command lines to try.

    FastAPI drops every null, also those that an example means: what it shows would lack fields that every
    answer has.
    """
    document = made()
    for operations in document["paths"].values():
        for operation in operations.values():
            if "security" in operation:
                _complete_credentials(operation)
    document["components"]["securitySchemes"]["x-api-key"] = _API_KEY
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    for route in routes:
        if not route.include_in_schema:
            continue
        for method in route.methods or ():
            operation = document["paths"][route.path_format][method.lower()]
            operation["x-codeSamples"] = [
                {
                    "lang": "Shell",
                    "label": "curl",
                    "source": _curl(method, path, secured="security" in operation),
                }
                for path in _SAMPLES.get(operation["operationId"], ())
            ]
            answers = operation["responses"]
            for status, response in route.responses.items():
                for media_type, said in response.get("content", {}).items():
                    answers[str(status)]["content"][media_type].update(_examples(said))
        for name, schema in _schemas(route.response_model).items():
            document["components"]["schemas"][name].update(_examples(schema))
    return document


def _complete_credentials(operation: dict[str, Any]) -> None:
    """Beside `Bearer`, which FastAPI knows of: whatever needs credentials takes a key by itself, too, and is
    told about which organization."""
    operation["security"] += [
        {"x-api-key": scopes} for each in operation["security"] for scopes in each.values()
    ]
    operation.setdefault("parameters", []).append(_ORGANIZATION)


class _Unsorted(GenerateJsonSchema):
    """Leaves the fields of examples in their order."""

    def sort(self, value: Any, parent_key: str | None = None) -> Any:
        return value


def _curl(method: str, path: str, *, secured: bool) -> str:
    words = ["curl", *(["-X", method] if method != "GET" else [])]
    words += ['-H "Authorization: Bearer $KEY"'] if secured else []
    return " ".join([*words, f'"$URL{path}"'])


def _examples(said: Mapping[str, Any]) -> dict[str, Any]:
    return {name: said[name] for name in _EXAMPLES if name in said}


def _schemas(model: type[BaseModel] | None) -> dict[str, dict[str, Any]]:
    """The schemas of a model and of all that it is made of, by name."""
    if model is None:
        return {}
    schema = model.model_json_schema(schema_generator=_Unsorted)
    return {**schema.pop("$defs", {}), model.__name__: schema}
