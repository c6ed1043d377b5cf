"""The application: its routes, and what runs beside them: the reading of sources, and the producer."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, MutableMapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

import httpx
import msgspec
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from services.receiver import answers
from services.receiver.bodies import Memory
from services.receiver.hooks import Hooks, Sending, untraced
from services.receiver.known_sources import KnownSources
from services.receiver.metrics import Metrics, Standing
from services.receiver.publisher import Publisher
from services.receiver.sns import Notifications
from shared.settings.receiver import ReceiverSettings

HOOKS: Final = "/hooks/"


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Receiver:
    """One process of the receiver."""

    def __init__(
        self,
        settings: ReceiverSettings,
        *,
        clock: Callable[[], datetime] = _utc_now,
        sending: Sending = untraced,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`clock` returns the current time. `sending` wraps each publication in a span. `transport` replaces
        the connections to Amazon SNS."""
        self.ended = asyncio.Event()
        """Set when a permanent fault, `fault`, ends the process."""
        self.fault: Exception | None = None
        self._sources = KnownSources(settings)
        self._memory = Memory(settings.receiver_bodies_mib << 20)
        self._publisher = Publisher(settings, lambda: self.metrics.published())
        self.metrics = Metrics(
            Standing(
                kafka_is_up=lambda: self._publisher.is_up,
                sources_are_read=lambda: self._sources.are_read,
                waiting_requests=lambda: self._publisher.waiting,
                body_bytes=lambda: self._memory.bytes_held,
            )
        )
        self._notifications = Notifications(transport)
        self._hooks = Hooks(
            self._sources,
            self._publisher,
            self._memory,
            self.metrics,
            self._notifications,
            clock,
            sending,
        )

    async def why_waiting(self) -> str | None:
        """Why requests are answered 503; None when they are taken."""
        return self._sources.why_waiting() or self._publisher.why_waiting()

    def application(self) -> FastAPI:
        """The application. It also starts without database and Kafka."""
        app = FastAPI(
            lifespan=self._running, openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False
        )
        app.add_route(f"{HOOKS}{{source_id:path}}", self._hooks.take, methods=list(answers.METHODS))
        app.add_route("/health/live", _live)
        app.add_route("/health/ready", self._ready)
        app.exception_handler(HTTPException)(_http_exception)
        app.exception_handler(Exception)(_anything_else)
        return app

    @asynccontextmanager
    async def _running(self, _: FastAPI) -> AsyncIterator[None]:
        """Runs what is beside the routes during the block. Its first fault sets `ended`."""
        stop = asyncio.Event()
        tasks = [asyncio.create_task(self._run(part.run(stop))) for part in (self._sources, self._publisher)]
        try:
            async with self._notifications:
                yield
        finally:
            stop.set()
            await asyncio.wait(tasks)

    async def _run(self, part: Coroutine[None, None, None]) -> None:
        try:
            await part
        except Exception as fault:
            self.fault = self.fault or fault
            self.ended.set()

    async def _ready(self, _: Request) -> Response:
        """Whether requests are taken. The reason is in the monitor's answer, which is the operator's."""
        if await self.why_waiting() is not None:
            return answers.unavailable("The receiver waits for its database or for Kafka.", 5)
        return _json(status="ready")


async def _live(_: Request) -> Response:
    return _json(status="live")


async def _http_exception(_: Request, error: HTTPException) -> Response:
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return answers.method_not_allowed()
    return answers.not_found()


async def _anything_else(_: Request, __: Exception) -> Response:
    return answers.broken()


def _json(**content: str) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json")


def route_of(scope: MutableMapping[str, Any]) -> tuple[str, str] | None:
    """The route of a request in spans: its name and its path."""
    if scope["path"].startswith(HOOKS):
        return f"{HOOKS}{{source_id}}", f"{HOOKS}{{source_id}}"
    return None
