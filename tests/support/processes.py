"""The services as real processes, and helpers that wait for their effects."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from aiokafka import AIOKafkaProducer

from services.ops.pipeline_lag import consumer_lag
from tests.support.events import CALL

LONGEST_SECONDS = 40


async def until(condition: Callable[[], object], what: str) -> None:
    """Returns when the condition, a plain or async function, is true. If it stays false for LONGEST_SECONDS,
    fails with a message that names what it waited for."""
    deadline = time.monotonic() + LONGEST_SECONDS
    while not await _answer(condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain: {what}")
        await asyncio.sleep(0.02)


async def _answer(held: object) -> object:
    return await held if isinstance(held, Awaitable) else held


class Service:
    """A service's process, which can be killed at any moment."""

    def __init__(self, name: str, log: Path, **settings: str) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"services.{name}"],
                env={**os.environ, **{f"CALLFOLD_{key.upper()}": said for key, said in settings.items()}},
                stdout=output,
                stderr=output,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def exit_status(self) -> int | None:
        return self._process.poll()

    def kill(self) -> None:
        """Sends SIGKILL."""
        self._process.kill()
        self._process.wait(10)

    def stop(self) -> int:
        """Sends SIGTERM, as an operator does, and returns the exit status."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(20)

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def said(self, text: str) -> bool:
        """Whether the log contains this text."""
        return text in self.log.read_text()


@contextmanager
def starting(name: str, directory: Path, **defaults: str) -> Iterator[Callable[..., Service]]:
    """A function that starts processes of this service, with these settings unless it is given others. Those
    that still run at the end of the block are killed."""
    started: list[Service] = []

    def start(**settings: str) -> Service:
        service = Service(name, directory / f"{name}-{len(started)}.log", **{**defaults, **settings})
        started.append(service)
        return service

    try:
        yield start
    finally:
        for service in started:
            if service.running:
                service.kill()


Record = tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes | None]]]


async def publish(bootstrap: str, topic: str, values: Iterable[bytes | Record | None]) -> None:
    """Publishes values in this order, all with one key, or whole records: (key, value, headers)."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        acks="all",
        enable_idempotence=True,
        max_request_size=4 * 1024 * 1024,
    )
    await producer.start()
    try:
        sent = []
        for value in values:
            key, body, headers = value if isinstance(value, tuple) else (CALL.bytes, value, ())
            sent.append(await producer.send(topic, body, key=key, headers=list(headers)))
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


async def lag(bootstrap: str, topic: str, group: str) -> int:
    """How many records of the topic the group has not committed."""
    return sum(partition.lag for partition in await consumer_lag(bootstrap, topic, group))
