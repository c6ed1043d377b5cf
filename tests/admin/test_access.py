"""Access to the admin API: only clients with the token get answers."""

import httpx
import pytest
from fastapi import FastAPI

from tests.admin.conftest import TOKEN

ROUTES = [
    ("GET", "/admin/lag"),
    ("GET", "/admin/quarantine"),
    ("GET", "/admin/quarantine/reasons"),
    ("GET", "/admin/quarantine/5a5c3a50-9a3c-4d0e-8a53-0f6f2b7c1111"),
    ("POST", "/admin/quarantine/redrive"),
    ("POST", "/admin/quarantine/discard"),
    ("GET", "/admin/sources"),
    ("GET", "/admin/sources/5a5c3a50-9a3c-4d0e-8a53-0f6f2b7c1111/deliveries"),
    ("GET", "/admin/webhooks"),
    ("GET", "/admin/proofs"),
    ("POST", "/admin/proofs"),
    ("GET", "/admin/proofs/5a5c3a50-9a3c-4d0e-8a53-0f6f2b7c1111"),
]


def test_these_are_all_routes(app: FastAPI) -> None:
    paths = {(method.upper(), path) for path, methods in app.openapi()["paths"].items() for method in methods}
    id_ = "5a5c3a50-9a3c-4d0e-8a53-0f6f2b7c1111"
    assert paths == {(method, path.replace(id_, "{id}")) for method, path in ROUTES}


@pytest.mark.parametrize(("method", "path"), [*ROUTES, ("GET", "/admin"), ("GET", "/admin/none")])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer "},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        {"x-api-key": TOKEN},
    ],
)
async def test_without_the_token_nothing_is_answered(
    anonymous: httpx.AsyncClient, method: str, path: str, headers: dict[str, str]
) -> None:
    answer = await anonymous.request(method, path, headers=headers, content=b"{")
    assert answer.status_code == 401
    assert answer.json() == {
        "error": "Send the admin token as Authorization: Bearer.",
        "code": "UNAUTHORIZED",
        "details": {},
    }
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.headers["Cache-Control"] == "no-store"


async def test_two_tokens_are_refused(anonymous: httpx.AsyncClient) -> None:
    both = [("Authorization", f"Bearer {TOKEN}"), ("Authorization", "Bearer other")]
    assert (await anonymous.get("/admin/proofs", headers=both)).status_code == 401


async def test_the_document_and_the_probes_need_no_token(anonymous: httpx.AsyncClient) -> None:
    document = (await anonymous.get("/admin/openapi.json")).json()
    assert document["info"]["title"] == "callfold admin API"
    assert (await anonymous.get("/health/live")).json() == {"status": "live"}
    assert (await anonymous.get("/health/ready")).json() == {"status": "ready"}
    metrics = await anonymous.get("/metrics")
    assert metrics.headers["Content-Type"].startswith("text/plain; version=")
    assert (await anonymous.head("/health/live")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "field"),
    [
        ("GET", "/admin/none", 404, "NOT_FOUND", None),
        ("DELETE", "/admin/lag", 405, "METHOD_NOT_ALLOWED", None),
        ("GET", "/admin/lag?since=1", 400, "INVALID_PARAMETER", "since"),
        ("GET", "/admin/quarantine?limit=101", 400, "INVALID_PARAMETER", "limit"),
        ("GET", "/admin/quarantine?limit=1&limit=2", 400, "INVALID_PARAMETER", "limit"),
        ("GET", "/admin/quarantine?cursor=x", 400, "INVALID_PARAMETER", "cursor"),
        ("GET", "/admin/quarantine?reason=%00", 400, "INVALID_PARAMETER", "reason"),
        ("GET", "/admin/quarantine/reasons?topic=%00", 400, "INVALID_PARAMETER", "topic"),
        (
            "GET",
            "/admin/quarantine?cursor=0001-01-01T00:00:00%2B14:00_5a5c3a50-9a3c-4d0e-8a53-0f6f2b7c1111",
            400,
            "INVALID_PARAMETER",
            "cursor",
        ),
        ("GET", "/admin/quarantine?organization_id=x", 400, "INVALID_PARAMETER", "organization_id"),
        ("GET", "/admin/quarantine/x", 400, "INVALID_PARAMETER", "id"),
        ("GET", "/admin/webhooks?cursor=2026-11-24T12:00:00_x", 400, "INVALID_PARAMETER", "cursor"),
        ("GET", "/admin/proofs/5a5c3a50-9a3c-4d0e-8a53-0f6f2b7c1111", 404, "NOT_FOUND", None),
        ("GET", "/admin/quarantine/5a5c3a50-9a3c-4d0e-8a53-0f6f2b7c1111", 404, "NOT_FOUND", None),
        ("POST", "/admin/quarantine/discard", 400, "INVALID_PARAMETER", "body"),
    ],
)
async def test_errors_are_those_of_the_public_api(
    admin: httpx.AsyncClient, method: str, path: str, status: int, code: str, field: str | None
) -> None:
    answer = await admin.request(method, path)
    said = answer.json()
    assert (answer.status_code, said["code"], said["details"].get("field")) == (status, code, field), said


@pytest.mark.parametrize("ids", [[], ["x"], ["5a5c3a50-9a3c-4d0e-8a53-0f6f2b7c1111"] * 101])
async def test_one_to_a_hundred_ids_are_taken(admin: httpx.AsyncClient, ids: list[str]) -> None:
    answer = await admin.post("/admin/quarantine/redrive", json={"ids": ids})
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_PARAMETER")
    assert answer.json()["details"]["field"] == "ids"
