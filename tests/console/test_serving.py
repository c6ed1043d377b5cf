"""The console's files over HTTP: their encodings, caching and headers."""

import gzip
import re
from collections.abc import AsyncIterator
from pathlib import Path

import cramjam
import httpx
import pytest
from fastapi import FastAPI

from services.api.console.serving import add_console
from services.api.http.errors import handle_errors
from tests.api.conftest import NOWHERE
from tests.support.api import serving
from tests.support.built_console import alone

pytestmark = pytest.mark.processes


@pytest.fixture
async def api(built: None) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an API without a database: the console's files need none."""
    with alone():
        async with serving(NOWHERE) as client:
            yield client


async def paths(api: httpx.AsyncClient) -> list[str]:
    """The page, and every file that it names."""
    page = (await api.get("/console/")).text
    return ["/console/", *re.findall(r'(?:src|href)="(/console/[^"]+)"', page)]


async def test_each_encoding_has_the_same_content(api: httpx.AsyncClient) -> None:
    for path in await paths(api):
        plain = await api.get(path, headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers
        for name, decode in (
            ("br", lambda each: bytes(cramjam.brotli.decompress(each))),
            ("gzip", gzip.decompress),
        ):
            async with api.stream("GET", path, headers={"Accept-Encoding": name}) as answer:
                encoded = b"".join([part async for part in answer.aiter_raw()])
            assert answer.headers["content-encoding"] == name
            assert answer.headers["vary"] == "Accept-Encoding"
            assert answer.headers["etag"] == plain.headers["etag"]
            assert decode(encoded) == plain.content


async def test_assets_are_cached_for_ever_and_the_page_is_asked_for_each_time(api: httpx.AsyncClient) -> None:
    page, *assets = await paths(api)
    assert (await api.get(page)).headers["cache-control"] == "no-cache"
    assert len(assets) == 3
    for asset in assets:
        assert (await api.get(asset)).headers["cache-control"] == "public, max-age=31536000, immutable"


async def test_an_unchanged_file_is_not_sent_again(api: httpx.AsyncClient) -> None:
    for path in await paths(api):
        etag = (await api.get(path)).headers["etag"]
        again = await api.get(path, headers={"If-None-Match": etag})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
        other = await api.get(path, headers={"If-None-Match": '"another"'})
        assert other.status_code == 200


async def test_every_answer_has_the_headers_of_security(api: httpx.AsyncClient) -> None:
    for path in await paths(api):
        headers = (await api.get(path)).headers
        policy = dict(each.strip().split(" ", 1) for each in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
        assert policy["require-trusted-types-for"] == "'script'"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["permissions-policy"] == "camera=(), geolocation=(), microphone=()"


async def test_each_address_of_the_console_is_the_same_page(api: httpx.AsyncClient) -> None:
    page = await api.get("/console/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for path in ("/console/calls", "/console/calls/4711", "/console/no/such/page"):
        assert (await api.get(path)).content == page.content
    redirect = await api.get("/console")
    assert (redirect.status_code, redirect.headers["location"]) == (308, "/console/")


async def test_the_licences_of_its_libraries_are_served(api: httpx.AsyncClient) -> None:
    answer = await api.get("/console/licences.txt")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    for library in ("preact", "preact-iso", "uplot", "openapi-fetch", "eventsource-parser"):
        assert f"{library}\n\n" in answer.text


async def test_a_missing_asset_is_404(api: httpx.AsyncClient) -> None:
    answer = await api.get("/console/assets/console-OLD.js")
    assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")
    assert answer.json()["error"] == "The console has no such file; reload its page."


async def test_a_path_reaches_no_file_outside(api: httpx.AsyncClient) -> None:
    for path in ("/console/assets/../../build.py", "/console/assets/%2e%2e/%2e%2e/build.py"):
        answer = await api.get(path)
        assert "npm" not in answer.text


async def test_a_console_that_is_not_built_says_how_to_build_it(tmp_path: Path) -> None:
    app = FastAPI()
    add_console(app, "console.html", tmp_path)
    handle_errors(app)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client:
        answer = await client.get("/console/")
    assert answer.status_code == 404
    assert answer.json()["error"] == (
        "The console is not built in this installation; `python -m services.api.console.build` builds it, "
        "and a restart of the API serves it."
    )
