"""The API's metrics, which docs/reference/metrics.md lists, and the middleware that records them."""

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from prometheus_client import Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.monitoring.metrics import GaugeAtScrape, new_registry

_REQUEST_SECONDS: Final = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_METHODS: Final = frozenset({"GET", "HEAD", "DELETE", "POST", "PUT", "PATCH", "OPTIONS"})
_ACTIONS: Final = frozenset({b"action=stats", b"action=trends"})
_OTHER: Final = "other"
STREAM_ENDS: Final = ("slow", "behind", "unreadable", "refused", "unchecked", "stopped")
STREAM: Final = (b"content-type", b"text/event-stream; charset=utf-8")
"""The header of answers that have no end. They are measured when they begin."""
GONE: Final = 499
"""The status of a request that ended without an answer, because the client had disconnected."""


class Metrics:
    """The metrics of one process."""

    def __init__(self) -> None:
        self.connections: Callable[[], dict[str, float]] = dict
        """Returns the connections to the databases by state, at each scrape; empty until it is set."""
        registry = self.registry = new_registry("api")
        self._requests = Counter(
            "callfold_api_requests", "Answered requests", ["route", "method", "status"], registry=registry
        )
        self._request_seconds = Histogram(
            "callfold_api_request_seconds",
            "Seconds from the request's head to the end of the answer; of a stream, to its head",
            ["route", "method"],
            buckets=_REQUEST_SECONDS,
            registry=registry,
        )
        self.in_progress = 0
        in_progress = Gauge(
            "callfold_api_requests_in_progress", "Requests that are not answered yet", registry=registry
        )
        in_progress.set_function(lambda: self.in_progress)
        GaugeAtScrape(
            "callfold_api_pool_connections",
            "Connections to the database",
            ("state",),
            lambda: {(state,): count for state, count in self.connections().items()},
            registry,
        )
        self.streams: Callable[[], int] = int
        """Returns the number of open streams, at each scrape; 0 until it is set."""
        streams = Gauge("callfold_api_streams", "Open streams of changes", registry=registry)
        streams.set_function(lambda: self.streams())
        self._stream_events = Counter(
            "callfold_api_stream_events",
            "Events that were sent to streams, by kind: changed, deleted or reset",
            ["kind"],
            registry=registry,
        )
        self._stream_ends = Counter(
            "callfold_api_stream_ends",
            "Streams that the server ended, by reason",
            ["reason"],
            registry=registry,
        )
        self._sent = {kind: self._stream_events.labels(kind) for kind in ("changed", "deleted", "reset")}
        for reason in STREAM_ENDS:
            self._stream_ends.labels(reason)
        # Looking up labels costs more than everything else here, and there are few of them.
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def sent(self, *, changed: int = 0, deleted: int = 0, reset: int = 0) -> None:
        """Records the events that were sent to a stream."""
        self._sent["changed"].inc(changed)
        self._sent["deleted"].inc(deleted)
        self._sent["reset"].inc(reset)

    def stream_ended(self, reason: str) -> None:
        """Records that the server ended a stream, for one of `STREAM_ENDS`."""
        self._stream_ends.labels(reason).inc()

    def count(self, route: str, method: str, status: int, seconds: float) -> None:
        """Records one answered request and its duration."""
        labels = route, method, status
        if labels not in self._children:
            self._children[labels] = (
                self._requests.labels(route, method, status),
                self._request_seconds.labels(route, method),
            )
        requests, request_seconds = self._children[labels]
        requests.inc()
        request_seconds.observe(seconds)


class Measured:
    """An application whose requests are measured, also those that fail."""

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
        began = time.perf_counter()
        is_counted = False

        def count() -> None:
            nonlocal is_counted
            if not is_counted:
                is_counted = True
                method = scope["method"] if scope["method"] in _METHODS else _OTHER
                metrics.in_progress -= 1
                metrics.count(route_taken(scope), method, int(status), time.perf_counter() - began)

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if STREAM in message["headers"]:
                    count()
            await send(message)

        metrics.in_progress += 1
        try:
            await self._app(scope, receive, noting)
        except Exception:
            # An outer middleware answers it.
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            raise
        finally:
            count()


def route_taken(scope: Scope) -> str:
    """The template of the request's route, without its version. The router leaves it in the scope. A route
    with several actions is listed with the action."""
    route = scope.get("route")
    if route is None:
        return _OTHER
    # FastAPI may include the prefix of an included router.
    template: str = route.path_format.removeprefix("/v1")
    if template == "/calls" and b"action=" in scope["query_string"]:
        for parameter in scope["query_string"].split(b"&"):
            if parameter in _ACTIONS:
                return f"{template}?{parameter.decode()}"
    return template


def route_of(scope: Scope) -> tuple[str, str] | None:
    """The route of a request that took one, for `TracedApplication`: its name and its path."""
    route = scope.get("route")
    return None if route is None else (route_taken(scope), route.path_format)
