"""Signatures: signed samples of each system are accepted, and forged ones are not."""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final
from uuid import uuid4

import pytest

from services.ops.sources.sample import Sample
from shared.database.connection import Connection
from shared.dialects.registry import DIALECTS
from shared.sources.delivery_record import request_of as stored_request
from shared.sources.delivery_record import source_of
from tests.support.receiving import (
    Clock,
    Request,
    add_source,
    receiving,
    records,
    request_of,
    sample,
    send,
    with_secrets,
)


@dataclass(frozen=True)
class Signed:
    """A sample with a signature, and what the signature covers besides the body."""

    file: str
    url: bool = False
    time: bool = False


SIGNED: Final = (Signed("twilio/outbound_answered.json", url=True),)
FOREIGN: Final = {
    "x-twilio-signature": "b2g=",
    "x-plivo-signature-v3": "b2g=",
    "x-vapi-secret": "secret",
    "x-signature": "0" * 64,
    "authorization": "Bearer x.y.z",
    "stripe-signature": "t=1,v1=00",
}
"""The headers of other vendors' signatures."""


@pytest.mark.parametrize("signed", SIGNED, ids=lambda signed: signed.file)
async def test_only_what_the_system_signed_is_published(
    signed: Signed, database: Connection, database_url: str, bootstrap: str, deliveries: str
) -> None:
    given = sample(signed.file)
    source, request = given.source, request_of(given)
    other = replace(with_secrets(source, "x"), id=uuid4(), name="other secret")
    moved = replace(source, id=uuid4(), name="moved", url=f"{source.url}/elsewhere")
    for each in (source, other, moved):
        await add_source(database, each)
    clock = Clock(given.delivery.received_at)
    async with receiving(database_url, bootstrap, deliveries, clock=clock) as client:
        for what, forged in forgeries(request).items():
            answer = await send(client, source, forged)
            assert answer.status_code in (400, 401, 403), what
        assert (await send(client, other, request)).status_code in (401, 403), "another secret"
        if signed.url:
            assert (await send(client, moved, request)).status_code in (401, 403), "for another address"
        if signed.time:
            for days in (-1, 1):
                clock.now = given.delivery.received_at + timedelta(days=days)
                assert (await send(client, source, request)).status_code in (401, 403), "replayed"
            clock.now = given.delivery.received_at
        assert await records(bootstrap, deliveries) == []

        answer = await send(client, source, request)
        assert (answer.status_code, answer.content) == (200, b"")
    (record,) = await records(bootstrap, deliveries)
    assert source_of(record.headers) == source.id
    assert record.value == given.delivery.body
    assert_stored_without_credentials(given, record.headers)


def forgeries(request: Request) -> dict[str, Request]:
    """Requests that resemble a signed one."""
    own = {name for name in request.headers if name not in ("content-type", "user-agent")}
    unsigned = {name: value for name, value in request.headers.items() if name not in own}
    changed = {
        name: replace(request, headers={**request.headers, name: value[::-1]})
        for name, value in request.headers.items()
        if "signature" in name or name == "authorization"
    }
    content = (
        {
            "another body": replace(request, body=request.body.replace(b"1", b"2")),
            "a longer body": replace(request, body=request.body + b"&CallStatus=completed"),
            "an empty body": replace(request, body=b""),
            "the body by GET": replace(request, method="GET"),
        }
        if request.body
        else {"another query": replace(request, query=request.query.replace("1", "2"))}
    )
    return {
        **content,
        **{f"{name} changed": each for name, each in changed.items()},
        "no signature": replace(request, headers=unsigned),
        "other systems' signatures": replace(request, headers={**unsigned, **FOREIGN}),
    }


def assert_stored_without_credentials(given: Sample, headers: list[tuple[str, bytes]]) -> None:
    stored = stored_request(headers, given.delivery.body)
    kept = DIALECTS[given.source.dialect].kept_headers
    assert (stored.method, stored.query) == (given.delivery.method, given.delivery.query)
    assert stored.received_at == given.delivery.received_at
    assert stored.content_type == given.delivery.content_type
    assert not [name for name in stored.headers if "signature" in name and name not in kept]
    assert "authorization" not in stored.headers
