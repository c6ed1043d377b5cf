"""A collector of traces, which receives OTLP over HTTP and lets a test read the spans."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from tests.support.events import CALL
from tests.support.processes import Record


@dataclass(frozen=True)
class Span:
    """One span; ids in hex, times in nanoseconds."""

    service: str
    trace_id: str
    id: str
    parent_id: str
    name: str
    kind: str
    start: int
    end: int
    attributes: dict[str, Any]
    events: list[str]
    links: list[tuple[str, str]]
    failed: bool
    description: str
    text: str
    """All of its fields as sent."""


class Collector:
    """The spans received, oldest first."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/v1/traces"
        self.spans: list[Span] = []

    def named(self, name: str) -> list[Span]:
        """The spans with this name."""
        return [span for span in self.spans if span.name == name]

    async def has(self, name: str, count: int = 1) -> bool:
        """Whether this many spans have arrived."""
        return len(self.named(name)) >= count

    def take(self, request: bytes) -> None:
        """Reads the spans of one request."""
        for of_service in ExportTraceServiceRequest.FromString(request).resource_spans:
            service = str(_values(of_service.resource.attributes)["service.name"])
            self.spans += [_read(service, span) for scope in of_service.scope_spans for span in scope.spans]


def _values(attributes: Any) -> dict[str, Any]:
    def value(pair: KeyValue) -> Any:
        return getattr(pair.value, pair.value.WhichOneof("value") or "string_value")

    return {pair.key: value(pair) for pair in attributes}


def _read(service: str, span: trace_pb2.Span) -> Span:
    return Span(
        service=service,
        trace_id=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        name=span.name,
        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        attributes=_values(span.attributes),
        events=[event.name for event in span.events],
        links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        failed=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
        description=span.status.message,
        text=str(span),
    )


@contextmanager
def collecting() -> Iterator[Collector]:
    """Runs a collector on loopback within the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.take(self.rfile.read(int(self.headers["Content-Length"])))
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            """Logs nothing: the tests report missing spans."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(server.server_port)
        serving = Thread(target=server.serve_forever, daemon=True)
        serving.start()
        yield collector
        server.shutdown()
        serving.join()


def traceparent(n: int, *, flags: str = "01") -> str:
    """The header of the n-th trace. The producer's span has the same number."""
    return f"00-{n:032x}-{n:016x}-{flags}"


def traced(n: int, body: bytes) -> Record:
    """A record that was published within the n-th trace."""
    return CALL.bytes, body, (("traceparent", traceparent(n).encode()),)


def forbid_imports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, names: Sequence[str]) -> None:
    """Processes that are started from now on cannot import these packages."""
    (tmp_path / "sitecustomize.py").write_text(
        f"import sys; sys.modules.update(dict.fromkeys({names!r}))  # None: the import fails\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


EXTRA = ("opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.instrumentation")
"""The packages of the extra `telemetry`. FastAPI itself depends on OpenTelemetry's API package."""
