"""Bodies: reads them, and bounds the memory that they take together.

A body takes memory until its request is answered, and longer while Kafka has not taken its record.
"""

from typing import Final

from fastapi import Request


class TooManyBytes(Exception):
    """The bodies in memory are as large as they may be."""


class Memory:
    """The memory of all bodies of the process."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max: Final = bytes_max
        self.bytes_held = 0

    def take(self, count: int) -> None:
        """Raises TooManyBytes."""
        if self.bytes_held + count > self._bytes_max:
            raise TooManyBytes
        self.bytes_held += count

    def free(self, count: int) -> None:
        self.bytes_held -= count


class HeldBody:
    """The memory of one body, which its holders free together: the last `release` counts."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._bytes = 0
        self._holders = 1
        self.is_read = False
        """Whether the body has arrived as a whole."""

    def grow(self, count: int) -> None:
        """Raises TooManyBytes."""
        self._memory.take(count)
        self._bytes += count

    def hold(self) -> None:
        """Adds a holder."""
        self._holders += 1

    def release(self) -> None:
        self._holders -= 1
        if not self._holders:
            self._memory.free(self._bytes)


async def read(request: Request, held: HeldBody) -> bytes:
    """The body of a request, whose size the server bounds. Raises TooManyBytes, and starlette's
    ClientDisconnect."""
    parts = []
    async for part in request.stream():
        held.grow(len(part))
        parts.append(part)
    held.is_read = True
    return b"".join(parts)


def announces_body(request: Request) -> bool:
    """Whether the head announces a body that is not empty."""
    length = request.headers.get("content-length", "0")
    return length.strip() != "0" or "transfer-encoding" in request.headers
