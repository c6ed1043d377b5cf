"""docs/reference/api.md: the OpenAPI document as a page."""

import json
from collections.abc import Iterator
from typing import Any, Final

from services.api.app import create_app
from services.ops.reference.markdown import table
from shared.settings.api import ApiSettings

_OPENING: Final = """\
# The HTTP API

*Generated from the OpenAPI document by `python -m services.ops.reference`. A running API serves the document
at `/openapi.json`, an interactive page at `/docs`, and the AsyncAPI document of the topic at
`/asyncapi.json`.*
"""

_PARAMETERS: Final = ("parameter", "value", "meaning")

_SETUP: Final = """
[Manage keys and users](../how-to/manage-keys-and-users.md) explains keys, users' tokens, scopes, networks and
limits.

The examples use five shell variables:

    URL=http://127.0.0.1:8000
    KEY=kros_live_…
    ID=0b8f6c1e-7a52-5c55-8d3a-0a4b8f1c2d3e
    WEBHOOK=5a5c3a50-9a3c-4d0e-8a53-0f6f2b7c1111
    DELIVERY=4711
"""

_LISTED_MAX: Final = 20
"""The most values of a type that the page lists. The OpenAPI document has all of them."""

_CLIENTS: Final = """
## Clients

Generators for many languages can create a client from the document. In Python, use
[openapi-python-client](https://github.com/openapi-generators/openapi-python-client):

    pip install openapi-python-client
    echo "literal_enums: true" > client.yaml
    openapi-python-client generate --url "$URL/openapi.json" --config client.yaml
    pip install ./callfold-client

Then:

    from callfold_client import AuthenticatedClient
    from callfold_client.api.calls import get_calls
    from callfold_client.api.figures import get_stats

    client = AuthenticatedClient(base_url=URL, token=KEY)
    page = get_calls.sync(client=client, status="completed", limit=50)
    for call in page.data:
        print(call.id, call.created_at, call.duration)
    print(get_stats.sync(client=client, compare="previous", start_date=first, end_date=last).asr)

In TypeScript, use [Hey API](https://heyapi.dev):

    npm install @hey-api/openapi-ts typescript@5
    npx openapi-ts --input "$URL/openapi.json" --output callfold

Then:

    import { client } from "./callfold/client.gen";
    import { getCall, getStats } from "./callfold";

    client.setConfig({ baseUrl: URL, auth: KEY });
    const call = await getCall({ path: { id } });
    console.log(call.data?.status, call.data?.events.length);
    const stats = await getStats({ query: { start_date: "2026-11-01" } });
    console.log(stats.data?.asr);
"""


def reference(document: dict[str, Any]) -> str:
    """The page in Markdown."""
    parts = [
        _OPENING,
        document["info"]["description"],
        _SETUP,
        *_contents(document),
        *every_route(document),
        *routes(document),
        *objects(document),
        _CLIENTS,
    ]
    return "\n".join(part.strip("\n") + "\n" for part in parts)


def page_of_the_api() -> str:
    """The page, from the application's own document."""
    return reference(api_document())


def api_document() -> dict[str, Any]:
    """The OpenAPI document of the API."""
    return create_app(ApiSettings(database_url="postgresql://nowhere")).openapi()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each operation with its name; the health routes come last."""
    for health in (False, True):
        for path, methods in document["paths"].items():
            if path.startswith("/health") is health:
                for method, operation in methods.items():
                    yield f"{method.upper()} {path}", operation


def _contents(document: dict[str, Any]) -> Iterator[str]:
    rows = [
        (f"[`{name}`](#{anchor(name)})", operation["summary"], _scope(operation))
        for name, operation in operations(document)
    ]
    yield "## Routes\n\n" + table(("route", "purpose", "scope"), rows)


def every_route(document: dict[str, Any]) -> Iterator[str]:
    """The section on the parameters and errors that all routes with credentials share."""
    parameters, responses = shared(document)
    yield "## Every route"
    if parameters:
        yield "Every route except health accepts these parameters:\n\n" + table(
            _PARAMETERS, map(_parameter, parameters.values())
        )
    yield "Each of them may return these errors ([all codes](errors.md)):\n\n" + table(
        ("status", "code", "when"),
        [(status, _code(response), _when(response)) for status, response in sorted(responses.items())],
    )
    yield "Example of an error:\n\n" + indented(_json(_content(responses["400"])["example"]))


def shared(document: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters (by name) and errors (by status) that all operations with credentials have."""
    secured = [operation for _, operation in operations(document) if "security" in operation]
    parameters = [_by_name(operation) for operation in secured]
    first, *others = secured
    return (
        {
            name: parameter
            for name, parameter in parameters[0].items()
            if all(each.get(name) == parameter for each in parameters)
        },
        {
            status: response
            for status, response in first["responses"].items()
            if not status.startswith("2") and all(status in other["responses"] for other in others)
        },
    )


def _by_name(operation: dict[str, Any]) -> dict[str, Any]:
    return {parameter["name"]: parameter for parameter in operation.get("parameters", [])}


