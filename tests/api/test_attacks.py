"""Requests that an attacker would try. Routes and parameters come from the OpenAPI document, so that each new
one is attacked from its first day."""

import asyncio
import csv
import io
import json
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote_to_bytes
from uuid import UUID, uuid4

import httpx
import jwt
import pytest

from services.api.app import create_app
from shared.database.connection import Connection
from shared.database.roles import API
from shared.secret_box import SecretBox, new_key
from shared.settings.api import ApiSettings
from shared.store.webhook_deliveries import send_test
from shared.store.webhooks import create_webhook
from tests.support import seed
from tests.support.monitoring import Monitor
from tests.support.processes import Service, until
from tests.support.raw_http import Answer, ask, request
from tests.support.roles import as_role
from tests.support.seed import Tenant
from tests.support.token_issuer import ISSUER, SECRET, claims, sign_with_secret

IDS_OF_ACME = {
    "phone_number_id": "6f1c2f0e-5d1b-4d0a-9a59-3f0f6f2b7c11",
    "endpoint_id": "6f1c2f0e-5d1b-4d0a-9a59-3f0f6f2b7c12",
    "external_id": "MARK-acme@pbx.example",
}
END = b"\r\n\r\n"
USER = UUID("7d1f7a52-95f4-4f0e-8d5c-1c8a7b1f3a10")

HOSTILE: dict[str, bytes] = {
    "a condition": b"'%20OR%20'1'='1",
    "a comment": b"x'--",
    "a second statement": b"1;%20DROP%20TABLE%20calls;--",
    "a union": b"0)%20UNION%20SELECT%20key_hash,null%20FROM%20api_keys--",
    "a sleep": b"1'%7C%7Cpg_sleep(10)%7C%7C'",
    "dollar quotes": b"$$;DELETE%20FROM%20calls;$$",
    "a placeholder": b"$1",
    "a wildcard": b"%25",
    "a format": b"%25s%25n%7B0.__class__%7D",
    "a template": b"%7B%7B7*7%7D%7D$%7B7*7%7D",
    "nothing": b"",
    "a null byte": b"%00",
    "a null byte at the end": b"completed%00",
    "a surrogate": b"%ED%A0%80",
    "an overlong slash": b"%C0%AF",
    "cut off UTF-8": b"%F0%9F",
    "not UTF-8": b"%FF%FE",
    "from right to left": b"%E2%80%AE%D7%A9%D7%9C%D7%95%D7%9D",
    "other digits": b"%D9%A1%D9%A2",
    "a line break": b"a%0D%0AX-Injected:%201",
    "a path": b"..%2F..%2Fetc%2Fpasswd",
    "a script": b"%3Cscript%3Ealert(1)%3C%2Fscript%3E",
    "10^30": b"1" + b"0" * 30,
    "-10^30": b"-1" + b"0" * 30,
    "2^63": b"9223372036854775808",
    "more than a float holds": b"1e400",
    "no number": b"NaN",
    "without end": b"Infinity",
    "deep JSON": b"%5B" * 3000,
    "an object": b"%7B%22$ne%22:null%7D",
    "a megabyte": b"9" * 1_000_000,
}
TOO_LARGE = {0, 413, 414, 431}
"""The statuses with which the server refuses a request that it does not read to the end; 0: it only
closes."""


class Operation(NamedTuple):
    """One of the document's operations that require credentials."""

    method: str
    path: str
    parameters: dict[str, str]
    """The place of each parameter, by name: `query`, `path` or `header`."""
    body: bytes | None
    """A body that it takes; None if it takes none."""

    def request(self, call_id: object, *lines: bytes, query: bytes = b"") -> bytes:
        """A valid request, except for this query and these lines of the head."""
        path = self.path.replace("{id}", str(call_id)).replace("{delivery_id}", "1").encode()
        target = path + (b"?" + query if query else b"")
        if self.body is None:
            return request(self.method, target, *lines)
        described = b"Content-Type: application/json\r\nContent-Length: %d" % len(self.body)
        return request(self.method, target, *lines, described) + self.body


