"""The followers of changes: a consumer of the topic of calls, a client of the stream, and a webhook.

They wait for one more call, which is deleted again: another run finds the stack as it was."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final
from uuid import UUID, uuid4

import httpx
from aiohttp import web
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from standardwebhooks.webhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from services.ops.addresses import KafkaPlace, kafka_faults
from services.ops.demo.screen import Customer
from services.ops.demo.simulated_call import JSON_HEADERS, Organization
from services.ops.embedded.state import State
from services.ops.repair.retry_overtaken import until_not_overtaken
from services.ops.sources.secret_keys import secret_box
from services.ops.terminal.failure import Failure
from services.ops.terminal.operator import operator
from shared.calls.event import call_uuid
from shared.database.connection import Connection
from shared.encoding import encode
from shared.kafka.client import client_options
from shared.kafka.producer import producer
from shared.kafka.topic import CLOSE_SECONDS
from shared.settings.kafka import KafkaSettings
from shared.store.delete import delete
from shared.store.webhook_deliveries import list_deliveries
from shared.store.webhooks import create_webhook, remove_webhook
from shared.webhooks.call_change import MessageType

SECONDS_WITHOUT_PROGRESS: Final = 60
ARRIVAL_SECONDS: Final = 15
POLL_SECONDS: Final = 0.1
TYPE: Final[MessageType] = "call.completed"


@dataclass(frozen=True)
class Arrival:
    """The change that arrived at a follower, and the time since the call's event was published. Without
    `milliseconds` none arrived, and `what` is the reason."""

    follower: str
    what: str
    milliseconds: int | None


@dataclass(frozen=True)
class Follower:
    """`hear` returns what has arrived about the call. Raises Failure, and the errors of its libraries."""

    name: str
    process: str
    """The process that it hears from."""
    hear: Callable[[], Awaitable[str]]


async def follow_one_call(
    connection: Connection, stack: State, topics: KafkaSettings, customer: Customer
) -> list[Arrival]:
    """Publishes the event of one more call, and returns what arrived at each follower within
    `ARRIVAL_SECONDS`. Deletes the call and the webhook. Raises Failure and asyncpg's errors."""
    await until_published(connection, stack)
    organization, call = customer.organization, str(uuid4())
    call_id = call_uuid(organization.id, call)
    try:
        with kafka_faults(KafkaPlace(stack.kafka, stack.directory)):
            async with (
                topic_follower(stack, topics.calls_topic, organization.id, call_id) as consumer,
                stream_follower(stack, customer.live_key, call_id) as client,
                webhook_follower(connection, stack, organization.id, call_id) as endpoint,
                producer(stack.kafka, linger_ms=0) as to,
            ):
                began = time.monotonic()
                value = _event(organization, call, datetime.now(UTC))
                await to.send_and_wait(topics.topic, value, key=call.encode(), headers=list(JSON_HEADERS))
                heard = (arrival(each, stack, began) for each in (consumer, client, endpoint))
                return await asyncio.gather(*heard)
    finally:
        await until_not_overtaken(
            partial(delete, connection, organization.id, call_id, livemode=True, actor=operator())
        )


async def arrival(follower: Follower, stack: State, began: float) -> Arrival:
    """The change that arrives at the follower within `ARRIVAL_SECONDS`. `began` is of `time.monotonic()`."""
    try:
        async with asyncio.timeout(ARRIVAL_SECONDS):
            what = await follower.hear()
    except TimeoutError:
        reason = f"the call did not arrive within {ARRIVAL_SECONDS} s"
    except (Failure, KafkaError, httpx.HTTPError) as error:
        reason = str(error) or type(error).__name__
    else:
        return Arrival(follower.name, what, round((time.monotonic() - began) * 1000))
    return Arrival(follower.name, f"{reason.rstrip('.')}. See {stack.log(follower.process)}", None)


async def until_published(connection: Connection, stack: State) -> None:
    """Returns when the publisher has published the changes up to now. Raises Failure when there is no
    progress for `SECONDS_WITHOUT_PROGRESS`."""
    newest = await connection.fetchval("SELECT max(id) FROM call_changes")
    seen, progressed = None, time.monotonic()
    while oldest := await connection.fetchval(_OLDEST, newest):
        if oldest != seen:
            seen, progressed = oldest, time.monotonic()
        if time.monotonic() - progressed > SECONDS_WITHOUT_PROGRESS:
            raise Failure(
                f"The publisher published nothing for {SECONDS_WITHOUT_PROGRESS} s, while changes of calls "
                f"wait. See {stack.log('publisher')}."
            )
        await asyncio.sleep(POLL_SECONDS)


