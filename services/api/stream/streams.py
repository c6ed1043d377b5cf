"""The open streams of a process: their number is limited, and their credentials are checked while they are
open."""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Final

from services.api.access.credentials import Principal
from services.api.calls.running_api import Api
from services.api.http.errors import ApiError, changes_unavailable, streams_busy, too_many_streams
from services.api.metrics import Metrics
from services.api.stream.change import channel_of
from services.api.stream.feed import Feed
from services.api.stream.position import Position
from services.api.stream.stream_filters import Wanted
from services.api.stream.subscription import Ending, Subscription
from services.api.stream.topic_reader import TopicReader
from shared.database.loggable import loggable
from shared.kafka.client import Broker
from shared.settings.streams import StreamSettings

log = logging.getLogger("callfold.api")

UNCHECKED: Final = timedelta(seconds=60)
"""How long a stream continues while the database, which has the credentials, is unreachable."""

_REFUSALS: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.BAD_REQUEST)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a client asks for."""

    principal: Principal
    again: Callable[[], Awaitable[Principal]]
    """Finds the present principal of the credentials. Raises `ApiError`."""
    wanted: Wanted
    last: Position | None
    """Where the client's earlier stream ended; None if it had none."""


@dataclass(eq=False)
class Open:
    """An open stream. `checked_at` is when its credentials were last found valid."""

    asked: Asked
    subscription: Subscription
    checked_at: datetime


class Streams:
    """The streams of a process."""

    def __init__(
        self,
        settings: StreamSettings,
        broker: Broker | None,
        topic: str,
        clock: Callable[[], datetime],
        metrics: Metrics,
    ) -> None:
        """Without a `broker`, each stream is answered 503."""
        self.settings = settings
        self.topic = topic
        self.clock = clock
        self.metrics = metrics
        self.feed = Feed(settings)
        self.resuming = asyncio.Semaphore(settings.api_stream_resume_readers)
        self._open: set[Open] = set()
        self._of_actor: Counter[str] = Counter()
        self._checking: asyncio.Task[None] | None = None
        self._is_stopping = False
        self._reader = None if broker is None else self._reader_of(broker)
        metrics.streams = lambda: len(self._open)

    @property
    def reader(self) -> TopicReader:
        """The reader of the topic. Raises the 503 `ApiError` if this process has no broker."""
        if self._reader is None:
            raise changes_unavailable()
        return self._reader

    @contextmanager
    def opened(self, asked: Asked) -> Iterator[Subscription]:
        """A stream for the duration of the block. Raises `ApiError`: 429 if the key or the user has too many
        streams, 503 if the process has."""
        actor = asked.principal.actor
        if self._of_actor[actor] >= self.settings.api_streams_per_key:
            raise too_many_streams(self.settings.api_streams_per_key)
        if len(self._open) >= self.settings.api_streams or self._is_stopping:
            raise streams_busy()
        stream = Open(asked, self._subscription(asked), self.clock())
        self._open.add(stream)
        self._of_actor[actor] += 1
        if self._checking is None or self._checking.done():
            # A separate context: its log lines do not belong to a single request.
            self._checking = asyncio.get_running_loop().create_task(self._check(), context=Context())
        try:
            yield stream.subscription
        finally:
            self._open.discard(stream)
            self._of_actor[actor] -= 1
            if not self._of_actor[actor]:
                del self._of_actor[actor]
            self.feed.unsubscribe(stream.subscription)
            if (ending := stream.subscription.ending) is not None:
                self.metrics.stream_ended(ending.name.lower())

    def end(self) -> None:
        """Ends all streams, because the process stops. Further ones are refused."""
        self._is_stopping = True
        self._end(Ending.STOPPED)

    async def close(self) -> None:
        """Ends all streams, and the reading of the topic."""
        self.end()
        if self._checking is not None:
            self._checking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._checking
        if self._reader is not None:
            await self._reader.close()

    def _end(self, why: Ending) -> None:
        for stream in [*self._open]:
            stream.subscription.end(why)

    def _subscription(self, asked: Asked) -> Subscription:
        principal, settings = asked.principal, self.settings
        channel = channel_of(principal.organization_id, livemode=principal.livemode)
        bytes_max = int(settings.api_stream_queue_mib * 2**20)
        return Subscription(channel, asked.wanted, settings.api_stream_queue_records, bytes_max)

    def _reader_of(self, broker: Broker) -> TopicReader:
        return TopicReader(
            broker,
            self.topic,
            self.feed,
            tail_records=self.settings.api_stream_tail_records,
            clock=self.clock,
            is_needed=lambda: bool(self._open),
            on_end=lambda: self._end(Ending.UNREADABLE),
        )

    async def _check(self) -> None:
        """Checks the credentials of all streams at intervals, until no stream is open."""
        while self._open:
            await asyncio.sleep(self.settings.api_stream_check_seconds)
            await asyncio.gather(*(self._check_one(stream) for stream in self._open))

    async def _check_one(self, stream: Open) -> None:
        """Ends a stream whose client may no longer read it."""
        before = stream.asked.principal
        try:
            now = await stream.asked.again()
        except Exception as error:
            if isinstance(error, ApiError) and error.status in _REFUSALS:
                stream.subscription.end(Ending.REFUSED)
            elif self.clock() - stream.checked_at > UNCHECKED:
                stream.subscription.end(Ending.UNCHECKED)
            if not isinstance(error, ApiError):  # the other streams must be checked all the same
                log.error("the credentials of a stream cannot be checked: %s", loggable(error))
            return
        if (now.organization_id, now.livemode) != (before.organization_id, before.livemode):
            stream.subscription.end(Ending.REFUSED)
        stream.checked_at = self.clock()


@dataclass(frozen=True, kw_only=True)
class ApiWithStreams(Api):
    """All parts of the running API."""

    streams: Streams
