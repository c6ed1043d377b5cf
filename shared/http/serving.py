"""Runs an application over HTTP with uvicorn, until a signal."""

import asyncio
import gc
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

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
) -> None:
    """Serves an ASGI application until SIGTERM or SIGINT, or until `stop` is set. Requests in progress then
    have `stop_seconds` to finish. `stopping` is called at once, to end answers that have no end. Exits with a
    sentence if it cannot listen, and with a status if the application does not start."""
    server = _Server(
        uvicorn.Config(
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
    )
    server.stopping = stopping
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


class _Server(uvicorn.Server):
    stopping: Callable[[], None] | None = None

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's."""
        if self.stopping is not None:
            self.stopping()
        await super().shutdown(sockets)


async def _end(server: uvicorn.Server, stop: asyncio.Event) -> None:
    await stop.wait()
    server.should_exit = True