@asynccontextmanager
async def topic_follower(
    stack: State, topic: str, organization_id: UUID, call_id: UUID
) -> AsyncIterator[Follower]:
    """A consumer that begins at the topic's end. Raises aiokafka's `KafkaError`."""
    key = f"{organization_id}:{call_id}".encode()
    consumer = AIOKafkaConsumer(
        topic, **client_options(stack.kafka), enable_auto_commit=False, isolation_level="read_committed"
    )

    async def hear() -> str:
        async for record in consumer:
            if record.key == key and record.value is not None:
                return f"the call, {json.loads(record.value)['status']}"
        raise Failure("the consumer was stopped")

    try:
        await consumer.start()
        await consumer.seek_to_end()
        yield Follower(f"topic {topic}", "publisher", hear)
    finally:
        with contextlib.suppress(KafkaError, OSError, TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await consumer.stop()


@asynccontextmanager
async def stream_follower(stack: State, key: str, call_id: UUID) -> AsyncIterator[Follower]:
    """A client of the API's stream, which has begun. Raises Failure."""
    path, headers = "/calls/stream", {"Authorization": f"Bearer {key}"}
    async with (
        httpx.AsyncClient(base_url=stack.api_url, trust_env=False, timeout=ARRIVAL_SECONDS) as http,
        _answer(http, path, headers) as answer,
    ):
        lines = answer.aiter_lines()

        async def hear() -> str:
            event = ""
            async for line in lines:
                name, _, value = line.partition(": ")
                if name == "event":
                    event = value
                elif name == "data" and (call := json.loads(value)).get("id") == str(call_id):
                    return f"{event}, {call['status']}"
            raise Failure("the API ended the stream")

        async for line in lines:
            if not line:  # the end of the first block, which has the position
                break
        yield Follower(f"GET {path}", "api", hear)


@asynccontextmanager
async def _answer(
    http: httpx.AsyncClient, path: str, headers: dict[str, str]
) -> AsyncIterator[httpx.Response]:
    """The answer, whose body is not yet read. Raises Failure unless its status is 200."""
    async with contextlib.AsyncExitStack() as closing:
        try:
            answer = await closing.enter_async_context(http.stream("GET", path, headers=headers))
            if answer.status_code != httpx.codes.OK:
                body = (await answer.aread()).decode()[:500]
                raise Failure(f"The API returned {answer.status_code} to GET {path}: {body}")
        except httpx.HTTPError as error:
            said = str(error) or type(error).__name__
            raise Failure(f"The API did not respond to GET {path}: {said}.") from None
        yield answer


@asynccontextmanager
async def webhook_follower(
    connection: Connection, stack: State, organization_id: UUID, call_id: UUID
) -> AsyncIterator[Follower]:
    """A webhook and its endpoint on loopback, which verifies signatures. Raises asyncpg's errors."""
    heard: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def take(request: web.Request) -> web.Response:
        try:
            message = Verifier(secret).verify(await request.read(), dict(request.headers))
        except WebhookVerificationError as error:
            if not heard.done():
                heard.set_exception(Failure(f"the message's signature is wrong: {error}"))
            return web.Response(status=401)
        if message["data"]["id"] == str(call_id) and not heard.done():
            heard.set_result(f"{message['type']}, signature verified")
        return web.Response(status=204)

    async def hear() -> str:
        while not heard.done():
            for delivery in await list_deliveries(connection, webhook, limit=1):
                if delivery.error is not None:
                    raise Failure(f"the delivery failed: {delivery.error}")
            await asyncio.wait({heard}, timeout=POLL_SECONDS)
        return heard.result()

    application = web.Application()
    application.router.add_post("/", take)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with connection.transaction():
            webhook, secret = await create_webhook(
                connection,
                secret_box(stack.directory),
                organization_id=organization_id,
                livemode=True,
                url=f"http://127.0.0.1:{runner.addresses[0][1]}/",
                description="demo",
                types=[TYPE],
                actor=operator(),
            )
        try:
            yield Follower("webhook", "webhooks", hear)
        finally:
            async with connection.transaction():
                await remove_webhook(connection, webhook, operator())
    finally:
        await runner.cleanup()


def _event(organization: Organization, call: str, now: datetime) -> bytes:
    """The event of a call that has ended."""
    ours, *_ = organization.phone_numbers
    return encode(
        {
            "id": f"evt_{uuid4().hex}",
            "type": TYPE,
            "organization_id": organization.id,
            "call_id": call,
            "timestamp": now,
            "data": {
                "direction": "inbound",
                "from_number": f"{ours.number[:-4]}0000",
                "to_number": ours.number,
                "phone_number_id": ours.id,
                "duration": 60,
                "cost": 1.25,
            },
        }
    )


_OLDEST: Final = "SELECT min(id) FROM call_changes WHERE id <= $1"
