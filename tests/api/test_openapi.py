"""The OpenAPI document: it is complete, and real answers match it."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
from pydantic import BaseModel

from services.api.calls import models
from services.api.figures import models as figure_models
from services.api.http import models as http_models
from shared.database.connection import Connection
from tests.support import seed
from tests.support.api import bearing, get, serving

DAYS = "&start_date=2026-11-24&end_date=2026-11-24"


async def test_every_field_of_every_answer_is_described(document: Any) -> None:
    schemas = document["components"]["schemas"]
    bare = [
        f"{name}.{field}"
        for name, schema in schemas.items()
        for field, described in schema.get("properties", {}).items()
        if not described.get("description")
    ]

    assert bare == []
    assert {"Call", "CallDetail", "CallList", "CallStats", "CallTrends", "Error", "Event"} <= set(schemas)
    assert not any("Validation" in name for name in schemas)
    assert [name for name, schema in schemas.items() if not schema.get("description")] == []


async def test_every_route_and_parameter_is_described(document: Any) -> None:
    routes = {
        (path, method): operation
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }

    assert set(routes) == {
        ("/calls", "get"),
        ("/calls/stats", "get"),
        ("/calls/trends", "get"),
        ("/calls/export", "get"),
        ("/calls/stream", "get"),
        ("/calls/{id}", "get"),
        ("/calls/{id}", "delete"),
        ("/calls/{id}/events", "get"),
        ("/calls/{id}/recording", "get"),
        *WEBHOOK_ROUTES,
        ("/health/live", "get"),
        ("/health/ready", "get"),
    }
    assert {
        route: operation["security"][0]["Bearer"]
        for route, operation in routes.items()
        if "security" in operation
    } == {
        ("/calls", "get"): [],  # calls:read or analytics:read, depending on action
        ("/calls/stats", "get"): ["analytics:read"],
        ("/calls/trends", "get"): ["analytics:read"],
        ("/calls/stream", "get"): ["calls:read"],
        ("/calls/export", "get"): ["calls:read"],
        ("/calls/{id}", "get"): ["calls:read"],
        ("/calls/{id}/events", "get"): ["calls:read"],
        ("/calls/{id}/recording", "get"): ["calls:read"],
        ("/calls/{id}", "delete"): ["calls:write"],
        **{route: ["webhooks:write"] for route in WEBHOOK_ROUTES},
    }
    assert [server["url"] for server in document["servers"]] == ["/", "/v1"]
    for (path, _), operation in routes.items():
        assert operation["summary"]
        assert operation["description"]
        for parameter in operation.get("parameters", []):
            assert parameter.get("description"), parameter
        if path.startswith("/calls"):
            by_bearer, by_header = operation["security"]
            assert by_bearer["Bearer"] == by_header["x-api-key"]
            assert {"400", "401", "403", "503", "default"} < set(operation["responses"])
    assert {parameter["name"] for parameter in routes["/calls", "get"]["parameters"]} == {
        "action",
        "page",
        "limit",
        "status",
        "direction",
        "phone_number_id",
        "start_date",
        "end_date",
        "from_date",
        "to_date",
        "endpoint_id",
        "from_number",
        "to_number",
        "number",
        "external_id",
        "hangup_cause",
        "counted_cause",
        "answered",
        "seizure",
        "effective",
        "has_phone_number",
        "min_duration",
        "max_duration",
        "has_recording",
        "has_transcript",
        "offset",
        "cursor",
        "sort",
        "order",
        "total",
        "interval",
        "group_by",
        "compare",
        "include",
        "week_start",
        "x-organization-id",
    }


async def test_the_three_answers_of_one_path_are_documented(document: Any) -> None:
    answer = document["paths"]["/calls"]["get"]["responses"]["200"]["content"]["application/json"]

    schema = document["components"]["schemas"][answer["schema"]["$ref"].rpartition("/")[2]]
    assert [choice["$ref"].rpartition("/")[2] for choice in schema["oneOf"]] == [
        "CallList",
        "CallStats",
        "CallTrends",
    ]
    assert set(answer["examples"]) == {"list", "stats", "trends"}


WEBHOOK_ROUTES = (
    ("/webhooks", "post"),
    ("/webhooks", "get"),
    ("/webhooks/{id}", "get"),
    ("/webhooks/{id}", "patch"),
    ("/webhooks/{id}", "delete"),
    ("/webhooks/{id}/rotate", "post"),
    ("/webhooks/{id}/test", "post"),
    ("/webhooks/{id}/deliveries", "get"),
    ("/webhooks/{id}/deliveries/{delivery_id}", "get"),
    ("/webhooks/{id}/deliveries/{delivery_id}/resend", "post"),
)


def _examples() -> Iterator[tuple[type[BaseModel], Any]]:
    yield models.CallList, models.LIST_EXAMPLE
    yield figure_models.CallStats, figure_models.STATS_EXAMPLE
    yield figure_models.CallTrends, figure_models.TRENDS_EXAMPLE
    of_one = (
        figure_models.CallFigures,
        models.Call,
        models.CallDetail,
        models.Event,
        models.EventList,
        models.RecordingLink,
        models.CallRecording,
    )
    for model in of_one:
        for example in model.model_json_schema()["examples"]:
            yield model, example


async def test_examples_are_answers(document: Any) -> None:
    for model, example in _examples():
        model.model_validate(example, extra="forbid")
    for operations in document["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if status[0] != "2" and status != "304":
                    (http_models.TooManyRequests if status == "429" else http_models.Error).model_validate(
                        response["content"]["application/json"]["example"], extra="forbid"
                    )


async def test_real_answers_are_what_is_documented(api: httpx.AsyncClient, database: Connection) -> None:
    acme = await seed.tenant(database)
    bare = await seed.call(database, acme, status="initiated")
    full = await seed.call(
        database,
        acme,
        call_id="3848276298220188511@atlanta.example.com",
        from_number="+1",
        to_number="+2",
        direction="inbound",
        duration=1,
        cost="0.25",
        latency_ms=1,
        phone_number_id="6f1c2f0e-5d1b-4d0a-9a59-3f0f6f2b7c11",
        endpoint_id="6f1c2f0e-5d1b-4d0a-9a59-3f0f6f2b7c12",
        recording_url="https://recordings.example.com/1.mp3",
        hangup_cause="NORMAL_CLEARING",
        transcript="hello",
    )
    answers: list[tuple[type[BaseModel], Any]] = [
        (models.CallList, await get(api, acme, "/calls")),
        (models.CallDetail, await get(api, acme, f"/calls/{bare}")),
        (models.CallDetail, await get(api, acme, f"/calls/{full}")),
        (models.EventList, await get(api, acme, f"/calls/{full}/events")),
        (models.RecordingLink, await get(api, acme, f"/calls/{full}/recording")),
        (figure_models.CallStats, await get(api, acme, "/calls?action=stats")),
        (figure_models.CallTrends, await get(api, acme, "/calls?action=trends")),
        *[
            (figure_models.CallStats, await get(api, acme, f"/calls/stats?{more}{DAYS}"))
            for more in ("group_by=phone_number", "compare=previous", "include=peak_concurrency")
        ],
        *[
            (figure_models.CallTrends, await get(api, acme, f"/calls/trends?{more}{DAYS}"))
            for more in (
                "interval=hour&compare=previous",
                "interval=day&include=percentiles,hangup_causes&group_by=status",
                "interval=week&week_start=sunday",
                "interval=month",
            )
        ],
        (http_models.Health, (await api.get("/health/live")).json()),
        (http_models.Health, (await api.get("/health/ready")).json()),
        (http_models.Error, (await api.get("/nowhere")).json()),
        (http_models.Error, (await api.get("/calls")).json()),
        (http_models.Error, (await api.get("/calls?page=0", headers=bearing(acme.key))).json()),
    ]

    for model, answer in answers:
        read = model.model_validate(answer, extra="forbid")
        always = {name for name, field in model.model_fields.items() if field.is_required()}
        assert always <= set(answer) <= set(model.model_fields)
        for value in read.model_dump().values():
            assert not isinstance(value, Decimal) or value in (0.25, 0.125)  # a JSON number, not a text


async def test_the_documentation_needs_no_internet() -> None:
    async with serving("postgresql://postgres@127.0.0.1:1/none") as api:
        page = await api.get("/docs")
        assert page.status_code == 200
        assert "https://" not in page.text
        for asset in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"):
            assert f"/static-offline-docs/{asset}" in page.text
            assert (await api.get(f"/static-offline-docs/{asset}")).status_code == 200
