"""The API's metrics, as docs/metrics.md lists them, and the middleware that takes them."""

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl

from prometheus_client import Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.metrics import GaugeAtScrape, new_registry

_REQUEST_SECONDS: Final = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_METHODS: Final = frozenset({"GET", "HEAD", "DELETE", "POST", "PUT", "PATCH", "OPTIONS"})
_OTHER: Final = "other"
GONE: Final = 499
"""The status of a request that ended without an answer: nobody was there any more."""


class Metrics:
    """The metrics of one process; `connections` is asked when they are scraped."""

    def __init__(self, connections: Callable[[], dict[str, float]]) -> None:
        registry = self.registry = new_registry("api")
        self.requests = Counter(
            "callfold_api_requests", "Requests answered", ["route", "method", "status"], registry=registry
        )
        self.request_seconds = Histogram(
            "callfold_api_request_seconds",
            "From the request's head to the end of the answer",
            ["route", "method"],
            buckets=_REQUEST_SECONDS,
            registry=registry,
        )
        self.in_progress = Gauge(
            "callfold_api_requests_in_progress", "Requests not answered yet", registry=registry
        )
        GaugeAtScrape(
            "callfold_api_pool_connections", "Connections to the database", "state", connections, registry
        )


class Measured:
    """An application whose requests are measured, whatever becomes of them."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        metrics = self._metrics
        status: int = GONE

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        began = time.perf_counter()
        metrics.in_progress.inc()
        try:
            await self._app(scope, receive, noting)
        except Exception:
            # The answer to it is made further out.
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            raise
        finally:
            method = scope["method"] if scope["method"] in _METHODS else _OTHER
            route = route_taken(scope)
            metrics.in_progress.dec()
            metrics.requests.labels(route, method, int(status)).inc()
            metrics.request_seconds.labels(route, method).observe(time.perf_counter() - began)


def route_taken(scope: Scope) -> str:
    """The template of the route that was taken, which the router leaves in the scope, without its version;
    and what it was asked to do, where it does several things."""
    template: str = getattr(scope.get("route"), "path", _OTHER)
    template = template.removeprefix("/v1")
    if template == "/calls" and b"action" in scope["query_string"]:
        action = dict(parse_qsl(scope["query_string"].decode("latin-1"))).get("action")
        if action in ("stats", "trends"):
            return f"{template}?action={action}"
    return template
