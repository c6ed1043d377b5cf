"""Tools can read the OpenAPI document: it is valid, its examples match, and each type of a generated client
has a name."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator


def operations(document: Any) -> Iterator[tuple[str, Any]]:
    """Each operation with its name."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def answers(document: Any) -> Iterator[tuple[str, Any]]:
    """The content of each operation's responses, by status and media type."""
    for name, operation in operations(document):
        for status, response in operation["responses"].items():
            for media_type, said in response.get("content", {}).items():
                yield f"{name}, {status}, {media_type}", said


def violations(document: Any, schema: Any, value: Any) -> list[str]:
    """The violations of a schema of the document by a value."""
    whole = {**schema, "components": document["components"]}
    validator = OAS31Validator(whole, format_checker=OAS31Validator.FORMAT_CHECKER)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


def test_it_is_openapi_3_1(document: Any) -> None:
    assert document["openapi"].startswith("3.1.")
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


PYDANTICS_OWN = {"ge", "gt", "le", "lt", "max_length", "min_length"}
"""The keywords that Pydantic writes if a limit is beside a nullable type instead of within it."""


def test_no_limit_of_a_parameter_is_lost(document: Any) -> None:
    lost = {
        f"{name} {parameter['name']}": PYDANTICS_OWN & set(parameter["schema"])
        for name, operation in operations(document)
        for parameter in operation.get("parameters", [])
    }
    assert {name: limits for name, limits in lost.items() if limits} == {}


def test_every_operation_shows_how_to_ask(document: Any) -> None:
    assert [name for name, operation in operations(document) if not operation["x-codeSamples"]] == []


def test_every_example_is_what_it_is_an_example_of(document: Any) -> None:
    examples: list[tuple[str, Any, Any]] = []
    for name, said in answers(document):
        shown = [each["value"] for each in said.get("examples", {}).values()]
        shown += [said["example"]] if "example" in said else []
        examples += [(name, said["schema"], value) for value in shown]
    for name, operation in operations(document):
        for parameter in operation.get("parameters", []):
            schema = parameter["schema"]
            examples += [
                (f"{name} {parameter['name']}", schema, value) for value in schema.get("examples", [])
            ]
    for name, schema in document["components"]["schemas"].items():
        examples += [(name, schema, value) for value in schema.get("examples", [])]

    assert {name for name, _, _ in examples} >= {"GET /calls, 200, application/json", "CallDetail"}
    assert {
        name: broken for name, schema, value in examples if (broken := violations(document, schema, value))
    } == {}


def test_every_answer_of_an_error_shows_one(document: Any) -> None:
    bare = [
        name
        for name, said in answers(document)
        if not re.search(", 2[0-9]{2},", name) and not (said.get("example") or said.get("examples"))
    ]
    assert bare == []


def test_a_generated_client_has_a_name_for_everything(document: Any) -> None:
    """Each operation has a unique id that is a valid function name. Each object, and each choice between
    objects, is a named schema."""
    ids = Counter(operation["operationId"] for _, operation in operations(document))
    assert [name for name, number in ids.items() if number > 1 or not name.isidentifier()] == []

    for name, schema in document["components"]["schemas"].items():
        assert name.isidentifier(), name
        for field, described in schema.get("properties", {}).items():
            assert list(_nameless_objects(described)) == [], f"{name}.{field}"
    for name, said in answers(document):
        if name.endswith("application/json"):
            assert set(said["schema"]) == {"$ref"}, name
    for name, operation in operations(document):
        for parameter in operation.get("parameters", []):
            assert list(_nameless_objects(parameter["schema"])) == [], f"{name} {parameter['name']}"


def test_a_generated_client_sends_nothing_that_its_action_refuses(document: Any) -> None:
    """Some clients send every default of a route, and some actions of `GET /calls` refuse some of them."""
    parameters = document["paths"]["/calls"]["get"]["parameters"]
    schemas = [each for parameter in parameters for each in _all_schemas(parameter["schema"])]
    assert [schema for schema in schemas if "default" in schema] == []


def _all_schemas(schema: Any) -> Iterator[Any]:
    yield schema
    for choice in schema.get("anyOf", []):
        yield from _all_schemas(choice)


def _nameless_objects(schema: Any) -> Iterator[Any]:
    """The objects with fields within a schema that are not references."""
    if "properties" in schema:
        yield schema
    for key in ("anyOf", "oneOf", "allOf"):
        for choice in schema.get(key, []):
            yield from _nameless_objects(choice)
    if isinstance(schema.get("items"), dict):
        yield from _nameless_objects(schema["items"])
