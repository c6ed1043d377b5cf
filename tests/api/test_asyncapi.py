"""The AsyncAPI document: valid, about the topic of the settings, and served as the OpenAPI document is."""

import json
from collections.abc import Iterator
from typing import Any, get_args

from faststream.specification.asyncapi.v3_0_0.schema import ApplicationSchema
from jsonschema import Draft7Validator, Draft202012Validator

from services.api.asyncapi import document
from shared.calls.event import EventType
from shared.calls.event_schema import event_schema
from tests.api.conftest import NOWHERE
from tests.support.api import serving

DOCUMENT = document("call-events")


def test_it_is_asyncapi_3_0() -> None:
    """FastStream's models know each object of it, but for the settings of the topic."""
    known = ApplicationSchema.model_validate(DOCUMENT).model_dump(
        mode="json", by_alias=True, exclude_unset=True
    )
    expected = json.loads(json.dumps(DOCUMENT))
    kafka = expected["channels"]["events"]["bindings"]["kafka"]
    assert kafka.pop("topicConfiguration") == {"cleanup.policy": ["delete"]}

    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert known == expected


def test_every_reference_leads_to_an_object() -> None:
    references = list(_references(DOCUMENT))
    assert len(references) == 4
    for reference in references:
        found: Any = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
        assert isinstance(found, dict)


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _references(child)


def test_callfold_receives_the_events_that_the_schema_describes() -> None:
    operation = DOCUMENT["operations"]["readEvents"]
    message = DOCUMENT["components"]["messages"]["event"]
    payload = DOCUMENT["components"]["schemas"]["event"]

    assert operation["action"] == "receive"
    assert payload == {name: said for name, said in event_schema().items() if name != "$schema"}
    Draft7Validator.check_schema(payload)
    assert [one["name"] for one in message["examples"]] != []
    assert {one["name"] for one in message["examples"]} == set(get_args(EventType))
    for one in message["examples"]:
        Draft7Validator(payload).validate(one["payload"])


def test_traceparent_is_optional_and_other_headers_are_allowed() -> None:
    headers = Draft202012Validator(DOCUMENT["components"]["messages"]["event"]["headers"])
    good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    for allowed in ({}, {"traceparent": good}, {"content-type": "application/json"}):
        assert headers.is_valid(allowed)
    assert not headers.is_valid({"traceparent": good.upper()})


async def test_it_is_served_as_the_openapi_document_is() -> None:
    async with serving(NOWHERE, topic="telephony.calls") as api:
        said, as_openapi = await api.get("/asyncapi.json"), await api.get("/openapi.json")
        assert said.status_code == as_openapi.status_code == 200
        assert said.json() == document("telephony.calls")
        assert set(said.headers) == set(as_openapi.headers)
        assert said.headers["content-type"] == as_openapi.headers["content-type"]
        assert (await api.head("/asyncapi.json")).status_code == (await api.head("/openapi.json")).status_code
        for prefix in ("asyncapi", "openapi"):
            assert (await api.get(f"/v1/{prefix}.json")).status_code == 404
            assert f"/{prefix}.json" not in as_openapi.json()["paths"]

    channel = said.json()["channels"]["events"]
    assert channel["address"] == channel["bindings"]["kafka"]["topic"] == "telephony.calls"