def _operations() -> Iterator[Operation]:
    document = create_app(ApiSettings(database_url="postgresql://postgres@127.0.0.1:1/none")).openapi()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if "security" in operation:
                parameters = {each["name"]: each["in"] for each in operation.get("parameters", [])}
                body = None
                if "requestBody" in operation:
                    schema = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
                    named = document["components"]["schemas"][schema.rpartition("/")[2]]
                    body = json.dumps(named["examples"][0]).encode()
                yield Operation(method.upper(), path, parameters, body)


OPERATIONS = tuple(_operations())
STREAM = "/calls/stream"


class Site(NamedTuple):
    """A running API with two organizations: Acme, which has data to hide, and Mallory."""

    port: int
    acme: Tenant
    mallory: Tenant
    call_id: UUID
    """A call of Acme's."""

    async def ask(self, requests: Iterable[tuple[str, bytes]]) -> dict[str, Answer]:
        """The answers to all of these requests, by name."""
        few = asyncio.Semaphore(8)

        async def one(sent: bytes) -> Answer:
            async with few:
                return await ask(self.port, sent)

        named = dict(requests)
        answers = await asyncio.gather(*map(one, named.values()))
        return dict(zip(named, answers, strict=True))


@pytest.fixture
async def site(
    database: Connection, database_url: str, free_tcp_port_factory: Callable[[], int], tmp_path: Path
) -> AsyncIterator[Site]:
    """The site. At its end the process still runs without a fault, no data is lost, and its log has no
    secret."""
    acme, mallory = [await seed.tenant(database) for _ in range(2)]
    key = new_key()
    ids = {name: value for name, value in IDS_OF_ACME.items() if name != "external_id"}
    call_id = await _call(database, acme, "acme", call_id=IDS_OF_ACME["external_id"], **ids)
    await _call(database, mallory, "mallory")
    await _webhook(database, acme, call_id, key)
    monitor, port = Monitor(free_tcp_port_factory()), free_tcp_port_factory()
    api = Service(
        "api",
        tmp_path / "log",
        database_url=as_role(database_url, API),
        monitor_port=str(monitor.port),
        api_port=str(port),
        jwt_secret=SECRET,
        jwt_issuer=ISSUER,
        log_level="DEBUG",
        kafka_bootstrap="127.0.0.1:1",  # a stream that begins would not end
        api_export_connections="10",  # for concurrent exports
        secrets_key=key,
    )
    try:
        await until(monitor.is_ready, "the API to be ready")
        yield Site(port, acme, mallory, call_id)
        requests = (await monitor.families())["callfold_api_requests"]
    finally:
        api.stop()

    failed = [each.labels for each in requests.samples if each.labels.get("status", "")[:1] == "5"]
    assert all((each["route"], each["status"]) == (STREAM, "503") for each in failed), failed
    assert await database.fetchval("SELECT count(*) FROM calls") >= 2
    assert await database.fetchval("SELECT count(*) FROM api_keys") >= 4
    assert await seed.recount(database) == {}
    log = api.log.read_text()
    for secret in ("MARK", "Traceback", "/calls", "eyJ", acme.key, mallory.key):
        assert secret not in log


async def _webhook(database: Connection, tenant: Tenant, webhook_id: UUID, key: str) -> None:
    """A webhook with a delivery. Its id is a call's, so that each path with an id names something."""
    box = SecretBox([key])
    async with database.transaction():
        webhook, _ = await create_webhook(
            database,
            box,
            organization_id=tenant.id,
            livemode=True,
            url="https://MARK-acme.example.com",
            description="MARK-acme",
            types=[],
            actor="test",
        )
        await database.execute("UPDATE webhooks SET id = $1 WHERE id = $2", webhook_id, webhook.id)
        await send_test(database, replace(webhook, id=webhook_id), datetime.now(UTC))


