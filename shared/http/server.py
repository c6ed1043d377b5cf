"""The server's limits on the size and speed of a client's requests, and on how slowly it may read.

uvicorn and httptools have no such limits: a request's head and body may have any size and take any time, and
an answer that the client does not read is kept forever.
"""

import asyncio
import contextlib
import fcntl
import socket
import struct
import sys
import termios
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

HEAD_BYTES_MAX: Final = 32 * 1024
SLOW_BODY_BYTES: Final = 256 * 1024
"""The fewest bytes of an unfinished body that a client must send within its time limit."""

_LINGER_SECONDS: Final = 1.0
"""How long bytes of a refused client are discarded. If the server closed at once, the client might lose the
answer."""

_AT_ONCE: Final = struct.pack("ii", 1, 0)


class Limits(NamedTuple):
    """The limits of a server. The last three are not an operator's to set."""

    connections: int
    client_seconds: float
    """How long a client may take to send a head, or the next part of a body. Also how long it may read
    nothing of an answer."""
    body_bytes: int
    body_is_read: bool
    """Whether the application reads bodies. Otherwise a connection is closed after a request with a body."""
    server: str
    """The server's name within a sentence."""


STATUSES: Final[Mapping[str, HTTPStatus]] = {
    "BAD_REQUEST": HTTPStatus.BAD_REQUEST,
    "BODY_TOO_LARGE": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "HEAD_TOO_LARGE": HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "TOO_MANY_CONNECTIONS": HTTPStatus.SERVICE_UNAVAILABLE,
}
"""The status of each code that a server answers with before the application sees a request."""


class _Refusal(NamedTuple):
    code: str
    sentence: str
    headers: bytes = b""


_BAD_REQUEST: Final = _Refusal("BAD_REQUEST", "The request is not valid HTTP.")
_HEAD_TOO_LARGE: Final = _Refusal(
    "HEAD_TOO_LARGE",
    f"The request line and headers exceed {HEAD_BYTES_MAX} bytes; send fewer or shorter ones.",
)


def _body_too_large(limits: Limits) -> _Refusal:
    why = "send a smaller one" if limits.body_is_read else "no route takes a body"
    return _Refusal("BODY_TOO_LARGE", f"The request's body exceeds {limits.body_bytes} bytes; {why}.")


def _too_many_connections(limits: Limits) -> _Refusal:
    return _Refusal(
        "TOO_MANY_CONNECTIONS",
        f"This {limits.server} process has reached its limit of client connections; retry in a moment.",
        b"retry-after: 1\r\n",
    )


class _Refused(Exception):
    """Stops the parser."""


def _ignore(code: str) -> None:
    """Hears of a refusal, and does nothing."""


def bounded(limits: Limits, refused: Callable[[str], None] = _ignore) -> type[HttpToolsProtocol]:
    """The protocol class with these limits, for uvicorn. `refused` is called with the code of `STATUSES` of
    each request that the application does not see, or sees as disconnected."""
    return type("BoundedProtocol", (_BoundedProtocol,), {"limits": limits, "refused": staticmethod(refused)})


