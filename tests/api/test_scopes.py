"""Scopes: each route requires the one that docs/how-to/manage-keys-and-users.md names."""

import re
from uuid import uuid4

import pytest
from fastapi.routing import APIRoute

from services.api.app import ROUTERS
from shared.api_keys import SCOPES
from shared.database.connection import Connection
from tests.support import seed
from tests.support.api import bearing, serving
from tests.support.repository import ROOT

PAGE = ROOT / "docs" / "how-to" / "manage-keys-and-users.md"
NEEDED = re.findall(r"^\| `([A-Z]+) (/\S+)` \| `(\S+)` \|$", PAGE.read_text(), re.MULTILINE)


def test_every_route_is_in_the_table() -> None:
    routes = {
        (method, route.path_format)
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }

    assert {(method, path.partition("?")[0]) for method, path, _ in NEEDED} == routes
    assert {scope for _, _, scope in NEEDED} == set(SCOPES)


@pytest.mark.parametrize("version", ["", "/v1"])
async def test_a_key_with_one_scope_may_ask_where_that_is_needed(
    database_url: str, database: Connection, version: str
) -> None:
    acme = await seed.tenant(database)
    keys = {
        scope: await seed.key(database, acme.id, scopes=[scope] if scope else []) for scope in ("", *SCOPES)
    }

    async with serving(database_url) as api:
        for method, path, needed in NEEDED:
            url = version + path.replace("{id}", str(uuid4())).replace("{delivery_id}", "1")
            assert (await api.request(method, url)).status_code == 401
            for scope, key in keys.items():
                answer = await api.request(method, url, headers=bearing(key))
                if scope == needed and path == "/calls/stream":
                    # Nothing is streamed without Kafka: tests/stream has the answers with it.
                    assert (answer.status_code, answer.json()["code"]) == (503, "CHANGES_UNAVAILABLE")
                elif scope == needed:
                    lacks_body = {400} if method in ("POST", "PATCH") else set()
                    assert answer.status_code in {200, 404} | lacks_body, (method, path, scope)
                else:
                    sentence = f"These credentials lack the scope {needed}, which this request requires."
                    assert (answer.status_code, answer.json()["error"]) == (403, sentence), (
                        method,
                        path,
                        scope,
                    )
