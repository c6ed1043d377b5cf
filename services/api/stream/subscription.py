"""One open stream: the events that wait for its client, and why it ends."""

import asyncio
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from services.api.stream.change import Change
from services.api.stream.stream_filters import Wanted


class Ending(Enum):
    """Why the server ends a stream. The client may resume it, except after `REFUSED`."""

    SLOW = "its client reads too slowly"
    BEHIND = "it did not catch up in time"
    UNREADABLE = "the topic cannot be read"
    REFUSED = "its credentials are no longer valid"
    UNCHECKED = "its credentials could not be checked"
    STOPPED = "the process is stopping"


class Waiting(NamedTuple):
    """Events that are sent together."""

    events: bytes
    changed: int
    deleted: int


class Subscription:
    """The queue of one stream. It ends beyond its limits, but takes any single event."""

    def __init__(self, channel: bytes, wanted: Wanted, events_max: int, bytes_max: int) -> None:
        self.channel = channel
        self.wanted = wanted
        self.ending: Ending | None = None
        """Why the stream has to end; None while it continues."""
        self.on_end: Callable[[], object] = _nothing
        """Is called once, when `ending` is set."""
        self.events_max = events_max
        self.bytes_max = bytes_max
        self._bytes = 0
        self._queue: deque[tuple[bytes, bool]] = deque()
        self._news = asyncio.Event()

    def offer(self, change: Change, event: bytes) -> None:
        """Adds an event. Ends the stream if too much waits."""
        if self.ending is not None:
            return
        bytes_ = self._bytes + len(event)
        if self._queue and (len(self._queue) >= self.events_max or bytes_ > self.bytes_max):
            self.end(Ending.SLOW)
            return
        self._queue.append((event, change.is_deletion))
        self._bytes = bytes_
        self._news.set()

    def end(self, why: Ending) -> None:
        """Ends the stream, for the first reason that is given."""
        if self.ending is None:
            self.ending = why
            self._queue.clear()
            self.on_end()

    @property
    def is_empty(self) -> bool:
        return not self._queue

    async def news(self, seconds: float) -> None:
        """Waits until events wait, for at most these seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return

    def take(self, bytes_max: int) -> Waiting:
        """Removes the oldest events: as many as have these bytes, and at least one if any wait."""
        taken: list[bytes] = []
        bytes_ = deleted = 0
        while self._queue and (not taken or bytes_ + len(self._queue[0][0]) <= bytes_max):
            event, is_deletion = self._queue.popleft()
            taken.append(event)
            bytes_ += len(event)
            deleted += is_deletion
        self._bytes -= bytes_
        if not self._queue:
            self._news.clear()
        return Waiting(b"".join(taken), len(taken) - deleted, deleted)


def _nothing() -> None:
    """Hears of an end, and does nothing."""
