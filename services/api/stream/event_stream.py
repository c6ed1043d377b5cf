"""The answer: an endless stream of server-sent events, as the HTML standard defines them."""

import asyncio
import random
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from typing import Final

from aiokafka.errors import KafkaError, OffsetOutOfRangeError
from fastapi import Response
from starlette.types import Message, Receive, Scope, Send

from services.api.http.errors import changes_unavailable
from services.api.metrics import STREAM
from services.api.stream.catch_up import changes_between
from services.api.stream.change import Change
from services.api.stream.position import Position, event_id, furthest, has_read
from services.api.stream.stream_filters import Wanted
from services.api.stream.streams import Asked, Streams
from services.api.stream.subscription import Ending, Subscription, Waiting

RETRY_MS: Final = (1000, 5000)
"""After a restart of the API, clients come back within this span, and not all at once."""
BLOCK_BYTES: Final = 64 * 1024
END_SECONDS: Final = 30
"""How long the end of a stream waits for a client that reads slowly."""
STOP_SECONDS: Final = 1

_HEADERS: Final = [
    STREAM,
    (b"cache-control", b"private, no-store, no-transform"),
    (b"vary", b"Authorization, x-api-key, x-organization-id"),
    (b"x-accel-buffering", b"no"),
]


class StreamCut(Exception):
    """A stream whose client does not read its end. The server closes the connection."""


class EventStream(Response):
    """One stream. Its first events follow the client's position; then it waits for further ones."""

    def __init__(self, streams: Streams, asked: Asked) -> None:
        super().__init__()
        self._streams = streams
        self._asked = asked
        self._feed = streams.feed
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application. Raises the 429 or 503 `ApiError` before the first byte, and `StreamCut` after
        it."""
        with self._streams.opened(self._asked) as subscription:
            sending = asyncio.create_task(self._send_all(subscription, send))
            leaving = asyncio.create_task(_until_left(receive))
            subscription.on_end = sending.cancel
            try:
                await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
                has_left = leaving.done()
            finally:
                sending.cancel()
                leaving.cancel()
                await asyncio.gather(sending, leaving, return_exceptions=True)
            if not sending.cancelled() and (fault := sending.exception()) is not None:
                raise fault
            if not self._started:
                raise changes_unavailable()
            if not has_left:
                await _send_end(send, STOP_SECONDS if subscription.ending is Ending.STOPPED else END_SECONDS)

    async def _send_all(self, subscription: Subscription, send: Send) -> None:
        """Sends the stream until it is cancelled. Raises the 429 or 503 `ApiError` before the first byte."""
        await self._streams.reader.ready()
        position, is_reset = await self._begin()
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        self._started = True
        retry = b"retry: %d\n" % random.randint(*RETRY_MS)  # noqa: S311
        await send(_body(retry + (self._reset(position) if is_reset else _id_line(event_id(position)))))
        try:
            async with aclosing(self._resumed(subscription, position)) as events:
                async for some in events:
                    await self._send(some, send)
            await self._send_live(subscription, send)
        except TimeoutError:
            subscription.end(Ending.BEHIND)
        except (KafkaError, OSError):
            subscription.end(Ending.UNREADABLE)

    async def _begin(self) -> tuple[Position, bool]:
        """Where the stream begins, and whether the client missed changes before that."""
        last = self._asked.last
        if last is None:
            return self._feed.position, False
        age = self._streams.clock().timestamp() - last.complete_at
        if age > timedelta(hours=self._streams.settings.api_stream_resume_hours).total_seconds():
            return self._feed.position, True
        if last.topic == self._feed.position.topic and not has_read(
            self._feed.position.offsets, last.offsets
        ):
            # Another process has read further than this one.
            await self._streams.reader.read_until_now()
        now = self._feed.position
        is_of_this_topic = last.topic == now.topic and has_read(now.offsets, last.offsets)
        if not is_of_this_topic or not self._can_resume(last.offsets):
            return now, True
        return replace(last, offsets=furthest(last.offsets, [0] * len(now.offsets))), False

    def _can_resume(self, offsets: Sequence[int]) -> bool:
        return (
            self._feed.reaches_back_to(offsets)
            or self._feed.distance(offsets) <= self._streams.settings.api_stream_resume_records
        )

    async def _resumed(self, subscription: Subscription, position: Position) -> AsyncGenerator[Waiting, None]:
        """The events that follow the position, up to the moment from which on the subscription hears of
        them. Raises aiokafka's `KafkaError`."""
        while True:
            while not self._feed.reaches_back_to(position.offsets):
                try:
                    async with aclosing(self._caught_up(subscription, position)) as caught_up:
                        async for some, reached in caught_up:
                            yield some
                            position = reached
                except OffsetOutOfRangeError:
                    position = self._feed.position
                    yield Waiting(self._reset(position), 0, 0)
            changes, are_all = self._feed.subscribe(subscription, position.offsets)
            for some in _events(changes, subscription.wanted, position):
                yield some
            if are_all:
                return
            position = _after(changes, position)

    async def _caught_up(
        self, subscription: Subscription, position: Position
    ) -> AsyncGenerator[tuple[Waiting, Position], None]:
        """The events between the position and the present one of this process, from the topic, each block
        with the position that follows it. Raises aiokafka's `KafkaError`, and TimeoutError when it takes too
        long."""
        streams, loop = self._streams, asyncio.get_running_loop()
        ends_at = loop.time() + streams.settings.api_stream_resume_seconds
        while not await _acquired(streams.resuming, streams.settings.api_stream_heartbeat_seconds):
            if loop.time() > ends_at:
                raise TimeoutError
            yield Waiting(_id_line(event_id(position)), 0, 0), position
        try:
            async with aclosing(
                changes_between(
                    streams.reader.broker,
                    streams.topic,
                    subscription.channel,
                    position.offsets,
                    self._feed.position.offsets,
                )
            ) as read:
                async for changes, offsets in read:
                    for some in _events(changes, subscription.wanted, position):
                        if loop.time() > ends_at:
                            raise TimeoutError
                        yield some, position
                    position = replace(position, offsets=offsets)
                    yield Waiting(_id_line(event_id(position)), 0, 0), position
                    if loop.time() > ends_at:
                        raise TimeoutError
        finally:
            streams.resuming.release()

    async def _send_live(self, subscription: Subscription, send: Send) -> None:
        """Sends the events as they come, and the position when none came for some time."""
        seconds = self._streams.settings.api_stream_heartbeat_seconds
        while True:
            await subscription.news(seconds)
            if subscription.is_empty:
                await send(_body(_id_line(self._feed.id)))
            while not subscription.is_empty:
                await self._send(subscription.take(BLOCK_BYTES), send)

    async def _send(self, some: Waiting, send: Send) -> None:
        await send(_body(some.events))
        self._streams.metrics.sent(changed=some.changed, deleted=some.deleted)

    def _reset(self, position: Position) -> bytes:
        self._streams.metrics.sent(reset=1)
        return b"id: %b\nevent: reset\ndata: {}\n\n" % event_id(position).encode()


