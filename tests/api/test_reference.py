"""docs/reference/api.md: the OpenAPI document as a page. Its command lines work, and those of the page for
clients."""

import re
import shlex
from typing import Any

from services.ops.reference.api_page import reference
from shared.database.connection import Connection
from shared.secret_box import new_key
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

    async with serving(database_url, secrets_key=new_key()) as api:
        for line in lines:
            call = await seed.call(database, acme, recording_url="https://recordings.example.com/1.mp3")
            made = await api.post("/webhooks", json={"url": "https://example.com"}, headers=bearing(acme.key))
            webhook = made.json()["id"]
            sent = await api.post(f"/webhooks/{webhook}/test", headers=bearing(acme.key))
            filled = (
                line.replace("$URL", "http://api")
                .replace("$KEY", acme.key)
                .replace("$ID", str(call))
                .replace("$WEBHOOK", webhook)
                .replace("$DELIVERY", str(sent.json()["id"]))
            )
            method, headers, url, body = _request(shlex.split(filled))
            answer = await api.request(method, url, headers=headers, content=body)
            # Nothing is streamed without Kafka: tests/stream runs this line with it.
            expected = 503 if "/calls/stream" in line else answer.is_success and answer.status_code
            assert answer.status_code == expected, (line, answer.text)
            await api.delete(f"/webhooks/{webhook}", headers=bearing(acme.key))


def _request(words: list[str]) -> tuple[str, dict[str, str], str, str | None]:
    """The request that curl would send for these words: method, headers, URL, body."""
    method, headers, body = "GET", {}, None
    curl, *options, url = words
    assert curl == "curl"
    for option, value in zip(options[::2], options[1::2], strict=True):
        if option == "-H":
            name, _, held = value.partition(": ")
            headers[name] = held
        elif option == "-d":
            body = value
        else:
            assert option == "-X", option
            method = value
    return method, headers, url, body


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
