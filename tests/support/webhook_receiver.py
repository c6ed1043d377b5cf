"""An endpoint of webhooks, as an organization would run it: it checks signatures with the library of Standard
Webhooks, and drops repeats by id. A test can make it fail in every way."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from standardwebhooks.webhooks import Webhook as Verifier

Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def accepting(_: web.Request) -> web.StreamResponse:
    """The answer of an endpoint that works."""
    return web.Response(status=204)


@dataclass
class WebhookReceiver:
    """The endpoint. `told` has each message once, in the order of the first arrival."""

    url: str = ""
    secret: str | None = None
    """If set, a message with another signature is answered 401."""
    answering: Answering = accepting
    told: dict[str, dict[str, Any]] = field(default_factory=dict)
    arrivals: list[str] = field(default_factory=list)
    """The ids of all messages that were accepted, with repeats."""
    attempts: int = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Takes a message."""
        body = await request.read()
        self.attempts += 1
        if self.secret is not None:
            Verifier(self.secret).verify(body, dict(request.headers))
        answer = await self.answering(request)
        if 200 <= answer.status < 300:
            self.told.setdefault(request.headers["webhook-id"], json.loads(body))
            self.arrivals.append(request.headers["webhook-id"])
        return answer

    def types(self) -> list[str]:
        """The types of the messages, in the order of their arrival."""
        return [message["type"] for message in self.told.values()]


@asynccontextmanager
async def webhook_receiver(
    context: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[WebhookReceiver]:
    """A receiver on a free port of loopback for the block, with TLS if there is a context."""
    receiver = WebhookReceiver()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", receiver.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, 0, ssl_context=context)
        await site.start()
        port = runner.addresses[0][1]
        receiver.url = f"{'https' if context else 'http'}://{host}:{port}/hook"
        yield receiver
    finally:
        await runner.cleanup()


async def failing(_: web.Request) -> web.StreamResponse:
    """500, with an explanation that is longer than what is kept."""
    return web.Response(status=500, text="out of order " * 200)


async def never(_: web.Request) -> web.StreamResponse:
    """No answer."""
    await asyncio.sleep(3600)
    return web.Response()


async def resetting(request: web.Request) -> web.StreamResponse:
    """A reset connection."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def slow_after_success(request: web.Request) -> web.StreamResponse:
    """204's friend: a success whose body never ends."""
    response = web.StreamResponse(status=200)
    await response.prepare(request)
    while True:
        await response.write(b"x")
        await asyncio.sleep(0.01)


async def redirecting(_: web.Request) -> web.StreamResponse:
    """A redirect to another service of the machine."""
    return web.Response(status=307, headers={"Location": "http://127.0.0.1:1/secret"})


async def gone(_: web.Request) -> web.StreamResponse:
    """The endpoint wants no more."""
    return web.Response(status=410)