async def _call(database: Connection, tenant: Tenant, name: str, **data: Any) -> UUID:
    known: dict[str, Any] = {
        "from_number": f"MARK-{name}",
        "to_number": "MARK-to",
        "recording_url": f"https://recordings.example.com/MARK-{name}.mp3",
        "transcript": f"MARK-{name}",
        "hangup_cause": f"MARK-{name}",
        "duration": 60,
        "cost": "1.25",
        "latency_ms": 300,
        "direction": "inbound",
    }
    return await seed.call(database, tenant, **{**known, **data})


def key_of(tenant: Tenant) -> bytes:
    return f"Authorization: Bearer {tenant.key}".encode()


def counts_nothing(answer: Answer) -> bool:
    """Whether an answer of 200 contains no call at all."""
    if b"MARK" in answer.body:
        return False
    if b"application/json" not in answer.head:
        return sum(b"," in line for line in answer.body.splitlines()) <= 1  # the header line of an export
    totals = re.findall(rb'"(?:total|calls|answered)":(\d+)', answer.body)
    return all(int(total) == 0 for total in totals)


async def test_hostile_values_in_every_parameter_are_refused_or_find_nothing(site: Site) -> None:
    asked: list[tuple[str, bytes]] = []
    for operation in OPERATIONS:
        for name, where in operation.parameters.items():
            for what, value in HOSTILE.items():
                title = f"{operation.method} {operation.path} {name}: {what}"
                if where == "query":
                    sent = operation.request(
                        site.call_id, key_of(site.acme), query=name.encode() + b"=" + value
                    )
                elif where == "path":
                    sent = request(
                        operation.method,
                        operation.path.encode().replace(b"{id}", value),
                        key_of(site.acme),
                    )
                else:
                    line = name.encode() + b": " + unquote_to_bytes(value)
                    sent = operation.request(uuid4(), key_of(site.acme), line)
                asked.append((title, sent))

    answers = await site.ask(asked)

    assert len(asked) > 400
    for title, answer in answers.items():
        if "a megabyte" in title and answer.status in TOO_LARGE:
            continue
        if answer.status == 200:
            assert counts_nothing(answer), title
        elif answer.status == 503:
            assert STREAM in title
            assert b"CHANGES_UNAVAILABLE" in answer.body
        else:
            assert 400 <= answer.status < 500, (title, answer)
        assert b"X-Injected" not in answer.head, title


async def test_names_of_parameters_that_nobody_gave_are_refused(site: Site) -> None:
    tricks = ("{}[]", "{}[$ne]", "{}.x", "{}%00", "%20{}", "{}%20", "{}__contains", "Z{}")
    asked = [
        (
            f"{operation.method} {operation.path} {name}",
            operation.request(
                site.call_id, key_of(site.acme), query=trick.format(name).encode() + b"=completed"
            ),
        )
        for operation in OPERATIONS
        for name, where in {**operation.parameters, "organization_id": "query", "livemode": "query"}.items()
        if where == "query"
        for trick in tricks
    ]
    for title, answer in (await site.ask(asked)).items():
        assert answer.status == 400, (title, answer)


