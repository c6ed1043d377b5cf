"""The endpoints of webhooks: each fails some messages, in ways that depend on the seed and the message's id
alone, and accepts them later."""

import asyncio
import contextlib
import random
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import trustme
from aiohttp import web
from standardwebhooks.webhooks import Webhook as Verifier

from tests.support.webhook_receiver import accepting, failing, resetting

TIMEOUT_SECONDS: Final = 1
"""How long callfold waits for an answer."""
FAILED: Final = 0.08
"""The share of messages that an endpoint fails at least once."""
FAILURES: Final = (1, 1, 1, 2, 3)
SLOW_BODY_PARTS: Final = 300
RETRY_AFTER: Final = "3600"

WAYS: Final = (
    *("no answer", "500", "429", "reset", "redirect"),
    *("accepted, then no answer", "accepted, then reset", "accepted, then a slow body"),
)
"""How an attempt ends. callfold notes only the last one as delivered."""


@dataclass
class Endpoint:
    """An endpoint of one organization and mode."""

    organization_id: UUID
    livemode: bool
    types: tuple[str, ...]
    """Empty: all types."""
    seed: int
    secret: str = ""
    webhook_id: UUID | None = None
    accepted: dict[str, bytes] = field(default_factory=dict)
    """The body of each message that it accepted, by id."""
    bodies: dict[str, bytes] = field(default_factory=dict)
    """The same of each message that arrived, accepted or not."""
    attempts: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    """How many attempts ended in each way."""
    repeats: int = 0
    """Of messages that it had accepted before."""
    wrong: list[str] = field(default_factory=list)
    """The faults of requests."""

    def wants(self, type_: str) -> bool:
        return not self.types or type_ in self.types

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Takes one message."""
        body, id_ = await request.read(), request.headers.get("webhook-id", "")
        try:
            Verifier(self.secret).verify(body, dict(request.headers))
        except Exception as error:
            self.wrong.append(f"{request.method} {request.path}, message {id_}: {error!r}")
            return web.Response(status=401)
        if self.bodies.setdefault(id_, body) != body:
            self.wrong.append(f"message {id_} has two bodies: {self.bodies[id_]!r}, {body!r}")
        ways = ways_of(self.seed, id_)
        way = ways[self.attempts[id_]] if self.attempts[id_] < len(ways) else "accepted"
        self.attempts[id_] += 1
        self.ends[way] += 1
        if way.startswith("accepted"):
            self.repeats += id_ in self.accepted
            self.accepted[id_] = body
        return await _ended(way, request)


def ways_of(seed: int, message_id: str) -> Sequence[str]:
    """How the first attempts at a message end, before it is accepted."""
    chance = random.Random(f"{seed} {message_id}")
    return chance.choices(WAYS, k=chance.choice(FAILURES)) if chance.random() < FAILED else ()


async def _ended(way: str, request: web.Request) -> web.StreamResponse:
    match way.removeprefix("accepted, then "):
        case "no answer":
            await asyncio.sleep(2 * TIMEOUT_SECONDS)
            return await failing(request)  # the sender may have been suspended, and still wait
        case "500":
            return await failing(request)
        case "429":
            return web.Response(status=429, headers={"Retry-After": RETRY_AFTER})
        case "reset":
            return await resetting(request)
        case "redirect":
            return web.Response(status=307, headers={"Location": "/elsewhere"})
        case "a slow body":
            return await _slow_body(request)
    return await accepting(request)


async def _slow_body(request: web.Request) -> web.StreamResponse:
    """A success whose body takes longer than the sender waits."""
    response = web.StreamResponse(status=200)
    with contextlib.suppress(ConnectionResetError):
        await response.prepare(request)
        for _ in range(SLOW_BODY_PARTS):
            await response.write(b"x")
            await asyncio.sleep(3 * TIMEOUT_SECONDS / SLOW_BODY_PARTS)
    return response


@asynccontextmanager
async def serving(endpoints: Sequence[Endpoint], *, tls: bool = False) -> AsyncIterator[list[str]]:
    """Serves the endpoints on loopback for the duration of the block, and returns their URLs. With `tls`, the
    certificate is of an authority that callfold does not know."""
    context = None
    if tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    application = web.Application()

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        endpoints[0].wrong.append(f"{request.method} {request.path} was requested, where no endpoint is")
        return await accepting(request)

    for n, endpoint in enumerate(endpoints):
        application.router.add_post(f"/{n}", endpoint.answer)
    application.router.add_route("*", "/{path:.*}", elsewhere)
    runner = web.AppRunner(application, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        origin = f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
        yield [f"{origin}/{n}" for n in range(len(endpoints))]
    finally:
        await runner.cleanup()
