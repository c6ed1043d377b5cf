"""`python -m services.receiver`: the process, tested over sockets, with clients that keep to no rule."""

import asyncio
import gzip
import hmac
import json
import signal
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import sha1
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

import httpx

from shared.database.connection import Connection
from shared.database.roles import RECEIVER
from shared.sources.envelopes import BODY_BYTES_MAX
from shared.sources.source import Source
from tests.monitoring.test_metrics import documented, exported
from tests.support import raw_http
from tests.support.collector import Collector, traceparent
from tests.support.monitoring import Monitor
from tests.support.processes import Service, until
from tests.support.receiving import KEY, add_source, records
from tests.support.roles import as_role

URL: Final = "https://hooks.example.test/twilio"
TOKEN: Final = "token"
SOURCE: Final = Source(
    UUID("0b6cf1f4-6d2e-4a3b-9b3e-2f7c5a1d8e90"), "Acme", "twilio", secrets={"auth_token": TOKEN}, url=URL
)
PATH: Final = f"/hooks/{SOURCE.id}"


def signature(body: bytes, query: str = "", token: str = TOKEN) -> dict[str, str]:
    """The headers of a form, as Twilio signs it. Its fields are in their order and need no decoding."""
    url = f"{URL}?{query}" if query else URL
    signed = url.encode() + body.replace(b"=", b"").replace(b"&", b"")
    return {
        "content-type": "application/x-www-form-urlencoded",
        "x-twilio-signature": b64encode(hmac.digest(token.encode(), signed, sha1)).decode(),
    }


@asynccontextmanager
async def process(
    database_url: str, bootstrap: str, topic: str, port: int, monitor: Monitor, log: Path, **settings: str
) -> AsyncIterator[Service]:
    """The running service, when it is ready; it is killed at the end if it still runs."""
    service = Service(
        "receiver",
        log,
        **{
            "database_url": as_role(database_url, RECEIVER),
            "kafka_bootstrap": bootstrap,
            "deliveries_topic": topic,
            "secrets_key": KEY,
            "receiver_port": str(port),
            "monitor_port": str(monitor.port),
            **settings,
        },
    )
    try:
        await until(monitor.is_ready, "the receiver to be ready")
        yield service
    finally:
        if service.running:
            service.kill()


def raw(method: bytes, target: bytes, *lines: bytes, body: bytes = b"") -> bytes:
    head = (method + b" " + target + b" HTTP/1.1", b"Host: x", b"Connection: close", *lines)
    return b"\r\n".join((*head, b"", body))


ID: Final = str(SOURCE.id).encode()
TRICKS: Final = [
    *(b"/hooks/../health/live", b"/hooks/%2e%2e/health/live", b"/hooks/..%2f" + ID, b"/hooks/./" + ID),
    *(b"/hooks//" + ID, b"//hooks/" + ID, b"/hooks/" + ID + b"%00", b"/hooks/%00", b"/hooks/" + ID + b"%2f"),
    *(b"/hooks/" + ID[:-1], b"/hooks/" + ID + b"0", b"/hooks/%30" + ID[1:], b"/hooks/" + ID + b";x"),
    *(b"/hooks/" + b"a" * 20_000, b"/HOOKS/" + ID, b"/hooks/ef" + ID[2:]),
    *(b"/hooks/%EF%BC%91" + ID[1:], b"/hooks/{source_id}", b"/hooks/*", b"/hooks/" + ID + b"'--"),
]
BROKEN: Final = [
    raw(b"POST", b"/hooks/\xef\xbc\x91" + ID[1:], b"Content-Length: 0"),
    raw(b"POST", PATH.encode(), b"Content-Length: -1"),
    raw(b"POST", PATH.encode(), b"Content-Length: 1", b"Content-Length: 2", body=b"xy"),
    raw(b"POST", PATH.encode(), b"x: a\x00b", b"Content-Length: 0"),
    raw(b"POST", PATH.encode(), b"Transfer-Encoding: chunked", body=b"zz\r\n"),
    raw(b"POST", PATH.encode(), b"no header"),
    b"\x16\x03\x01\x02\x00",
]


