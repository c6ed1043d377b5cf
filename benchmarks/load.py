"""A light load generator: keep-alive connections on one event loop, prepared requests, responses parsed by
httptools. It checks the status and length of every response, so that a fast wrong one does not count."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from types import MappingProxyType
from typing import Final, NamedTuple

import httptools

ANSWER_SECONDS: Final = 30.0
"""How long to wait for the response to the last request."""


class Asked(NamedTuple):
    """Requests to send, repeated or until they run out, and the expected response to each."""

    requests: Iterator[bytes]
    status: int = 200
    bytes_min: int = 2


@dataclass(frozen=True)
class Load:
    """The result of a load: the latencies of all responses, right or wrong, in ascending order. It also has
    the processor time of this process, and the number of wrong responses with the first of them."""

    latencies_seconds: list[float]
    seconds: float
    generator_cpu_seconds: float
    wrong: int
    first_wrong: str

    @property
    def per_second(self) -> float:
        """Responses per second."""
        return len(self.latencies_seconds) / self.seconds

    def percentile_ms(self, percent: int) -> float:
        """The percentile by nearest rank, in milliseconds."""
        rank = -(-len(self.latencies_seconds) * percent // 100)
        return self.latencies_seconds[max(rank, 1) - 1] * 1000


def request(
    path: str, key: str, *, method: str = "GET", headers: Mapping[str, str] = MappingProxyType({})
) -> bytes:
    """The bytes of a request with this API key. It accepts gzip, as browsers and HTTP libraries do."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Accept-Encoding: gzip",
        f"Authorization: Bearer {key}",
    ]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


class _Connection(asyncio.Protocol):
    """A connection with one request at a time. Its methods are the callbacks of asyncio and httptools."""

    def __init__(self, run: "_Run") -> None:
        self.planned = 0.0
        self._run = run
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._length = 0
        self._beginning = b""

    def send(self, planned: float) -> None:
        """Sends the next request. Its latency counts from `planned`."""
        self.planned, self._length, self._beginning = planned, 0, b""
        if self._transport is not None:
            self._transport.write(next(self._run.asked.requests))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        self._run.fail(exc or ConnectionError("the API closed a connection"))

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except Exception as error:  # the loop would only log it
            self._run.fail(error)

    def on_body(self, body: bytes) -> None:
        self._length += len(body)
        self._beginning = self._beginning or body[:300]

    def on_message_complete(self) -> None:
        asked, status = self._run.asked, self._parser.get_status_code()
        if status != asked.status or self._length < asked.bytes_min:
            self._run.wrong += 1
            self._run.first_wrong = (
                self._run.first_wrong or f"{status} with {self._length} bytes: {self._beginning!r}"
            )
        self._run.answered(self, time.perf_counter())


class _Run:
    """The connections of one load, and their results."""

    def __init__(self, asked: Asked, answered: Callable[[_Connection, float], None]) -> None:
        """`answered` is called for each complete response, with its time."""
        self.asked = asked
        self.answered = answered
        self.latencies: list[float] = []
        self.wrong = 0
        self.first_wrong = ""
        self.connections: list[_Connection] = []
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def connect(self, port: int, connections: int) -> None:
        """Opens the connections. Raises OSError."""
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            _, made = await loop.create_connection(lambda: _Connection(self), "127.0.0.1", port)
            self.connections.append(made)

    def finish(self) -> None:
        """Notes that every request has a response."""
        if not self._done.done():
            self._done.set_result(None)

    def fail(self, error: Exception) -> None:
        """Records a fault, unless every request has a response."""
        if not self._done.done():
            self._done.set_exception(error)

    async def wait(self, seconds: float) -> None:
        """Waits until every request has a response. Raises the fault, or TimeoutError."""
        await asyncio.wait_for(self._done, seconds)
        self._done = asyncio.get_running_loop().create_future()

    def load(self, seconds: float, cpu_seconds: float) -> Load:
        """The result."""
        return Load(sorted(self.latencies), seconds, cpu_seconds, self.wrong, self.first_wrong)

    def close(self) -> None:
        """Closes the connections, which is not a fault any more."""
        self.finish()
        for connection in self.connections:
            connection.close()


async def full_load(port: int, asked: Asked, *, connections: int, seconds: float) -> Load:
    """Runs a closed loop: each connection sends its next request as soon as it has a response. Responses in
    the first fifth of the time are not counted. Raises OSError, TimeoutError."""
    began = time.perf_counter()
    counted_from, end = began + seconds / 5, began + seconds
    busy = connections

    def answered(connection: _Connection, now: float) -> None:
        nonlocal busy
        if counted_from <= now < end:
            run.latencies.append(now - connection.planned)
        if now < end:
            connection.send(now)
            return
        busy -= 1
        if not busy:
            run.finish()

    run = _Run(asked, answered)
    try:
        await run.connect(port, connections)
        cpu_began = time.process_time()
        for connection in run.connections:
            connection.send(time.perf_counter())
        await run.wait(seconds + ANSWER_SECONDS)
        cpu_seconds = (time.process_time() - cpu_began) * 4 / 5
    finally:
        run.close()
    return run.load(end - counted_from, cpu_seconds)


async def at_rate(
    port: int, asked: Asked, *, per_second: float, seconds: float, connections: int = 64
) -> Load:
    """Runs an open loop: a request is due at each planned moment, even if earlier ones have no response yet.
    Its latency counts from that moment, so that a queue shows. Raises OSError, TimeoutError."""
    loop = asyncio.get_running_loop()
    numbers = count()
    total = int(per_second * seconds)
    # In rotation, so that no connection idles until the API closes it.
    idle: deque[_Connection] = deque()
    waiting: deque[float] = deque()

    def answered(connection: _Connection, now: float) -> None:
        run.latencies.append(now - connection.planned)
        if waiting:
            connection.send(waiting.popleft())
        else:
            idle.append(connection)
        if len(run.latencies) == total:
            run.finish()

    def due() -> None:
        # The loop's timers have a resolution of 1 ms. A request may be sent half of that early, and then
        # counts from there.
        now, n = time.perf_counter(), next(numbers)
        planned = min(began + n / per_second, now)
        if idle:
            idle.popleft().send(planned)
        else:
            waiting.append(planned)
        if n + 1 < total:
            loop.call_later(max(began + (n + 1) / per_second - now, 0), due)

    run = _Run(asked, answered)
    try:
        await run.connect(port, connections)
        idle += run.connections
        cpu_began, began = time.process_time(), time.perf_counter()
        due()
        await run.wait(seconds + ANSWER_SECONDS)
        cpu_seconds, ended = time.process_time() - cpu_began, time.perf_counter()
    finally:
        run.close()
    return run.load(ended - began, cpu_seconds)


async def one_by_one(
    port: int, asked: Asked, *, times: int, before_each: Callable[[], Awaitable[object]]
) -> Load:
    """Sends this many requests over one connection, each after another action, whose time does not count.
    Raises OSError, TimeoutError, and what `before_each` raises."""

    def answered(connection: _Connection, now: float) -> None:
        run.latencies.append(now - connection.planned)
        run.finish()

    run = _Run(asked, answered)
    try:
        await run.connect(port, 1)
        cpu_began = time.process_time()
        for _ in range(times):
            await before_each()
            run.connections[0].send(time.perf_counter())
            await run.wait(ANSWER_SECONDS)
        cpu_seconds = time.process_time() - cpu_began
    finally:
        run.close()
    return run.load(sum(run.latencies), cpu_seconds)