async def test_ids_of_another_organization_open_nothing(site: Site, database: Connection) -> None:
    await database.execute(
        "INSERT INTO members (organization_id, user_id) VALUES ($1, $2)", site.mallory.id, USER
    )
    bearers = {
        "key": key_of(site.mallory),
        "test key": b"x-api-key: " + site.mallory.test_key.encode(),
        "token": b"Authorization: Bearer " + sign_with_secret(claims(USER, datetime.now(UTC))).encode(),
    }
    expected: dict[str, int] = {}
    asked: list[tuple[str, bytes]] = []

    def expect(status: int, title: str, sent: bytes) -> None:
        expected[title] = status
        asked.append((title, sent))

    for operation in OPERATIONS:
        for bearer, line in bearers.items():
            title = f"{operation.method} {operation.path} by {bearer}"
            named = b"x-organization-id: " + str(site.acme.id).encode()
            expect(403, f"{title}, naming it", operation.request(site.call_id, line, named))
            if "id" in operation.parameters:
                expect(404, title, operation.request(site.call_id, line))
            for name, value in IDS_OF_ACME.items():
                if name in operation.parameters:
                    query = f"{name}={value}".encode()
                    status = 503 if operation.path == STREAM else 200
                    expect(status, f"{title}, {name}", operation.request(site.call_id, line, query=query))

    answers = await site.ask(asked)

    assert {title: answer.status for title, answer in answers.items()} == expected
    for title, answer in answers.items():
        assert b"MARK-acme" not in answer.body, title
        assert answer.status != 200 or counts_nothing(answer), title


async def test_a_cursor_is_good_for_the_list_that_it_was_given_for_and_no_other(
    site: Site, database: Connection
) -> None:
    await _call(database, site.acme, "acme", created_at="2026-11-23T10:00:00Z")
    answer = await ask(site.port, request("GET", b"/calls?limit=1", key_of(site.acme)))
    given: str = json.loads(answer.body)["next_cursor"]
    test_key = b"x-api-key: " + site.acme.test_key.encode()

    def asked(cursor: str, *, line: bytes = key_of(site.acme), more: str = "") -> bytes:
        return request("GET", f"/calls?limit=1{more}&cursor={quote(cursor)}".encode(), line)

    foreign = {
        "another organization's": asked(given, line=key_of(site.mallory)),
        "another mode's": asked(given, line=test_key),
        "of other filters": asked(given, more="&status=completed"),
        "of other days": asked(given, more="&start_date=2020-01-01"),
        "with a page": asked(given, more="&page=2"),
        "empty": asked(""),
        "huge": asked("A" * 20_000),
        "of a JSON": asked("eyJpZCI6MX0"),
        "with a byte that is no letter": asked(given + "é"),
        "with padding": asked(given + "=="),
        "with a space": asked(given + " "),
        "twice": asked(given, more=f"&cursor={given}"),
    }
    foreign |= {f"cut to {length}": asked(given[:length]) for length in range(len(given))}
    for place, letter in enumerate(given):
        for other in ("A", "B", "!", chr(ord(letter) ^ 1)):
            if other != letter:
                changed = given[:place] + other + given[place + 1 :]
                foreign[f"{other} at {place}"] = asked(changed)

    answers = await site.ask(foreign.items())

    taken = {title: answer for title, answer in answers.items() if answer.status != 400}
    assert taken == {}
    followed = json.loads((await ask(site.port, asked(given))).body)
    assert [call["created_at"] for call in followed["data"]] == ["2026-11-23T10:00:00Z"]


TEXTS_THAT_MEAN_HARM = (
    "=1+1",
    '=HYPERLINK("https://other.example","MARK")',
    "+4930901820",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "\uff1d1+1",
    "'",
    "'=1+1",
    '"',
    '",=1,"',
    "a\r\nX-Injected: 1\r\n\r\n<html>",
    "a,b;c|d",
    "\u202e0281090394+",
    "<script>alert(1)</script>",
    "\x1b[2J\x07",
    "\ufeff=1",
)


