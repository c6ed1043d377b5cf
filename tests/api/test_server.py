"""`python -m services.api`: the process, tested over a socket."""

import asyncio
import itertools
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from shared.database.connection import Connection
from tests.support import seed
from tests.support.api import bearing, until_somebody_waits_for_a_lock


@asynccontextmanager
async def process(database_url: str, port: int, **settings: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The running service; it is killed at the end if it still runs."""
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.api",
        env={
            **os.environ,
            "CALLFOLD_DATABASE_URL": database_url,
            "CALLFOLD_API_PORT": str(port),
            **{f"CALLFOLD_{name.upper()}": said for name, said in settings.items()},
        },
        stderr=asyncio.subprocess.PIPE,
    )
    assert started.stderr is not None
    try:
        async with asyncio.timeout(20):
            while b"Uvicorn running" not in (line := await started.stderr.readline()):
                assert line, "the process ended before it was up"
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.communicate()


RAW: list[tuple[bytes, bytes]] = [
    (b"GET /calls?status=\xff\xfe HTTP/1.1", b"400"),
    (b"GET /calls/\xff HTTP/1.1", b"400"),
    (b"GET /calls/%00 HTTP/1.1", b"400"),
    (b"GET /calls?page=1\x00 HTTP/1.1", b"400"),
    (b"GET /calls?status=%ED%A0%80 HTTP/1.1", b"400"),
    (b"GET http://elsewhere.example/calls?page=0 HTTP/1.1", b"400"),
    (b"GET /nowhere HTTP/1.0", b"404"),
    (b"BREW /calls HTTP/1.1", b"400"),
    (b"\x16\x03\x01\x02\x00", b"400"),
]


async def test_raw_requests_never_break_it(
    database_url: str, database: Connection, free_tcp_port: int
) -> None:
    acme = await seed.tenant(database)
    key = acme.key.encode()
    async with process(database_url, free_tcp_port):
        for line, status in RAW:
            reader, writer = await asyncio.open_connection("127.0.0.1", free_tcp_port)
            writer.write(line + b"\r\nHost: api\r\nConnection: close\r\nx-api-key: " + key + b"\r\n\r\n")
            answer = await asyncio.wait_for(reader.read(), 5)
            writer.close()
            await writer.wait_closed()
            assert answer.split(b" ")[1] == status, (line, answer)


async def test_a_stop_lets_the_request_in_hand_finish(
    database_url: str, database: Connection, free_tcp_port: int
) -> None:
    acme = await seed.tenant(database)
    await seed.call(database, acme)
    async with (
        process(database_url, free_tcp_port) as api,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{free_tcp_port}") as client,
    ):
        assert (await client.get("/health/ready")).status_code == 200
        async with database.transaction():
            await database.execute("LOCK TABLE calls")
            asked = asyncio.create_task(client.get("/calls", headers=bearing(acme.key)))
            await until_somebody_waits_for_a_lock(database)
            api.send_signal(signal.SIGTERM)

        answer = await asked
        assert (answer.status_code, json.loads(answer.content)["total"]) == (200, 1)
        assert await asyncio.wait_for(api.wait(), 10) in (0, -signal.SIGTERM)


async def test_who_speaks_from_this_machine_is_not_believed_unless_trusted(
    database_url: str, database: Connection, free_tcp_port: int
) -> None:
    """By default, the server itself would use X-Forwarded-For from loopback as the peer's address."""
    acme = await seed.tenant(database)
    key = await seed.key(database, acme.id, networks=["203.0.113.0/24"])
    forwarded = {**bearing(key), "X-Forwarded-For": "203.0.113.9"}
    for trusted, status in (("", 403), ("10.0.0.0/8", 403), ("127.0.0.0/8", 200)):
        async with (
            process(database_url, free_tcp_port, api_trusted_proxies=trusted),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{free_tcp_port}") as client,
        ):
            assert (await client.get("/calls", headers=forwarded)).status_code == status, trusted


async def connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port, limit=2**26)


async def told(reader: asyncio.StreamReader) -> tuple[bytes, str]:
    """The status and the code of an answer after which the server closes the connection."""
    head, _, body = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")
    assert b"connection: close" in head
    return head.split(b" ")[1], json.loads(body)["code"]


TOO_LARGE: list[tuple[str, list[bytes], tuple[bytes, str]]] = [
    ("a long header", [b"x: ", *[b"y" * 65536] * 16], (b"431", "HEAD_TOO_LARGE")),
    ("many headers", [b"x: y\r\n" * 170_000], (b"431", "HEAD_TOO_LARGE")),
    ("many headers in one packet", [b"x: y\r\n" * 6_000 + b"\r\n"], (b"431", "HEAD_TOO_LARGE")),
    ("a gigabyte announced", [b"Content-Length: 1000000000\r\n\r\nx"], (b"413", "BODY_TOO_LARGE")),
    ("no HTTP", [b"no header\r\n\r\n"], (b"400", "BAD_REQUEST")),
]


