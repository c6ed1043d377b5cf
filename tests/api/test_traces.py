"""Traces of the API, as a collector receives them."""

import asyncio
from pathlib import Path

import httpx
import pytest

from services.api.metrics import route_of
from shared.database.connection import Connection
from shared.http.traces import Receive, Scope, Send, TracedApplication
from shared.monitoring import traces
from shared.settings.process import TelemetrySettings
from tests.api.test_server import RAW, process
from tests.support import seed
from tests.support.api import bearing
from tests.support.collector import EXTRA, Collector, forbid_imports, traceparent

NUMBER = "+4930123456"


async def test_a_request_has_a_span_in_its_clients_trace(
    database_url: str, database: Connection, free_tcp_port: int, collector: Collector
) -> None:
    acme = await seed.tenant(database)
    number = NUMBER[1:]
    paths = ["/calls?status=completed", f"/v1/calls/{number}", f"/calls?caller={number}", f"/{number}"]
    async with (
        process(database_url, free_tcp_port, traces_url=collector.url, traces_ratio="0") as api,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{free_tcp_port}") as client,
    ):
        for n, path in enumerate(paths, 1):
            headers = {**bearing(acme.key), "traceparent": traceparent(n), "baggage": f"number={number}"}
            await client.get(path, headers=headers)
        for path in ("/health/live", "/health/ready"):
            await client.get(path, headers={"traceparent": traceparent(8)})
        await client.get("/calls", headers={**bearing(acme.key), "traceparent": traceparent(9, flags="00")})
        await client.get("/calls", headers=bearing(acme.key))
        api.terminate()
        await api.wait()
    assert [(span.trace_id, span.parent_id, span.name) for span in collector.spans] == [
        (f"{1:032x}", f"{1:016x}", "GET /calls"),
        (f"{2:032x}", f"{2:016x}", "GET /calls/{id}"),
        (f"{3:032x}", f"{3:016x}", "GET /calls"),
        (f"{4:032x}", f"{4:016x}", "GET"),
    ]
    assert [span.attributes["http.response.status_code"] for span in collector.spans] == [200, 400, 400, 404]
    first = collector.spans[0]
    assert (first.service, first.kind, first.failed) == ("callfold-api", "SERVER", False)
    assert first.attributes == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.route": "/calls",
        "network.protocol.version": "1.1",
        "server.address": f"127.0.0.1:{free_tcp_port}",
        "server.port": free_tcp_port,
        "url.scheme": "http",
        "user_agent.original": f"python-httpx/{httpx.__version__}",
    }
    for span in collector.spans:
        assert number not in span.text
        assert acme.key not in span.text


async def test_a_share_of_the_requests_that_nobody_traces_is_traced(
    database_url: str, free_tcp_port: int, collector: Collector
) -> None:
    async with (
        process(database_url, free_tcp_port, traces_url=collector.url, traces_ratio="0.5") as api,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{free_tcp_port}") as client,
    ):
        for _ in range(100):
            await client.get("/calls")
        api.terminate()
        await api.wait()
    assert 20 < len(collector.spans) < 80


async def test_a_traced_api_is_as_hard_to_break(
    database_url: str, database: Connection, free_tcp_port: int, collector: Collector
) -> None:
    acme = await seed.tenant(database)
    headers = (
        b"\r\nHost: \xff\\x\r\nConnection: close\r\nx-y: \xff\\x\r\ntraceparent: \xff\\x\r\n"
        b"tracestate: \xff\\x\r\nuser-agent: \xff\\x\r\nx-api-key: " + acme.key.encode() + b"\r\n\r\n"
    )
    async with process(database_url, free_tcp_port, traces_url=collector.url, traces_ratio="1"):
        for line, status in RAW:
            reader, writer = await asyncio.open_connection("127.0.0.1", free_tcp_port)
            writer.write(line + headers)
            answer = await asyncio.wait_for(reader.read(), 5)
            writer.close()
            await writer.wait_closed()
            assert answer.split(b" ")[1] == status, (line, answer)


async def test_what_a_fault_says_is_in_no_span(collector: Collector) -> None:
    provider = traces.start(TelemetrySettings(traces_url=collector.url), "api", root_ratio=1)
    assert provider is not None

    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 500, "headers": []})
        raise ValueError(NUMBER)

    transport = httpx.ASGITransport(TracedApplication(failing, provider, route_of), raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        with pytest.raises(ValueError, match=NUMBER[1:]):
            await client.get("/calls")
    traces.stop(provider)
    (span,) = collector.spans
    assert (span.failed, span.attributes["http.response.status_code"]) == (True, 500)
    assert NUMBER not in span.text


async def test_the_api_needs_nothing_of_the_extra(
    database_url: str, free_tcp_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_imports(monkeypatch, tmp_path, EXTRA)
    async with (
        process(database_url, free_tcp_port),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{free_tcp_port}") as client,
    ):
        assert (await client.get("/health/ready")).status_code == 200