async def test_an_export_holds_harmful_texts_as_what_they_are(site: Site, database: Connection) -> None:
    for number, text in enumerate(TEXTS_THAT_MEAN_HARM):
        await _call(
            database, site.acme, text, created_at=f"2026-10-{number + 1:02}T10:00:00Z", to_number=text
        )
    asked = {"order": "asc", "end_date": "2026-10-31"}
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{site.port}", headers={"x-api-key": site.acme.key}, trust_env=False
    ) as client:
        sheet = await client.get("/calls/export", params={**asked, "format": "csv"})
        lines = await client.get("/calls/export", params={**asked, "format": "ndjson"})

    said = [f"MARK-{text}" for text in TEXTS_THAT_MEAN_HARM]
    for answer in (sheet, lines):
        assert answer.status_code == 200, answer.text
        assert "X-Injected" not in answer.headers
        assert answer.headers["Content-Disposition"].isascii()
    calls = [json.loads(line) for line in lines.text.split("\n")[:-1]]
    assert [(call["from_number"], call["to_number"]) for call in calls] == list(
        zip(said, TEXTS_THAT_MEAN_HARM, strict=True)
    )
    rows = list(csv.DictReader(io.StringIO(sheet.text, newline=""), strict=True))
    assert [row["from_number"] for row in rows] == said
    assert [row["to_number"].removeprefix("'") for row in rows] == list(TEXTS_THAT_MEAN_HARM)
    for row in rows:
        assert None not in row.values()
        assert not row["to_number"].startswith(("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"))


async def test_credentials_that_are_none_are_refused_by_every_route(site: Site, database: Connection) -> None:
    now = datetime.now(UTC)
    revoked = await seed.key(database, site.acme.id, revoked=True)
    expired = await seed.key(database, site.acme.id, expires_at=now - timedelta(seconds=1))
    await database.execute(
        "INSERT INTO members (organization_id, user_id) VALUES ($1, $2)", site.acme.id, USER
    )
    key = site.acme.key
    refused: dict[str, list[str]] = {
        "nobody": [],
        "an empty one": ["Authorization: Bearer "],
        "by name and password": ["Authorization: Basic YWRtaW46YWRtaW4="],
        "a key without its scheme": [f"Authorization: {key}"],
        "a key cut short": [f"x-api-key: {key[:-1]}"],
        "a key with more": [f"x-api-key: {key}a"],
        "a key in capitals": [f"x-api-key: {key.upper()}"],
        "a live key as a test key": [f"x-api-key: {key.replace('live', 'test')}"],
        "a test key as a live key": [f"x-api-key: {site.acme.test_key.replace('test', 'live')}"],
        "a hash in place of a key": ["x-api-key: kros_live_" + "0" * 64],
        "a condition": ["x-api-key: kros_live_' OR '1'='1"],
        "revoked": [f"x-api-key: {revoked}"],
        "expired": [f"x-api-key: {expired}"],
        "two keys": [f"Authorization: Bearer {key}", f"x-api-key: {site.mallory.key}"],
        "two of one header": [f"x-api-key: {site.mallory.key}", f"x-api-key: {key}"],
        "two Authorizations": [f"Authorization: Bearer {site.mallory.key}", f"Authorization: Bearer {key}"],
        "unsigned": ["Authorization: Bearer " + jwt.encode(claims(USER, now), "", algorithm="none")],
        "another's signature": ["Authorization: Bearer " + sign_with_secret(claims(USER, now), "x" * 40)],
        "for another": ["Authorization: Bearer " + sign_with_secret(claims(USER, now, aud="anon"))],
        "too old": ["Authorization: Bearer " + sign_with_secret(claims(USER, now - timedelta(days=1)))],
        "endless": ["Authorization: Bearer " + sign_with_secret(claims(USER, now, exp=None))],
    }
    asked = [
        (
            f"{operation.method} {operation.path}: {what}",
            operation.request(site.call_id, *[line.encode() for line in lines]),
        )
        for operation in OPERATIONS
        for what, lines in refused.items()
    ]
    taken = {title: answer for title, answer in (await site.ask(asked)).items() if answer.status != 401}
    assert taken == {}