async def test_hostile_requests_are_refused_and_nothing_of_them_is_published(
    database: Connection,
    database_url: str,
    bootstrap: str,
    deliveries: str,
    free_tcp_port_factory: object,
    tmp_path: Path,
) -> None:
    port, monitor = _ports(free_tcp_port_factory)
    await add_source(database, SOURCE)
    await add_source(database, replace(SOURCE, id=uuid4(), name="off"), enabled=False)
    form = b"AccountSid=AC1&CallSid=CA1&CallStatus=ringing"
    signed = [f"{name}: {value}".encode() for name, value in signature(form).items()]
    log = tmp_path / "log"
    async with (
        process(
            database_url, bootstrap, deliveries, port, monitor, log, receiver_client_seconds="0.5"
        ) as service,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):
        for trick in TRICKS:
            for method in (b"POST", b"GET"):
                answer = await raw_http.ask(port, raw(method, trick, *signed, b"Content-Length: 0"))
                assert answer.status == 404, trick
                assert json.loads(answer.body)["code"] == "NOT_FOUND", trick
        for broken in BROKEN:
            assert (await raw_http.ask(port, broken)).status == 400, broken

        repeated = form + b"&CallStatus=completed"
        bomb = gzip.compress(bytes(100 << 20))
        for what, body, headers in (
            ("no signature", form, {}),
            ("another token", form, signature(form, token="other")),
            ("for another query", form, signature(form, "a=1")),
            ("another field", form.replace(b"ringing", b"completed"), signature(form)),
            ("a field twice", repeated, signature(form)),
            ("another type", form, {**signature(form), "content-type": "application/json"}),
            ("a bomb", bomb, {**signature(form), "content-encoding": "gzip"}),
            ("two signatures", form, [*signature(form).items(), ("x-twilio-signature", "b2g=")]),
            ("a flood of fields", b"&a=" * (1 << 20), signature(form)),
            ("no ASCII", form, {**signature(form), "x-twilio-signature": b"\xff\xfe"}),
        ):
            answered = await client.post(PATH, content=body, headers=headers)  # type: ignore[arg-type]
            assert answered.status_code in (401, 403), what

        await _too_large(port)
        await _slow(port)
        assert await records(bootstrap, deliveries) == []

        for query in ("", "a=%2e%2E&b=+&c"):
            answered = await client.post(f"{PATH}?{query}", content=form, headers=signature(form, query))
            assert (answered.status_code, answered.content) == (200, b"")
        published = await records(bootstrap, deliveries)
        assert [record.value for record in published] == [form, form]

        assert await _count(monitor, "accepted") == 2
        assert await _count(monitor, "refused") == 11
        below = [trick for trick in TRICKS if trick.startswith(b"/hooks/")]
        assert await _count(monitor, "unknown", source="") == 2 * len(below)
        refusals = {reason: await _refusals(monitor, reason) for reason in ("missing", "wrong")}
        assert refusals == {"missing": 2, "wrong": 9}
        assert await monitor.value("callfold_receiver_published_total") == 2
        assert await monitor.value("callfold_receiver_rejected_total", code="BODY_TOO_LARGE") == 2
        assert await monitor.value("callfold_receiver_kafka_up") == 1
        assert await monitor.value("callfold_receiver_waiting_requests") == 0
        assert await monitor.value("callfold_receiver_body_bytes") == 0
        assert exported(await monitor.families()) == documented("receiver")
        assert service.running
        assert not any(service.said(text) for text in ("CallSid", TOKEN, "Traceback", "AC1", "a=%2e"))
        assert service.stop() in (0, -signal.SIGTERM)


def _ports(factory: object) -> tuple[int, Monitor]:
    assert callable(factory)
    return factory(), Monitor(factory())


async def _count(monitor: Monitor, outcome: str, source: str = "Acme") -> float | None:
    return await monitor.value("callfold_receiver_requests_total", source=source, outcome=outcome)


async def _refusals(monitor: Monitor, reason: str) -> float | None:
    return await monitor.value("callfold_receiver_refusals_total", source="Acme", reason=reason)


async def _too_large(port: int) -> None:
    """One byte more than a body may have is refused, announced or not; the largest body is read."""
    size = BODY_BYTES_MAX + 1
    announced = raw(b"POST", PATH.encode(), b"Content-Length: %d" % size)
    chunked = raw(
        b"POST",
        PATH.encode(),
        b"Transfer-Encoding: chunked",
        body=b"%x\r\n" % size + bytes(size) + b"\r\n0\r\n\r\n",
    )
    for request in (announced, chunked):
        answer = await raw_http.ask(port, request)
        assert (answer.status, json.loads(answer.body)["code"]) == (413, "BODY_TOO_LARGE")
    largest = raw(b"POST", PATH.encode(), b"Content-Length: %d" % (size - 1), body=bytes(size - 1))
    assert (await raw_http.ask(port, largest)).status == 401


async def _slow(port: int) -> None:
    """A client that sends its head or its body by drops is disconnected; one that pauses shortly is not."""
    head = raw(b"POST", PATH.encode(), b"Content-Length: 100000")
    for begun in (head[:20], head, raw(b"POST", PATH.encode(), b"Transfer-Encoding: chunked")):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(begun)
        reading = asyncio.create_task(reader.read())
        async with asyncio.timeout(10):
            while not reading.done():
                writer.write(b"x" if begun is not None and b"chunked" not in begun else b"1\r\nx\r\n")
                await asyncio.wait({reading}, timeout=0.05)
        assert reading.exception() is not None or reading.result() == b""
        writer.close()


async def test_a_delivery_is_followed_from_its_request_to_its_record(
    database: Connection,
    database_url: str,
    bootstrap: str,
    deliveries: str,
    free_tcp_port_factory: object,
    tmp_path: Path,
    collector: Collector,
) -> None:
    port, monitor = _ports(free_tcp_port_factory)
    await add_source(database, SOURCE)
    form = b"CallSid=secret"
    settings = {"traces_url": collector.url, "traces_ratio": "0"}
    async with (
        process(database_url, bootstrap, deliveries, port, monitor, tmp_path / "log", **settings) as service,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):
        query = "number=%2B49301"
        for n, flags in ((7, "01"), (8, "00")):
            headers = {**signature(form, query), "traceparent": traceparent(n, flags=flags)}
            assert (await client.post(f"{PATH}?{query}", content=form, headers=headers)).status_code == 200
        service.stop()
    (request,) = collector.named("POST /hooks/{source_id}")
    (sending,) = collector.named(f"send {deliveries}")
    assert (request.kind, sending.kind) == ("SERVER", "PRODUCER")
    assert (request.parent_id, sending.parent_id) == (f"{7:016x}", request.id)
    assert request.attributes["http.route"] == "/hooks/{source_id}"
    assert "49301" not in request.text + sending.text
    assert str(SOURCE.id) not in request.text + sending.text
    first, second = await records(bootstrap, deliveries)
    assert dict(first.headers)["traceparent"].decode() == f"00-{7:032x}-{sending.id}-01"
    assert "traceparent" not in dict(second.headers)
