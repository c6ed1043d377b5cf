"""docs/reference/api.md: the OpenAPI document as a page. Its command lines work, and those of the page for
clients."""

import re
import shlex
from typing import Any

from services.ops.reference.api_page import reference
from shared.database.connection import Connection
from tests.support import seed
from tests.support.api import bearing, serving
from tests.support.repository import ROOT

READ_ALL_CALLS = ROOT / "docs" / "how-to" / "read-all-calls.md"


def test_the_page_tells_of_every_route_parameter_and_object_and_its_links_lead_somewhere(
    document: Any,
) -> None:
    page = reference(document)

    headings = re.findall("^#+ (.*)$", page, re.MULTILINE)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert f"{method.upper()} {path}" in headings
            for parameter in operation.get("parameters", []):
                assert f"| `{parameter['name']}`" in page
    assert set(document["components"]["schemas"]) <= set(headings)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#(.*?)\)", page)) <= anchors


async def test_every_command_line_of_the_page_works(
    document: Any, database: Connection, database_url: str
) -> None:
    acme = await seed.tenant(database)
    lines = re.findall("^    (curl .*)$", reference(document), re.MULTILINE)
    assert len(lines) >= 5

    async with serving(database_url) as api:
        for line in lines:
            call = await seed.call(database, acme, recording_url="https://recordings.example.com/1.mp3")
            filled = line.replace("$URL", "http://api").replace("$KEY", acme.key).replace("$ID", str(call))
            method, headers, url = _request(shlex.split(filled))
            answer = await api.request(method, url, headers=headers)
            # Nothing is streamed without Kafka: tests/stream runs this line with it.
            expected = 503 if "/calls/stream" in line else answer.is_success and answer.status_code
            assert answer.status_code == expected, (line, answer.text)


def _request(words: list[str]) -> tuple[str, dict[str, str], str]:
    """The request that curl would send for these words: method, headers, URL."""
    method, headers = "GET", {}
    curl, *options, url = words
    assert curl == "curl"
    for option, value in zip(options[::2], options[1::2], strict=True):
        if option == "-H":
            name, _, held = value.partition(": ")
            headers[name] = held
        else:
            assert option == "-X", option
            method = value
    return method, headers, url


async def test_every_request_of_the_page_for_clients_works(database: Connection, database_url: str) -> None:
    acme = await seed.tenant(database)
    await seed.call(database, acme)
    urls = re.findall(r'"\$URL(/[^"]*)"', READ_ALL_CALLS.read_text())
    assert len(urls) >= 5

    async with serving(database_url) as api:
        page = await api.get("/calls?limit=1", headers=bearing(acme.key))
        assert {"data", "next_cursor", "transcripts_left_out"} <= page.json().keys()
        for url in urls:
            filled = url.replace("$next", "").replace("$since", "2026-11-23T10:00:00Z")
            assert "$" not in filled
            answer = await api.get(filled, headers=bearing(acme.key))
            assert answer.status_code == 200, (url, answer.text)
            if "/stats" in url:
                tag = answer.headers["ETag"]
                again = await api.get(filled, headers=bearing(acme.key) | {"If-None-Match": tag})
                assert again.status_code == 304
