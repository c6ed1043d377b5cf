"""Runs an application over HTTP with uvicorn, until a signal."""

import asyncio
import contextlib
import gc
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from shared.monitoring.monitor import cannot_listen
from shared.settings.base import PREFIX


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a server listens. `setting` is the name of the port's setting, without the prefix."""

    host: str
    port: int
    setting: str


async def serve(
    application: Any,
    protocol: type[HttpToolsProtocol],
    address: Address,
    *,
    keep_alive_seconds: int,
    stop_seconds: int,
    stop: asyncio.Event | None = None,
    stopping: Callable[[], None] | None = None,
    beside: "SecondServer | None" = None,
) -> None:
    """Serves an ASGI application until SIGTERM or SIGINT, or until `stop` is set. Requests in progress then
    have `stop_seconds` to finish. `stopping` is called at once, to end answers that have no end. `beside`
    stops at the same time. Exits with a sentence if it cannot listen, and with a status if the application
    does not start."""
    server = _Server(_config(application, protocol, address, keep_alive_seconds, stop_seconds))
    server.stopping, server.beside = stopping, beside
    ending = asyncio.create_task(_end(server, stop)) if stop is not None else None
    # A full collection of the imported modules' objects takes 0.1 s, in which no request is answered.
    gc.freeze()
    try:
        await server.serve()
    except SystemExit:  # uvicorn has logged the fault
        if server.lifespan.should_exit:  # the port was not the cause
            raise
        port = f"port {address.port} of {address.host}"
        sys.exit(f"Error: {PREFIX}{address.setting}: cannot listen on {port}; the reason is logged above.")
    finally:
        if ending is not None:
            ending.cancel()
    if not server.started:
        sys.exit(uvicorn.config.STARTUP_FAILURE)


class SecondServer(uvicorn.Server):
    """The second server of a process. The main one handles signals for both."""

    running: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield

    async def stop(self) -> None:
        """Returns when the server has stopped."""
        self.should_exit = True
        if self.running is not None:
            await asyncio.shield(self.running)


@asynccontextmanager
async def serving(
    application: Any,
    protocol: type[HttpToolsProtocol],
    address: Address,
    *,
    keep_alive_seconds: int,
    stop_seconds: int,
) -> AsyncIterator[SecondServer]:
    """Serves a second ASGI application of a process, at most for the duration of the block. Pass the server
    to `serve` as `beside`: after a signal, uvicorn ends the process before the block ends. Exits with a
    sentence if it cannot listen."""
    try:
        listener = _listen(address)
    except OSError as error:
        sys.exit(cannot_listen(address.setting, address.host, address.port, error))
    server = SecondServer(_config(application, protocol, address, keep_alive_seconds, stop_seconds))
    server.running = asyncio.create_task(server.serve([listener]))
    try:
        yield server
    finally:
        await server.stop()


def _listen(address: Address) -> socket.socket:
    """A socket that listens. Raises OSError."""
    family, *_, where = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    return socket.create_server(where[:2], family=family)


def _config(
    application: Any,
    protocol: type[HttpToolsProtocol],
    address: Address,
    keep_alive_seconds: int,
    stop_seconds: int,
) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        host=address.host,
        port=address.port,
        http=protocol,
        timeout_keep_alive=keep_alive_seconds,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,  # it would trust every client on this machine
        timeout_graceful_shutdown=stop_seconds,
        reset_contextvars=True,  # a request must not inherit the log context of the previous one
    )


class _Server(uvicorn.Server):
    stopping: Callable[[], None] | None = None
    beside: SecondServer | None = None

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, for both servers."""
        if self.stopping is not None:
            self.stopping()
        both = [super().shutdown(sockets)]
        if self.beside is not None:
            both.append(self.beside.stop())
        await asyncio.gather(*both)


async def _end(server: uvicorn.Server, stop: asyncio.Event) -> None:
    await stop.wait()
    server.should_exit = True