async def test_what_is_too_large_is_refused_with_a_sentence(database_url: str, free_tcp_port: int) -> None:
    async with process(database_url, free_tcp_port):
        for what, parts, answer in TOO_LARGE:
            reader, writer = await connected(free_tcp_port)
            writer.write(b"GET /health/live HTTP/1.1\r\nHost: api\r\n")
            for part in parts:
                writer.write(part)
            assert await told(reader) == answer, what
            writer.close()
        reader, writer = await connected(free_tcp_port)
        writer.write(b"GET /" + b"x" * 200_000)
        assert await told(reader) == (b"431", "HEAD_TOO_LARGE"), "a long path"
        writer.close()
        reader, writer = await connected(free_tcp_port)
        writer.write(b"GET /health/live HTTP/1.1\r\nHost: api\r\nx: " + b"y" * 30_000 + b"\r\n")
        writer.write(b"Connection: close\r\nContent-Length: 5\r\n\r\nhello")
        answered = await asyncio.wait_for(reader.read(), 10)
        assert answered.startswith(b"HTTP/1.1 200"), "what is not too large is answered"
        writer.close()


async def test_a_head_that_does_not_end_is_cut_off(database_url: str, free_tcp_port: int) -> None:
    async with process(database_url, free_tcp_port, api_client_seconds="0.5"):
        for begun in (b"", b"\r\n", b"GET /health/live HTTP/1.1\r\nx: y"):
            reader, writer = await connected(free_tcp_port)
            writer.write(begun)
            reading = asyncio.create_task(reader.read())
            async with asyncio.timeout(10):
                while not reading.done():  # one byte at a time
                    writer.write(b"y" if len(begun) > 2 else begun)
                    await asyncio.wait({reading}, timeout=0.05)
            assert reading.exception() is not None or reading.result() == b""
            writer.close()
        reader, writer = await connected(free_tcp_port)
        head = b"GET /health/live HTTP/1.1\r\nHost: api\r\n\r\n"
        writer.write(head + head[:10])
        assert (await asyncio.wait_for(reader.read(), 10)).count(b'"live"') == 1, "nor a second one"
        writer.close()


async def test_who_does_not_read_is_cut_off_and_who_reads_slowly_is_not(
    database_url: str, database: Connection, free_tcp_port: int
) -> None:
    acme = await seed.tenant(database)
    large = await seed.call(database, acme, transcript="x" * 900_000)
    ask = f"GET /calls/{large} HTTP/1.1\r\nHost: api\r\nx-api-key: {acme.key}\r\n\r\n".encode()
    async with process(database_url, free_tcp_port, api_client_seconds="0.5"):
        ends = []
        for reads in (False, True):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, ("127.0.0.1", free_tcp_port))
            await loop.sock_sendall(client, ask * 20)
            if not reads:
                await until_cut_off(client)
            received = 0
            try:
                async with asyncio.timeout(30):
                    while received < 20 * 900_000 and (got := await loop.sock_recv(client, 65536)):
                        received += len(got)
            except ConnectionError:
                pass
            ends.append(received >= 20 * 900_000)
            client.close()
    assert ends == [False, True]


async def test_who_reads_answer_after_answer_is_never_cut_off(
    database_url: str, database: Connection, free_tcp_port: int
) -> None:
    acme = await seed.tenant(database)
    asks = []
    for length in (200_000, 1_000_000):
        call_id = await seed.call(database, acme, transcript="x" * length)
        head = f"GET /calls/{call_id} HTTP/1.1\r\nHost: api\r\nx-api-key: {acme.key}\r\n\r\n"
        asks.append((head.encode(), length))
    loop = asyncio.get_running_loop()
    looks_seconds = 0.5
    async with process(database_url, free_tcp_port, api_client_seconds=str(looks_seconds)):
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            await loop.sock_connect(client, ("127.0.0.1", free_tcp_port))
            enough = loop.time() + 8 * looks_seconds
            for ask, length in itertools.cycle(asks):
                if loop.time() > enough:
                    break
                await loop.sock_sendall(client, ask)
                received = 0
                while received < length:
                    received += len(got := await loop.sock_recv(client, 8192))
                    assert got, "it was cut off"


async def until_cut_off(client: socket.socket) -> None:
    """Returns when the server has closed its side, without reading anything."""
    async with asyncio.timeout(20):
        while True:
            state = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
            if state != 1:  # TCP_ESTABLISHED
                return
            await asyncio.sleep(0.02)


async def test_of_too_many_connections_the_last_are_told_so(database_url: str, free_tcp_port: int) -> None:
    async with process(database_url, free_tcp_port, api_connections="3"):
        first = [await connected(free_tcp_port) for _ in range(3)]
        reader, writer = await connected(free_tcp_port)
        answer = await asyncio.wait_for(reader.read(), 10)
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"retry-after: 1\r\n" in answer
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "TOO_MANY_CONNECTIONS"
        writer.close()
        for reader, writer in first:
            writer.write(b"GET /health/live HTTP/1.1\r\nHost: api\r\nConnection: close\r\n\r\n")
            assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 200")
            writer.close()
        reader, writer = await connected(free_tcp_port)
        writer.write(b"GET /health/live HTTP/1.1\r\nHost: api\r\nConnection: close\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 200"), "there is room again"
        writer.close()
