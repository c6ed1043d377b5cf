"""Cross-origin requests: the CORS headers of every answer."""

from collections.abc import AsyncIterator, Mapping
from uuid import uuid4

import httpx
import pytest

from shared.database.connection import Connection
from tests.support import seed
from tests.support.api import bearing, serving

DASHBOARD = "https://dash.example.com"
ORIGINS = f"{DASHBOARD},http://localhost:3000"
PREFLIGHT = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(database_url, api_cors_origins=ORIGINS, plans="one=1/day") as client:
        yield client


def told(headers: Mapping[str, str]) -> dict[str, str]:
    """The CORS headers."""
    return {name: value for name, value in headers.items() if name.startswith("access-control-")}


async def test_a_preflight_needs_no_credentials(api: httpx.AsyncClient) -> None:
    for path, method in (
        ("/calls", "GET"),
        ("/v1/calls/stats", "GET"),
        (f"/calls/{uuid4()}", "DELETE"),
        ("/health/live", "HEAD"),
    ):
        asked = {
            "Origin": "http://localhost:3000",
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": "authorization,x-api-key,x-organization-id,if-none-match",
        }
        answer = await api.options(path, headers=asked)
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
        assert method in answer.headers["access-control-allow-methods"].split(", ")
        allowed = answer.headers["access-control-allow-headers"].lower().split(", ")
        assert set(asked["Access-Control-Request-Headers"].split(",")) <= set(allowed)
        assert "Origin" in answer.headers["vary"]
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    "asked",
    [
        {"Origin": "https://evil.example", **PREFLIGHT},
        {"Origin": "http://dash.example.com", **PREFLIGHT},
        {"Origin": "null", **PREFLIGHT},
        {"Origin": f"{DASHBOARD}.evil.example", **PREFLIGHT},
        {"Origin": DASHBOARD, **PREFLIGHT, "Access-Control-Request-Method": "PUT"},
        {"Origin": DASHBOARD, **PREFLIGHT, "Access-Control-Request-Headers": "x-other"},
    ],
)
async def test_a_preflight_for_what_is_not_allowed_is_refused(
    api: httpx.AsyncClient, asked: dict[str, str]
) -> None:
    answer = await api.options("/calls", headers=asked)

    assert (answer.status_code, answer.json()["code"]) == (400, "CORS_REFUSED")
    if asked["Origin"] != DASHBOARD:
        assert "access-control-allow-origin" not in answer.headers


async def test_every_answer_may_be_read_also_errors(api: httpx.AsyncClient, database: Connection) -> None:
    acme, limited = await seed.tenant(database), await seed.tenant(database)
    await database.execute("UPDATE organizations SET plan = 'one' WHERE id = $1", limited.id)
    gone, damaged = [await seed.call(database, acme, status="initiated") for _ in range(2)]
    await database.execute("UPDATE call_events SET payload = 'damaged' WHERE call_id = $1", damaged)
    by_acme = bearing(acme.key) | {"Origin": DASHBOARD}
    by_limited = bearing(limited.key) | {"Origin": DASHBOARD}

    async def answers() -> AsyncIterator[tuple[int, httpx.Response]]:
        yield 200, await api.get("/calls", headers=by_acme)
        stats = await api.get("/calls/stats", headers=by_acme)
        yield 200, stats
        yield 304, await api.get("/calls/stats", headers=by_acme | {"If-None-Match": stats.headers["etag"]})
        yield 200, await api.get("/calls/export", headers=by_acme)
        yield 204, await api.delete(f"/calls/{gone}", headers=by_acme)
        yield 400, await api.get("/calls?page=0", headers=by_acme)
        yield 401, await api.get("/calls", headers={"Origin": DASHBOARD})
        yield 404, await api.get(f"/calls/{gone}", headers=by_acme)
        yield 405, await api.post("/calls", headers=by_acme)
        yield 500, await api.get(f"/calls/{damaged}", headers=by_acme)
        yield 200, await api.get("/calls", headers=by_limited)
        yield 429, await api.get("/calls", headers=by_limited)
        await database.execute("DROP TABLE daily_call_deltas CASCADE")
        yield 503, await api.get("/calls/stats", headers=by_acme)

    async for status, answer in answers():
        assert answer.status_code == status, answer.text
        assert answer.headers["access-control-allow-origin"] == DASHBOARD
        assert answer.headers["vary"].split(", ").count("Origin") == 1
        exposed = answer.headers["access-control-expose-headers"].split(", ")
        assert {"ETag", "Retry-After", "X-RateLimit-Remaining"} <= set(exposed)


async def test_other_pages_and_programs_are_told_nothing(
    api: httpx.AsyncClient, database: Connection
) -> None:
    acme = await seed.tenant(database)
    for headers in ({"Origin": "https://evil.example"}, {}):
        answer = await api.get("/calls", headers=bearing(acme.key) | headers)
        assert answer.status_code == 200
        assert "access-control-allow-origin" not in answer.headers
        assert "Origin" in answer.headers["vary"], "for a cache must not give it to a page that may"


async def test_a_star_is_for_all(database_url: str, database: Connection) -> None:
    acme = await seed.tenant(database)
    async with serving(database_url, api_cors_origins="*") as api:
        preflight = await api.options("/calls", headers={"Origin": "https://any.example", **PREFLIGHT})
        answer = await api.get("/calls", headers=bearing(acme.key) | {"Origin": "https://any.example"})

    assert preflight.status_code == 204
    for each in (preflight, answer):
        assert each.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in each.headers


async def test_without_the_setting_there_is_none(database_url: str, database: Connection) -> None:
    acme = await seed.tenant(database)
    async with serving(database_url) as api:
        preflight = await api.options("/calls", headers={"Origin": DASHBOARD, **PREFLIGHT})
        answer = await api.get("/calls", headers=bearing(acme.key) | {"Origin": DASHBOARD})

    assert preflight.status_code == 405
    assert (told(preflight.headers), told(answer.headers)) == ({}, {})