def routes(document: dict[str, Any]) -> Iterator[str]:
    """A section for each route."""
    shared_parameters, shared_responses = shared(document)
    for name, operation in operations(document):
        yield f"## {name}"
        yield operation["description"]
        yield indented("\n".join(sample["source"] for sample in operation["x-codeSamples"]))
        own = [
            parameter
            for name, parameter in _by_name(operation).items()
            if parameter != shared_parameters.get(name)
        ]
        if own:
            yield table(_PARAMETERS, map(_parameter, own))
        yield table(
            ("status", "body", "when"),
            [
                (status, _body(response), _when(response))
                for status, response in sorted(operation["responses"].items())
                if response != shared_responses.get(status)
            ],
        )
        yield from _examples(document, operation)


def _parameter(parameter: dict[str, Any]) -> tuple[str, ...]:
    schema = parameter["schema"]
    value = _type(schema)
    if parameter.get("required"):
        value += ", required"
    if "default" in schema:
        value += f", default {_literal(schema['default'])}"
    shown = " or ".join(_literal(example) for example in schema.get("examples", []))
    what = parameter["description"] + (f" Example: {shown}." if shown else "")
    where = "" if parameter["in"] == "query" else f" ({parameter['in']})"
    return f"`{parameter['name']}`{where}", value, what


def _code(response: dict[str, Any]) -> str:
    return _literal(_content(response)["example"]["code"])


def _content(response: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = response["content"]["application/json"]
    return content


def _body(response: dict[str, Any]) -> str:
    if "content" not in response:
        return "none"
    return ", ".join(
        _type(said["schema"]) if media_type == "application/json" else f"`{media_type}`"
        for media_type, said in response["content"].items()
    )


def _when(response: dict[str, Any]) -> str:
    headers = response.get("headers", {})
    described = [f"`{name}`: {header['description']}" for name, header in headers.items()]
    return " ".join([response["description"], *described])


def _examples(document: dict[str, Any], operation: dict[str, Any]) -> Iterator[str]:
    """Examples of an operation's 200 responses: its own, or those of the response's schema."""
    for media_type, said in operation["responses"].get("200", {}).get("content", {}).items():
        examples = [(example["summary"], example["value"]) for example in said.get("examples", {}).values()]
        if "example" in said:
            examples.append((f"Example ({media_type})", said["example"]))
        name = _name(said["schema"])
        if not examples and name:
            schema = document["components"]["schemas"][name]
            examples = [("Example", example) for example in schema.get("examples", [])]
        for summary, value in examples:
            text = _json(value) if media_type == "application/json" else value
            yield f"{summary}:\n\n{indented(text)}"


def objects(document: dict[str, Any]) -> Iterator[str]:
    """The section on the objects of answers and bodies."""
    yield "## Objects"
    for name, schema in sorted(document["components"]["schemas"].items()):
        yield f"### {name}\n\n{schema['description']}"
        choices = schema.get("oneOf") or schema.get("anyOf")
        if choices:
            yield "One of " + ", ".join(_type(choice) for choice in choices) + "."
        elif "enum" in schema:
            yield _type(schema)
        else:
            yield table(
                ("field", "type", "meaning"),
                [
                    (f"`{field}`", _type(described), described["description"])
                    for field, described in schema.get("properties", {}).items()
                ],
            )


def _type(schema: dict[str, Any]) -> str:
    """The type of a value, in a few words."""
    if name := _name(schema):
        return f"[{name}](#{anchor(name)})"
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(_type(choice) for choice in schema[key]))
    if "const" in schema:
        return _literal(schema["const"])
    if "enum" in schema:
        values = [_literal(value) for value in schema["enum"]]
        return ", ".join(values if len(values) <= _LISTED_MAX else [*values[:3], f"… ({len(values)} values)"])
    kind: str = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_type(schema['items'])}"
    if kind == "object":
        return "object"
    limits = [f"from {schema['minimum']:,.0f}"] if "minimum" in schema else []
    limits += [f"to {schema['maximum']:,.0f}"] if "maximum" in schema else []
    return " ".join([schema.get("format", kind), *limits])


def _name(schema: dict[str, Any]) -> str | None:
    """The name of the schema that this one refers to."""
    reference: str = schema.get("$ref", "")
    return reference.rpartition("/")[2] or None


def _scope(operation: dict[str, Any]) -> str:
    if "security" not in operation:
        return "none"
    scopes = {scope for each in operation["security"] for names in each.values() for scope in names}
    return ", ".join(f"`{scope}`" for scope in sorted(scopes)) or "depends on `action`"


def _literal(value: object) -> str:
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def indented(text: str) -> str:
    """The text as a block of code."""
    return "\n".join(f"    {line}" if line else "" for line in text.splitlines())


def anchor(heading: str) -> str:
    """The anchor that GitHub generates for a heading."""
    kept = (character for character in heading.lower() if character.isalnum() or character in " -_")
    return "".join(kept).replace(" ", "-")
