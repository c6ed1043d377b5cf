"""Messages of Amazon SNS: verified by its certificate, and subscriptions confirmed only where they may be."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

import httpx
import pytest

from shared.database.connection import Connection
from shared.sources.source import Source
from tests.receiver.conftest import Invent
from tests.sources.test_sns import (
    CERTIFICATE_URL,
    SUBSCRIBE_URL,
    TOPIC,
    _certificate,
    _confirmation,
    _key,
    _notification,
    _signed,
)
from tests.support.receiving import add_source, receiving, records


@dataclass
class Sns:
    """SNS, as far as the receiver visits it."""

    answers: dict[str, httpx.Response] = field(
        default_factory=lambda: {
            CERTIFICATE_URL: httpx.Response(200, content=_certificate(_key())),
            SUBSCRIBE_URL: httpx.Response(200, content=b"<ConfirmSubscriptionResponse/>"),
        }
    )
    visited: list[str] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.visited.append(str(request.url))
        if str(request.url) not in self.answers:
            raise httpx.ConnectError("unreachable")
        given = self.answers[str(request.url)]
        return httpx.Response(given.status_code, content=given.content, headers=given.headers)


ELSEWHERE: Final = "https://sns.evil-1.example.com/SimpleNotificationService-1.pem"


async def post(client: httpx.AsyncClient, source: Source, message: Mapping[str, Any]) -> httpx.Response:
    headers = {"x-amz-sns-message-type": str(message["Type"]), "content-type": "text/plain; charset=UTF-8"}
    return await client.post(f"/hooks/{source.id}", content=json.dumps(message), headers=headers)


async def test_a_notification_of_the_sources_topic_is_published_and_no_other(
    invented: Invent, database: Connection, database_url: str, bootstrap: str, deliveries: str
) -> None:
    source = invented(settings={"sns_topic": TOPIC})
    await add_source(database, source)
    sns = Sns()
    async with receiving(database_url, bootstrap, deliveries, sns=httpx.MockTransport(sns)) as client:
        good = _signed(_notification(), "2")
        for message in (
            {**good, "Message": "{}"},
            {**good, "SigningCertURL": ELSEWHERE},
            _signed({**_notification(), "TopicArn": f"{TOPIC}-other"}, "2"),
            {**good, "Type": "Other"},
        ):
            assert (await post(client, source, message)).status_code == 403
        assert await records(bootstrap, deliveries) == []
        for _ in range(2):
            assert (await post(client, source, good)).status_code == 200
    assert sns.visited == [CERTIFICATE_URL], "once, and no other address"
    assert [json.loads(record.value) for record in await records(bootstrap, deliveries)] == [good, good]


@pytest.mark.parametrize(
    ("settings", "status", "visited"),
    [
        ({"sns_topic": TOPIC, "sns_confirm": "true"}, 200, [CERTIFICATE_URL, SUBSCRIBE_URL]),
        ({"sns_topic": TOPIC, "sns_confirm": "false"}, 403, [CERTIFICATE_URL]),
        ({"sns_topic": TOPIC}, 403, [CERTIFICATE_URL]),
        ({"sns_topic": f"{TOPIC}-other", "sns_confirm": "true"}, 403, []),
    ],
)
async def test_a_subscription_is_confirmed_only_where_the_source_allows_it(
    invented: Invent,
    database: Connection,
    database_url: str,
    bootstrap: str,
    deliveries: str,
    settings: dict[str, str],
    status: int,
    visited: list[str],
) -> None:
    source = invented(settings=settings)
    await add_source(database, source)
    sns = Sns()
    async with receiving(database_url, bootstrap, deliveries, sns=httpx.MockTransport(sns)) as client:
        answer = await post(client, source, _signed(_confirmation(), "1"))
    assert (answer.status_code, sns.visited) == (status, visited)
    assert await records(bootstrap, deliveries) == []


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (None, 503),
        (httpx.Response(500), 503),
        (httpx.Response(404), 403),
        (httpx.Response(302, headers={"location": f"https://example.com/{uuid4()}"}), 403),
        (httpx.Response(200, content=bytes(100_000)), 403),
        (httpx.Response(200, content=b"no certificate"), 403),
    ],
)
async def test_a_certificate_that_cannot_be_had_verifies_nothing(
    invented: Invent,
    database: Connection,
    database_url: str,
    bootstrap: str,
    deliveries: str,
    answer: httpx.Response | None,
    status: int,
) -> None:
    source = invented(settings={"sns_topic": TOPIC})
    await add_source(database, source)
    sns = Sns({} if answer is None else {CERTIFICATE_URL: answer})
    async with receiving(database_url, bootstrap, deliveries, sns=httpx.MockTransport(sns)) as client:
        assert (await post(client, source, _signed(_notification(), "2"))).status_code == status
    assert sns.visited == [CERTIFICATE_URL]
    assert await records(bootstrap, deliveries) == []
