"""A supervised service: it is restarted whenever it exits, and each exit is checked."""

import asyncio
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.support.processes import Service

LOOK_SECONDS: Final = 0.05
STOP_SECONDS: Final = 20
_STOPPED: Final = (0, -signal.SIGTERM)  # the second if it was stopped before it could listen


class Supervised:
    """The process of a service, restarted until `end`."""

    def __init__(self, name: str, log: Path, settings: Mapping[str, str]) -> None:
        self.name = name
        self.log = log
        self.starts = 0
        self.ends_by_itself = 0
        self._settings = settings
        self._wanted = asyncio.Event()
        self._wanted.set()
        self._process: Service | None = None
        self._asked_to_end: Service | None = None

    async def run(self) -> None:
        """Restarts it whenever it exits, unless it is down, until cancelled."""
        while True:
            await self._wanted.wait()
            self._process = Service(self.name, self.log, **self._settings)
            self.starts += 1
            while self._process.running:
                await asyncio.sleep(LOOK_SECONDS)
            self.ends_by_itself += self._process is not self._asked_to_end
            await asyncio.sleep(LOOK_SECONDS)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.running

    def send(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send(number)

    def up(self) -> None:
        """Allows it to run again."""
        self._wanted.set()

    def kill(self) -> None:
        """Sends SIGKILL. It stays down until `up`."""
        self._wanted.clear()
        self._asked_to_end = self._process
        self.send(signal.SIGKILL)

    async def stop(self) -> None:
        """Sends SIGTERM. It stays down until `up`. Raises AssertionError when it does not exit cleanly, and
        TimeoutError when it does not exit."""
        self._wanted.clear()
        process = self._asked_to_end = self._process
        if process is None:
            return
        already_over = not process.running
        process.send(signal.SIGTERM)
        async with asyncio.timeout(STOP_SECONDS):
            while process.running:
                await asyncio.sleep(LOOK_SECONDS)
        if not already_over and process.exit_status not in _STOPPED:
            raise AssertionError(f"{self.name} was stopped and exited with status {process.exit_status}")

    def end(self) -> None:
        """Kills it permanently, in any state."""
        if self._process is not None and self._process.running:
            self._process.kill()