def _events(changes: Sequence[Change], wanted: Wanted, position: Position) -> Iterator[Waiting]:
    """The events of the wanted ones of these changes, which follow the position, in blocks."""
    offsets = list(position.offsets)
    block: list[bytes] = []
    bytes_ = deleted = 0
    for change in changes:
        offsets[change.partition] = change.offset + 1
        if not wanted.includes(change):
            continue
        block.append(change.event(event_id(replace(position, offsets=tuple(offsets)))))
        bytes_ += len(block[-1])
        deleted += change.is_deletion
        if bytes_ >= BLOCK_BYTES:
            yield Waiting(b"".join(block), len(block) - deleted, deleted)
            block, bytes_, deleted = [], 0, 0
    if block:
        yield Waiting(b"".join(block), len(block) - deleted, deleted)


def _after(changes: Sequence[Change], position: Position) -> Position:
    """The position after these changes."""
    offsets = list(position.offsets)
    for change in changes:
        offsets[change.partition] = change.offset + 1
    return replace(position, offsets=tuple(offsets))


async def _acquired(semaphore: asyncio.Semaphore, seconds: float) -> bool:
    """Whether the semaphore was acquired within these seconds."""
    try:
        async with asyncio.timeout(seconds):
            return await semaphore.acquire()
    except TimeoutError:
        return False


def _id_line(id: str) -> bytes:
    """Moves the client's position, and dispatches no event."""
    return b"id: %b\n\n" % id.encode()


def _body(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def _send_end(send: Send, seconds: float) -> None:
    """Ends the answer. Raises StreamCut if the client does not read for these seconds."""
    try:
        async with asyncio.timeout(seconds):
            await send(_body(b"", more=False))
    except TimeoutError:
        raise StreamCut from None


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