class _BoundedProtocol(HttpToolsProtocol):
    limits: Limits
    refused: Callable[[str], None]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._refusal: _Refusal | None = None
        self._in_head = True
        self._head_bytes_fed = 0
        self._head_bytes_parsed = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._in_body = False
        self._body_bytes = 0
        self._body_bytes_before = 0
        self._body_timer: asyncio.TimerHandle | None = None
        self._unread_bytes = 0
        self._unread_answer: object = None
        self._has_read = False
        self._reading_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()
        if len(self.connections) > self.limits.connections:
            self._refuse(_too_many_connections(self.limits))

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._head_timer, self._body_timer, self._reading_timer):
            if timer is not None:
                timer.cancel()
        self._head_timer = self._body_timer = self._reading_timer = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refusal is not None:
            return
        if self._in_head:
            self._head_bytes_fed += len(data)
        super().data_received(data)
        if self._refusal is None and self._in_head and self._head_bytes_fed:
            # The parser holds incomplete headers. Their bytes are counted only here.
            if self._head_bytes_fed > HEAD_BYTES_MAX:
                self._refuse(_HEAD_TOO_LARGE)
            elif self._head_timer is None:
                self._await_head()

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._head_bytes_parsed = 0
        self._head_bytes_fed = max(self._head_bytes_fed, 1)

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + len(": \r\n"))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_bytes_fed = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        announced = [int(value) for name, value in self.headers if name == b"content-length"]
        if any(length > self.limits.body_bytes for length in announced):
            self._stop_parsing(_body_too_large(self.limits))
        super().on_headers_complete()
        if any(announced) or any(name == b"transfer-encoding" for name, _ in self.headers):
            self._begin_body()

    def on_body(self, body: bytes) -> None:
        if self.limits.body_is_read:
            self._body_bytes += len(body)
            if self._body_bytes > self.limits.body_bytes:
                self._stop_parsing(_body_too_large(self.limits))
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._end_body()
        super().on_message_complete()
        self._in_head = True

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.get_write_buffer_size():
            self._await_reading()

    # Refusals

    def _count(self, more: int) -> None:
        self._head_bytes_parsed += more
        if self._head_bytes_parsed > HEAD_BYTES_MAX:
            self._stop_parsing(_HEAD_TOO_LARGE)

    def _stop_parsing(self, refusal: _Refusal) -> None:
        self._refusal = refusal
        raise _Refused

    def send_400_response(self, msg: str) -> None:
        """uvicorn calls this when parsing stops."""
        self._refuse(self._refusal or _BAD_REQUEST)

    def _refuse(self, refusal: _Refusal) -> None:
        self._refusal = refusal
        self.refused(refusal.code)
        if self.cycle is not None and not self.cycle.response_complete and not self._takes_over():
            self.transport.close()  # the answer to an earlier request is being sent
            return
        self._end_body()
        body = msgspec.json.encode({"error": refusal.sentence, "code": refusal.code, "details": {}})
        self.transport.write(
            b"".join(
                (
                    STATUS_LINE[STATUSES[refusal.code]],
                    b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body),
                    refusal.headers,
                    b"connection: close\r\n\r\n",
                    body,
                )
            )
        )
        self.transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self.transport.abort)

    def _takes_over(self) -> bool:
        """Whether the connection's current request is the refused one. The application then sees that its
        client has disconnected."""
        if not self._in_body or self.pipeline or self.cycle.response_started:
            return False
        self.cycle.disconnected = True
        self.cycle.message_event.set()
        return True

    # Time limits

    def _begin_body(self) -> None:
        if not self.limits.body_is_read:
            self.cycle.keep_alive = False  # the connection cannot be used for another request
            return
        self._in_body = True
        self._body_bytes = 0
        self._await_body()

    def _await_body(self) -> None:
        self._body_bytes_before = self._body_bytes
        self._body_timer = self.loop.call_later(self.limits.client_seconds, self._check_body)

    def _check_body(self) -> None:
        """Disconnects a client that has sent too little of its body since the last check, unless the server
        has stopped to read."""
        if self._body_bytes - self._body_bytes_before >= SLOW_BODY_BYTES or self.flow.read_paused:
            self._await_body()
        else:
            self.transport.close()

    def _end_body(self) -> None:
        self._in_body = False
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self.limits.client_seconds, self.transport.close)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._has_read = True

    def _await_reading(self) -> None:
        if self._reading_timer is None:
            self._unread_bytes = self._count_unread_bytes()
            self._unread_answer, self._has_read = self.cycle, False
            self._reading_timer = self.loop.call_later(self.limits.client_seconds, self._check_reading)

    def _check_reading(self) -> None:
        """Disconnects a client that has read nothing since the last check. The unread bytes may be of a new
        answer."""
        self._reading_timer = None
        unread_bytes = self._count_unread_bytes()
        has_read = (
            self._has_read or self._unread_answer is not self.cycle or unread_bytes < self._unread_bytes
        )
        if not has_read:
            # The kernel also discards the bytes that it holds for this client.
            client: socket.socket = self.transport.get_extra_info("socket")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            self.transport.abort()
        elif self.transport.get_write_buffer_size():
            self._await_reading()

    def _count_unread_bytes(self) -> int:
        """The bytes that the client has not received. For a slow reader, only the kernel's part shrinks for
        long."""
        client: socket.socket = self.transport.get_extra_info("socket")
        unsent = bytearray(4)
        with contextlib.suppress(OSError):  # not every system supports this
            fcntl.ioctl(client.fileno(), termios.TIOCOUTQ, unsent)
        return int(self.transport.get_write_buffer_size()) + int.from_bytes(unsent, sys.byteorder)
