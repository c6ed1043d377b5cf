"""A client of the API's stream of changes, which reads it as a browser does."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx

from tests.support.api import bearing
from tests.support.processes import until


class Heard(NamedTuple):
    """An event that was dispatched."""

    name: str
    data: dict[str, Any]
    id: str


class Reader:
    """One stream. `last_id` is what a browser would send when it reconnects."""

    def __init__(self, answer: httpx.Response, last_id: str | None) -> None:
        self._answer = answer
        self.last_id = last_id
        self.heard: list[Heard] = []
        self.retry_ms: int | None = None
        self.is_over = False

    async def read(self) -> None:
        """Reads until the stream ends."""
        fields: dict[str, str] = {}
        with contextlib.suppress(httpx.TransportError, httpx.StreamError):
            async for line in self._answer.aiter_lines():
                if line:
                    name, _, value = line.partition(":")
                    fields[name] = value.removeprefix(" ")
                    continue
                self._dispatch(fields)
                fields = {}
        self.is_over = True

    def _dispatch(self, fields: dict[str, str]) -> None:
        self.last_id = fields.get("id", self.last_id)
        if "retry" in fields:
            self.retry_ms = int(fields["retry"])
        if "data" in fields:
            assert self.last_id is not None
            self.heard.append(Heard(fields["event"], json.loads(fields["data"]), self.last_id))

    @property
    def names(self) -> list[str]:
        return [event.name for event in self.heard]

    def states(self, call_id: object) -> list[dict[str, Any]]:
        """The states of a call, in the order of the stream."""
        return [
            event.data
            for event in self.heard
            if event.name == "call.changed" and event.data["id"] == str(call_id)
        ]

    async def until(self, count: int) -> list[Heard]:
        """The first events, once the stream has sent this number."""
        await until(lambda: len(self.heard) >= count, f"{count} events of the stream")
        return self.heard[:count]

    async def until_over(self) -> None:
        """Returns when the server has ended the stream."""
        await until(lambda: self.is_over, "the stream to end")


@asynccontextmanager
async def reading(
    client: httpx.AsyncClient, key: str, last_id: str | None = None, path: str = "/calls/stream", **query: str
) -> AsyncIterator[Reader]:
    """A stream for the duration of the block, once the server has begun it."""
    headers = bearing(key) | ({} if last_id is None else {"Last-Event-ID": last_id})
    async with client.stream("GET", path, params=query, headers=headers, timeout=60) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        reader = Reader(answer, last_id)
        task = asyncio.create_task(reader.read())
        try:
            await until(lambda: reader.retry_ms is not None, "the first line of the stream")
            yield reader
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
