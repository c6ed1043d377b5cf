"""A request to a source: the answer to it, and the record that is published."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final
from uuid import UUID, uuid4

import httpx
import pytest

from services.receiver import known_sources
from shared.database.connection import Connection
from shared.secret_box import new_key
from shared.sources.delivery import Delivery
from shared.sources.delivery_record import request_of as stored_request
from shared.sources.outcome import Refused, Response
from shared.sources.source import Source
from shared.store.sources import read_sources
from tests.support.processes import until
from tests.support.receiving import (
    Clock,
    Request,
    add_source,
    receiving,
    records,
    request_of,
    sample,
    send,
)

TWILIO: Final = "twilio/outbound_answered.json"


async def _is_known(client: httpx.AsyncClient, source: Source, request: Request) -> bool:
    return (await send(client, source, request)).status_code != 404


async def test_a_source_that_takes_no_requests_is_answered_as_one_that_does_not_exist(
    database: Connection, database_url: str, bootstrap: str, deliveries: str
) -> None:
    given = sample(TWILIO)
    disabled = replace(given.source, id=uuid4(), name="disabled")
    by_kafka = replace(given.source, id=uuid4(), name="by Kafka", topic="acme")
    await add_source(database, given.source)
    await add_source(database, disabled, enabled=False)
    await add_source(database, by_kafka)
    known = str(given.source.id)
    async with receiving(database_url, bootstrap, deliveries) as client:
        paths = [
            f"/hooks/{disabled.id}",
            f"/hooks/{by_kafka.id}",
            f"/hooks/{uuid4()}",
            *("/hooks", "/hooks/", "/hooks/acme", f"/hooks/{known}/", f"/hooks/{known}/more", "/elsewhere"),
            *(f"/hooks/{{{known}}}", f"/hooks/{known.replace('-', '')}", f"/hooks/%20{known}"),
        ]
        for method in ("POST", "GET"):
            answers = [await client.request(method, path) for path in paths]
            assert {(answer.status_code, answer.content) for answer in answers} == {
                (
                    404,
                    b'{"error":"No source takes requests at this address.","code":"NOT_FOUND","details":{}}',
                )
            }
        for method in ("HEAD", "PUT", "DELETE", "OPTIONS"):
            answer = await client.request(method, f"/hooks/{known}")
            assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")


async def test_changes_of_sources_count_at_once_and_cost_one_reading_a_second(
    database: Connection, database_url: str, bootstrap: str, deliveries: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = sample(TWILIO)
    readings = 0

    async def counting(*arguments: Any) -> Any:
        nonlocal readings
        readings += 1
        return await read_sources(*arguments)

    monkeypatch.setattr(known_sources, "read_sources", counting)
    clock = Clock(given.delivery.received_at)
    async with receiving(
        database_url, bootstrap, deliveries, clock=clock, receiver_sources_seconds=60
    ) as client:
        before = readings
        await add_source(database, given.source)
        assert (await send(client, given.source, request_of(given))).status_code == 200
        unknown = await asyncio.gather(*[client.post(f"/hooks/{uuid4()}") for _ in range(200)])
        assert {answer.status_code for answer in unknown} == {404}
        assert readings - before <= 3


async def test_headers_and_bytes_are_published_as_they_came(
    invented: Callable[..., Source], database: Connection, database_url: str, bootstrap: str, deliveries: str
) -> None:
    seen: list[Delivery] = []

    def verify(delivery: Delivery, _: Source) -> None:
        seen.append(delivery)

    source = invented(verify, kept=("x-kept",))
    await add_source(database, source)
    body = bytes(range(256)) * 300
    headers = [
        (b"X-Kept", b"one"),
        (b"x-kept", b"tw\xffo"),
        (b"Content-Type", b"application/octet-stream"),
        (b"ce-id", b"7"),
        (b"Authorization", b"Bearer x"),
        (b"callfold-source", b"00000000-0000-0000-0000-000000000000"),
        (b"traceparent", b"00-0-0-01"),
    ]
    async with receiving(database_url, bootstrap, deliveries) as client:
        query = b"a=%2e%2E&a=b+c&%zz"
        url = httpx.URL("http://receiver", raw_path=f"/hooks/{source.id}?".encode() + query)
        posted = await client.post(url, content=body, headers=headers)
        got = await client.get(url)
        with_body = await client.request("GET", url, content=b"x=1")
        firehose = await client.post(
            url, headers=[(b"X-Amz-Firehose-Request-Id", b"7-\xc3\xa9")], content=b"{}"
        )
    assert (posted.status_code, posted.content, got.status_code) == (200, b"", 200)
    assert with_body.status_code == 400
    assert firehose.json()["requestId"] == "7-é"
    assert isinstance(firehose.json()["timestamp"], int)

    first, second, third = await records(bootstrap, deliveries)
    assert (first.value, second.value, third.value) == (body, b"", b"{}")
    stored = stored_request(first.headers, first.value)
    assert stored.url.encode() == url.raw_path == seen[0].url.encode()
    assert dict(first.headers)["x-kept"] == b"one, tw\xffo"
    assert dict(first.headers)["ce-id"] == b"7"
    assert [value for name, value in first.headers if name == "callfold-source"] == [str(source.id).encode()]
    assert not {"authorization", "traceparent"} & dict(first.headers).keys()
    assert stored_request(second.headers, second.value).method == "GET"
    assert "authorization" in seen[0].headers


async def test_a_handshake_is_answered_and_not_published(
    invented: Callable[..., Source], database: Connection, database_url: str, bootstrap: str, deliveries: str
) -> None:
    def verify(delivery: Delivery, _: Source) -> Response:
        return Response(
            201, f"challenge \udcff{delivery.query}", {"X-Echo": "a\r\nSet-Cookie: x=y", "X-Fine": "yes"}
        )

    source = invented(verify)
    await add_source(database, source)
    async with receiving(database_url, bootstrap, deliveries) as client:
        answer = await client.get(f"/hooks/{source.id}?token=7")
    assert (answer.status_code, answer.text) == (201, "challenge ?token=7")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-fine"] == "yes"
    assert not {"set-cookie", "x-echo"} & answer.headers.keys()
    assert await records(bootstrap, deliveries) == []


async def test_a_check_that_breaks_refuses_the_request_and_logs_no_content(
    invented: Callable[..., Source],
    database: Connection,
    database_url: str,
    bootstrap: str,
    deliveries: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def verify(delivery: Delivery, _: Source) -> None:
        raise ValueError(f"secret {delivery.body!r}")

    source = invented(verify)
    await add_source(database, source)
    async with receiving(database_url, bootstrap, deliveries) as client:
        for body in (b"content", b"content" * 20_000):
            answer = await client.post(f"/hooks/{source.id}", content=body)
            assert answer.status_code == 403
            assert answer.json()["error"] == "The request is refused: it cannot be checked."
    assert "content" not in caplog.text
    assert await records(bootstrap, deliveries) == []


async def test_a_flood_of_refusals_is_one_line_and_names_only_source_and_reason(
    invented: Callable[..., Source],
    database: Connection,
    database_url: str,
    bootstrap: str,
    deliveries: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def verify(*_: object) -> None:
        raise Refused("the header x-signature is missing")

    source = invented(verify)
    await add_source(database, source)
    async with receiving(database_url, bootstrap, deliveries) as client:
        for _ in range(20):
            answer = await client.post(f"/hooks/{source.id}?secret=query", content=b"content")
            assert answer.status_code == 401
            assert answer.json()["error"] == "The request is refused: the header x-signature is missing."
    (line,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert line.getMessage() == "refused 1 requests; the last: the header x-signature is missing"
    assert vars(line)["source_id"] == str(source.id)


async def test_the_log_names_the_address_that_a_wrong_signature_was_checked_for(
    database: Connection, database_url: str, bootstrap: str, deliveries: str, caplog: pytest.LogCaptureFixture
) -> None:
    given = sample("twilio/outbound_busy.json")
    url = "https://user:secret@hooks.example.com/moved?token=secret"
    source = replace(given.source, url=url)
    await add_source(database, source)
    async with receiving(database_url, bootstrap, deliveries, clock=Clock()) as client:
        answer = await send(client, source, request_of(given))
        assert answer.status_code == 403
        assert answer.json()["error"] == "The request is refused: the signature is wrong."
    (line,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert line == (
        "refused 1 requests; the last: the signature is wrong; it was checked for the address "
        "https://hooks.example.com/moved"
    )


async def test_a_signature_is_not_checked_for_the_address_that_a_request_claims(
    database: Connection, database_url: str, bootstrap: str, deliveries: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An older version stored sources without their address. A client chooses Host and its forwarded kin."""
    given = sample("twilio/outbound_busy.json")
    source = replace(given.source, url=None)
    await add_source(database, source)
    request = request_of(given)
    address = {
        "host": "hooks.example.test",
        "x-forwarded-proto": "https",
        "x-forwarded-host": "hooks.example",
    }
    async with receiving(database_url, bootstrap, deliveries, clock=Clock()) as client:
        answer = await send(client, source, replace(request, headers={**request.headers, **address}))
        assert answer.status_code == 403
    (line,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert line.endswith("the source has no public address, which the signature covers")
    assert await records(bootstrap, deliveries) == []


@pytest.mark.parametrize(
    "secrets", [{"username": "acme"}, {"password": "p"}, {"username": "acme", "password": ""}]
)
@pytest.mark.parametrize("dialect", ["kamailio", "amazon_connect"])
async def test_half_of_the_credentials_leaves_no_source_open(
    secrets: dict[str, str],
    dialect: str,
    database: Connection,
    database_url: str,
    bootstrap: str,
    deliveries: str,
) -> None:
    source = Source(uuid4(), "half", dialect, organization=uuid4(), secrets=secrets)
    await add_source(database, source)
    async with receiving(database_url, bootstrap, deliveries) as client:
        assert (await client.post(f"/hooks/{source.id}", content=b"{}")).status_code == 401
        answer = await client.post(f"/hooks/{source.id}", content=b"{}", auth=("x", ""))
        assert answer.status_code in (401, 403)
    assert await records(bootstrap, deliveries) == []


async def test_basic_credentials_are_asked_for(
    invented: Callable[..., Source], database: Connection, database_url: str, bootstrap: str, deliveries: str
) -> None:
    source = invented(secrets={"username": "acme", "password": "pass:word"})
    await add_source(database, source)
    path = f"/hooks/{source.id}"
    async with receiving(database_url, bootstrap, deliveries) as client:
        assert (await client.post(path)).status_code == 401
        for credentials in (("acme", "password"), ("", "")):
            answer = await client.post(path, auth=credentials)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Basic ")
        assert (await client.post(path, auth=("acme", "pass:word"))).status_code == 200


async def test_a_source_that_cannot_be_verified_is_answered_503_and_logged_once_per_change(
    database: Connection,
    database_url: str,
    bootstrap: str,
    deliveries: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    given = sample(TWILIO)
    strange = replace(given.source, id=uuid4(), name="strange", dialect="not_yet_known")
    await add_source(database, given.source, key=new_key())
    await add_source(database, strange)
    async with receiving(database_url, bootstrap, deliveries) as client:
        for source in (given.source, strange):
            for _ in range(2):
                answer = await send(client, source, request_of(given))
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")
                later = replace(given.source, id=uuid4(), name=str(uuid4()))
                await add_source(database, later, key=new_key())
                # It is known after one more reading of all sources.
                await until(partial(_is_known, client, later, request_of(given)), "a reading")
    expected = {str(given.source.id), str(strange.id)}
    messages = [
        (vars(record)["source_id"], record.getMessage())
        for record in caplog.records
        if vars(record)["source_id"] in expected
    ]
    assert len(messages) == 2, "each is logged once"
    assert dict(messages) == {
        str(given.source.id): "cannot verify requests: No key of CALLFOLD_SECRETS_KEY decrypts the secrets.",
        str(strange.id): "cannot verify requests: This version of callfold does not know the dialect "
        "not_yet_known.",
    }
    assert len(caplog.records) == 2 + 4, "of the later sources, each once"


async def test_bodies_take_no_more_memory_than_they_may(
    invented: Callable[..., Source], database: Connection, database_url: str, bootstrap: str, deliveries: str
) -> None:
    source = invented()
    await add_source(database, source)
    async with receiving(database_url, bootstrap, deliveries, receiver_bodies_mib=16) as client:
        answer = await client.post(f"/hooks/{source.id}", content=bytes(17 << 20))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        again = [client.post(f"/hooks/{source.id}", content=bytes(8 << 20)) for _ in range(2)]
        assert [each.status_code for each in [await one for one in again]] == [200, 200]
    assert [len(record.value) for record in await records(bootstrap, deliveries)] == [8 << 20] * 2


async def test_an_id_in_capitals_is_the_same_id(
    invented: Callable[..., Source], database: Connection, database_url: str, bootstrap: str, deliveries: str
) -> None:
    source = replace(invented(), id=UUID("abcdefab-cdef-4bcd-8fab-cdefabcdefab"))
    await add_source(database, source)
    async with receiving(database_url, bootstrap, deliveries) as client:
        assert (await client.post(f"/hooks/{str(source.id).upper()}")).status_code == 200
