"""Raw HTTP, for requests that no client library would send."""

import asyncio
from typing import NamedTuple

LONGEST_SECONDS = 20


class Answer(NamedTuple):
    """The bytes received until the server closed the connection; `status` 0: it closed without a response."""

    status: int
    head: bytes
    body: bytes


async def ask(port: int, request: bytes) -> Answer:
    """Sends these bytes to loopback and returns the response. A server that closes before it has read all of
    them may still have answered."""
    try:
        answer = await asyncio.wait_for(_answer(port, request), LONGEST_SECONDS)
    except TimeoutError:
        raise AssertionError(f"neither answered nor closed: {request[:100]!r}") from None
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    return Answer(int(words[1]) if len(words) > 2 else 0, head, body)


async def _answer(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        await writer.drain()
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


def request(method: str, target: bytes, *lines: bytes) -> bytes:
    """A request with these header lines, which asks the server to close the connection."""
    first = method.encode() + b" " + target + b" HTTP/1.1"
    return b"\r\n".join((first, b"Host: api", b"Connection: close", *lines, b"", b""))
