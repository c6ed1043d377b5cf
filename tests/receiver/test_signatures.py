"""Signatures: signed samples of each system are accepted, and forged ones are not."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    """A sample that a system has signed: whether the proof is in a header, and what it covers."""

    file: str
    header: bool = True
    body: bool = True
    url: bool = False
    time: bool = False
    secrets: Mapping[str, str] = field(default_factory=dict)
    """The secrets that the sample's source lacks."""


SIGNED: Final = (
    Signed("aircall/answered.json", header=False, body=False),
    Signed("amazon_connect/firehose_two_ctrs.json", body=False),
    Signed("bland/call_error.json"),
    Signed("daily/dialin_connected.json", time=True),
    Signed("dialpad/calling.json", header=False),
    Signed("elevenlabs/audio.json", time=True),
    Signed("jambonz/inbound_caller_cancelled.json", time=True),
    Signed("krosai/events_answered.json"),
    Signed("livekit/agent_joined.json", time=True),
    Signed("plivo/hangup_busy.json", url=True),
    Signed("retell/inbound_analyzed_late_price.json", time=True),
    Signed(
        "ringcentral/answered.json",
        body=False,
        secrets={"verification_token": "made-up-validation"},
    ),
    Signed("signalwire/form_answered.json", url=True),
    Signed("telnyx/answered.json", time=True),
    Signed("telnyx/texml_answered.json", time=True),
    Signed("twilio/outbound_answered.json", url=True),
    Signed("vapi/conversation_update.json", body=False),
    Signed("vonage/answered.json", time=True),
    Signed("zoom_phone/callee_answered.json", time=True),
)
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
    source = replace(given.source, secrets={**given.source.secrets, **signed.secrets})
    request = request_of(given)
    other = replace(with_secrets(source, "x"), id=uuid4(), name="other secret")
    moved = replace(source, id=uuid4(), name="moved", url=f"{source.url}/elsewhere")
    for each in (source, other, moved):
        await add_source(database, each)
    clock = Clock(given.delivery.received_at)
    async with receiving(database_url, bootstrap, deliveries, clock=clock) as client:
        for what, forged in forgeries(request, signed).items():
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
        assert answer.status_code == 200
    (record,) = await records(bootstrap, deliveries)
    assert source_of(record.headers) == source.id
    assert record.value == given.delivery.body
    assert_stored_without_credentials(given, record.headers)


def forgeries(request: Request, signed: Signed) -> dict[str, Request]:
    """Requests that resemble a signed one, and that its proof does not cover."""
    own = {name for name in request.headers if name not in ("content-type", "user-agent")}
    unsigned = {name: value for name, value in request.headers.items() if name not in own}
    changed = {
        name: replace(request, headers={**request.headers, name: value[::-1]})
        for name, value in request.headers.items()
        if re.search("signature$|signature-v|authorization|secret|ation-token$|access-key", name)
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
    without = {
        **{f"{name} changed": each for name, each in changed.items()},
        "no signature": replace(request, headers=unsigned),
        "other systems' signatures": replace(request, headers={**unsigned, **FOREIGN}),
    }
    return (content if signed.body else {}) | (without if signed.header else {})


def assert_stored_without_credentials(given: Sample, headers: Sequence[tuple[str, bytes]]) -> None:
    stored = stored_request(headers, given.delivery.body)
    kept = DIALECTS[given.source.dialect].kept_headers
    assert (stored.method, stored.query) == (given.delivery.method, given.delivery.query)
    assert stored.received_at == given.delivery.received_at
    assert stored.content_type == given.delivery.content_type
    assert not [name for name in stored.headers if "signature" in name and name not in kept]
    assert "authorization" in kept or "authorization" not in stored.headers
