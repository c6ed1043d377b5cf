"""Traces of HTTP servers: OpenTelemetry's middleware, with a filtered view of each request.

The middleware would write a request's path and query into the span, and both may contain phone numbers. It
also fails on bytes in the query or in headers that it cannot decode. It therefore gets no path, no query, and
few headers.
"""

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import get_current_span

from shared.monitoring import traces

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
RouteOf = Callable[[Scope], tuple[str, str] | None]
"""Finds the route that a request took: its name in spans, and its path with parameters in braces."""

_SHOWN: Final = ("type", "http_version", "method", "scheme", "server")
_SHOWN_HEADERS: Final = (b"traceparent", b"tracestate", b"user-agent")


class TracedApplication:
    """An application whose requests have spans, except health requests. At shutdown it sends the last
    spans."""

    def __init__(self, application: Application, provider: TracerProvider, route_of: RouteOf) -> None:
        # Selects the stable attribute names; the library offers no other way.
        os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "http")
        self._application = application
        self._provider = provider
        self._route_of = route_of
        self._middleware = OpenTelemetryMiddleware(
            _answer,
            exclude_spans=["receive", "send"],
            tracer_provider=provider,
            meter_provider=NoOpMeterProvider(),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        if scope["type"] == "lifespan":
            await self._application(scope, receive, self._flushing(send))
        elif scope["type"] != "http" or scope["path"].startswith("/health/"):
            await self._application(scope, receive, send)
        else:
            await self._trace(scope, receive, send)

    def _flushing(self, send: Send) -> Send:
        """Sends the last spans at shutdown, because uvicorn may then raise the signal that stopped it."""

        async def flushed(message: Message) -> None:
            if message["type"] == "lifespan.shutdown.complete":
                traces.stop(self._provider)
            await send(message)

        return flushed

    async def _trace(self, scope: Scope, receive: Receive, send: Send) -> None:
        fault: Exception | None = None

        async def answer(receive: Receive, send: Send) -> None:
            nonlocal fault
            try:
                await self._application(scope, receive, self._naming(scope, send))
            except Exception as raised:  # its text and traceback would be written to the span
                fault = raised

        headers = [
            (name, value) for name, value in scope["headers"] if name in _SHOWN_HEADERS and value.isascii()
        ]
        shown = {name: scope[name] for name in _SHOWN}
        await self._middleware({**shown, "headers": headers, "callfold.answer": answer}, receive, send)
        if fault is not None:
            raise fault

    def _naming(self, scope: Scope, send: Send) -> Send:
        """Names the span when the answer begins: the route is known only after routing."""

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start" and (route := self._route_of(scope)) is not None:
                span = get_current_span()
                name, path = route
                span.update_name(f"{scope['method']} {name}")
                span.set_attribute("http.route", path)
            await send(message)

        return named


async def _answer(shown: Scope, receive: Receive, send: Send) -> None:
    """The application as the middleware calls it."""
    await shown["callfold.answer"](receive, send)
