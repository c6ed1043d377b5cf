"""The monitor: metrics and health of a process, on a port of their own, in its own event loop.

Only the operator's tools use this port: a few short requests, after each of which the connection is closed.
So the server implements a small part of HTTP, with a limit on every part.
"""

import asyncio
import errno
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final, NamedTuple

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from shared.database.loggable import loggable
from shared.settings.base import PREFIX
from shared.settings.process import MonitorSettings

HEAD_BYTES_MAX: Final = 8 * 1024
REQUEST_SECONDS: Final = 5
READY_SECONDS: Final = 3
CONNECTIONS_MAX: Final = 32

WhyWaiting = Callable[[], Coroutine[None, None, str | None]]
"""The reason why the process is not ready, without secrets; None when it is ready."""


PROBES: Final = ("/metrics", "/health/live", "/health/ready")
"""The paths that a monitor serves."""


class Answer(NamedTuple):
    """The answer to a request."""

    status: HTTPStatus
    body: bytes
    content_type: str = "application/json"


@asynccontextmanager
async def monitored(
    settings: MonitorSettings, registry: CollectorRegistry, why_waiting: WhyWaiting
) -> AsyncIterator[None]:
    """Serves /metrics, /health/live and /health/ready for the duration of the block, if a port is set. If it
    cannot listen on the port, the process exits with a sentence."""
    if settings.monitor_port is None:
        yield
        return
    monitor = _Monitor(Probes(registry, why_waiting))
    try:
        server = await asyncio.start_server(
            monitor.serve, settings.monitor_host, settings.monitor_port, limit=HEAD_BYTES_MAX
        )
    except OSError as error:
        sys.exit(cannot_listen("MONITOR_PORT", settings.monitor_host, settings.monitor_port, error))
    try:
        yield
    finally:
        server.close()  # a current request ends within moments, or with the process


def cannot_listen(setting: str, host: str, port: int, error: OSError) -> str:
    """Why a process ends that cannot listen on a port. `setting` is the port's, without the prefix."""
    in_use = error.errno == errno.EADDRINUSE
    rule = "is in use" if in_use else f"is not available: {error.strerror or error}"
    return f"Error: {PREFIX}{setting}: port {port} of {host} {rule}."


class _Monitor:
    def __init__(self, probes: "Probes") -> None:
        self._probes = probes
        self._connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection: one request and its answer."""
        self._connections += 1
        try:
            if self._connections <= CONNECTIONS_MAX:
                async with asyncio.timeout(REQUEST_SECONDS):
                    await self._exchange(reader, writer)
        except (TimeoutError, OSError, EOFError, asyncio.LimitOverrunError):
            return  # too slow, too long or disconnected: closing the connection reports it
        except asyncio.CancelledError:
            return  # the process ends; asyncio's streams would log a cancelled connection as a fault
        finally:
            self._connections -= 1
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, _, rest = head.partition(b"\r\n")[0].partition(b" ")
        target = rest.partition(b" ")[0].partition(b"?")[0]
        if method in (b"GET", b"HEAD"):
            answer = await self._probes.answer(target)
        else:
            answer = _json(HTTPStatus.METHOD_NOT_ALLOWED, error="Only GET and HEAD are allowed.")
        writer.write(
            f"HTTP/1.1 {answer.status.value} {answer.status.phrase}\r\n"
            f"Content-Type: {answer.content_type}\r\n"
            f"Content-Length: {len(answer.body)}\r\n"
            "Cache-Control: no-store\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        if method != b"HEAD":
            writer.write(answer.body)
        await writer.drain()


class Probes:
    """The answers of a monitor: metrics and health."""

    def __init__(self, registry: CollectorRegistry, why_waiting: WhyWaiting) -> None:
        self._registry = registry
        self._why_waiting = why_waiting

    async def answer(self, target: bytes) -> Answer:
        """The answer to a GET of this path."""
        match target:
            case b"/metrics":
                return Answer(HTTPStatus.OK, generate_latest(self._registry), CONTENT_TYPE_LATEST)
            case b"/health/live":
                return _json(HTTPStatus.OK, status="live")
            case b"/health/ready":
                reason = await self._reason_to_wait()
                if reason is None:
                    return _json(HTTPStatus.OK, status="ready")
                return _json(HTTPStatus.SERVICE_UNAVAILABLE, status="waiting", reason=reason)
        return _json(
            HTTPStatus.NOT_FOUND,
            error="Not found. This port serves /metrics, /health/live and /health/ready.",
        )

    async def _reason_to_wait(self) -> str | None:
        asked = asyncio.ensure_future(self._why_waiting())
        asked.add_done_callback(_retrieve)  # also if it completes too late
        try:
            done, _ = await asyncio.wait({asked}, timeout=READY_SECONDS)
            return asked.result() if done else f"no answer for {READY_SECONDS} s"
        except Exception as fault:
            return f"the check failed: {loggable(fault)}"
        finally:
            asked.cancel()


def _retrieve(asked: "asyncio.Future[str | None]") -> None:
    """Retrieves the exception of a check, which asyncio would otherwise log as never retrieved."""
    if not asked.cancelled():
        asked.exception()


def _json(code: HTTPStatus, **content: str) -> Answer:
    return Answer(code, msgspec.json.encode(content))