async def test_requests_that_are_no_good_http(site: Site) -> None:
    call = f"/calls/{site.call_id}".encode()
    key, other = key_of(site.acme), site.acme.test_key.encode()
    expected: list[tuple[str, bytes, set[int]]] = [
        ("two slashes", request("GET", b"//calls", key), {404}),
        ("a slash at the end", request("GET", b"/calls/", key), {404}),
        ("a step up", request("GET", b"/v1/../calls", key), {404}),
        ("a hidden step up", request("GET", b"/v1/%2e%2e/calls", key), {404}),
        ("capitals", request("GET", b"/CALLS", key), {404}),
        ("a matrix parameter", request("GET", b"/calls;action=stats", key), {404}),
        ("a null byte in the path", request("GET", b"/calls%00", key), {404}),
        ("a path after the call", request("GET", call + b"/..%2f", key), {400, 404}),
        ("a method in a header", request("GET", call, key, b"X-HTTP-Method-Override: DELETE"), {200}),
        ("a method in the query", request("GET", call + b"?_method=DELETE", key), {400}),
        ("TRACE", request("TRACE", b"/calls", key), {405}),
        ("OPTIONS", request("OPTIONS", b"/calls", key), {405}),
        ("PUT", request("PUT", call, key), {405}),
        ("POST", request("POST", b"/calls", key), {405}),
        ("CONNECT", request("CONNECT", b"api:443", key), {400, 404, 405}),
        ("PROPFIND", request("PROPFIND", b"/calls", key), {405}),
        ("a lower case method", request("get", b"/calls", key), {400}),
        (
            "another host",
            b"GET http://other.example/calls HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + key + END,
            {200, 400},
        ),
        ("a folded header", request("GET", b"/calls", key, b"x-organization-id: a", b" b"), {400}),
        ("a null byte in a header", request("GET", b"/calls", key, b"x-organization-id: a\0b"), {400}),
        ("a bare line feed", request("GET", b"/calls", key, b"x-organization-id: a\nX-Other: b"), {400}),
        ("a space before the colon", request("GET", b"/calls", key, b"x-api-key : " + other), {400}),
        ("no name", request("GET", b"/calls", key, b": nothing"), {400}),
        ("letters of no alphabet", request("GET", b"/calls", key, b"x-organization-id: \xff\xfe"), {400}),
        ("two lengths", request("GET", b"/calls", key, b"Content-Length: 0", b"Content-Length: 5"), {400}),
        (
            "a length and chunks",
            request("GET", b"/calls", key, b"Content-Length: 5", b"Transfer-Encoding: chunked"),
            {400},
        ),
        ("a negative length", request("GET", b"/calls", key, b"Content-Length: -1"), {400}),
        ("an endless length", request("GET", b"/calls", key, b"Content-Length: " + b"9" * 40), {400}),
        (
            "a body of deep JSON",
            request("GET", b"/calls", key, b"Content-Type: application/json", b"Content-Length: 20000")
            + b"[" * 20_000,
            {200},
        ),
        ("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + END, {400}),
        ("HTTP/0.9", b"GET /calls\r\n\r\n", {400, 401}),
        ("HTTP/9.9", b"GET /calls HTTP/9.9\r\nHost: x\r\n" + key + END, {400, 505}),
        ("a megabyte of header", request("GET", b"/calls", key, b"X-Large: " + b"a" * 1_000_000), TOO_LARGE),
        ("20,000 headers", request("GET", b"/calls", key, *[b"X-Many: a"] * 20_000), TOO_LARGE),
        ("a megabyte of key", request("GET", b"/calls", b"x-api-key: " + b"a" * 1_000_000), TOO_LARGE),
        ("a terabyte of body", request("GET", b"/calls", key, b"Content-Length: 1000000000000"), TOO_LARGE),
    ]

    answers = await site.ask((what, sent) for what, sent, _ in expected)

    others = {what: answers[what] for what, _, statuses in expected if answers[what].status not in statuses}
    assert others == {}
    assert all(site.acme.key.encode() not in answer.head + answer.body for answer in answers.values())
