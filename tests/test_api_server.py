"""`python -m services.api`: the process, spoken to over a socket."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from shared.database import Connection
from tests import seed
from tests.api import bearing, until_somebody_waits_for_a_lock


@asynccontextmanager
async def process(database_url: str, port: int, **settings: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The service, up; killed at the end if it still is."""
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
    """The server itself would take X-Forwarded-For from loopback for the peer's address."""
    acme = await seed.tenant(database)
    key = await seed.key(database, acme.id, networks=["203.0.113.0/24"])
    forwarded = {**bearing(key), "X-Forwarded-For": "203.0.113.9"}
    for trusted, status in (("", 403), ("10.0.0.0/8", 403), ("127.0.0.0/8", 200)):
        async with (
            process(database_url, free_tcp_port, api_trusted_proxies=trusted),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{free_tcp_port}") as client,
        ):
            assert (await client.get("/calls", headers=forwarded)).status_code == status, trusted
