"""The OpenAPI document: what FastAPI generates from the routes, completed with nulls and curl examples."""

import json
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
from services.api.stream import documentation as stream_documentation
from services.api.webhooks import documentation as webhooks_documentation

_SAMPLES: Final = {
    **calls_documentation.SAMPLES,
    **stream_documentation.SAMPLES,
    **figures_documentation.SAMPLES,
    **webhooks_documentation.SAMPLES,
    **health.SAMPLES,
}
_EXAMPLES: Final = ("example", "examples")

_API_KEY: Final = {
    "type": "apiKey",
    "in": "header",
    "name": "x-api-key",
    "description": "The same API key, without a scheme.",
}
_ORGANIZATION: Final = {
    "name": "x-organization-id",
    "in": "header",
    "required": False,
    "description": "The organization whose data is requested. Default: the key's own organization, or with a "
    "user's token the first one that the user is a member of.",
    # A pattern, not a format: clients that openapi-python-client generates cannot put a UUID into a header.
    "schema": {
        "type": "string",
        "pattern": "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
        "examples": [models.CALL_EXAMPLE["organization_id"]],
    },
}


def complete(made: Callable[[], dict[str, Any]], routers: Iterable[APIRouter]) -> dict[str, Any]:
    """The document that `made` returns for these routers' routes, with the original examples and with curl
    command lines.

    FastAPI drops every null, also from examples. Its examples would lack fields that every answer has.
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
                    "source": _curl(
                        method,
                        path,
                        secured="security" in operation,
                        body=_body_example(document, operation),
                    ),
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
    """Adds what FastAPI does not know of: each operation that requires credentials also accepts `x-api-key`
    and `x-organization-id`."""
    operation["security"] += [
        {"x-api-key": scopes} for each in operation["security"] for scopes in each.values()
    ]
    operation.setdefault("parameters", []).append(_ORGANIZATION)


class _Unsorted(GenerateJsonSchema):
    """Keeps the order of the fields of examples."""

    def sort(self, value: Any, parent_key: str | None = None) -> Any:
        return value


def _body_example(document: Mapping[str, Any], operation: Mapping[str, Any]) -> Any:
    """The example of an operation's body; None if it takes none."""
    if "requestBody" not in operation:
        return None
    schema = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    return document["components"]["schemas"][schema.rpartition("/")[2]]["examples"][0]


def _curl(method: str, path: str, *, secured: bool, body: Any = None) -> str:
    words = ["curl", *(["-X", method] if method != "GET" else [])]
    words += ['-H "Authorization: Bearer $KEY"'] if secured else []
    if body is not None:
        words += ['-H "Content-Type: application/json"', f"-d '{json.dumps(body)}'"]
    return " ".join([*words, f'"$URL{path}"'])


def _examples(said: Mapping[str, Any]) -> dict[str, Any]:
    return {name: said[name] for name in _EXAMPLES if name in said}


def _schemas(model: type[BaseModel] | None) -> dict[str, dict[str, Any]]:
    """The schemas of a model and of every model that it contains, by name."""
    if model is None:
        return {}
    schema = model.model_json_schema(schema_generator=_Unsorted)
    return {**schema.pop("$defs", {}), model.__name__: schema}
