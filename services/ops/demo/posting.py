"""Posting: the vendor's requests to the receiver, over HTTP."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Final

import httpx

from services.ops.demo.simulator import Record, when_due
from services.ops.terminal.failure import Failure
from services.ops.terminal.waiting import attempts

REQUESTS_IN_FLIGHT: Final = 4
RETRY_SECONDS: Final = 60
LONGEST_PAUSE_SECONDS: Final = 1
TIMEOUT_SECONDS: Final = 15


def vendors_client() -> httpx.AsyncClient:
    """The vendor's connections. The receiver runs on this machine, so no proxy is used."""
    limits = httpx.Limits(max_connections=REQUESTS_IN_FLIGHT)
    return httpx.AsyncClient(trust_env=False, timeout=TIMEOUT_SECONDS, limits=limits)


async def post(
    client: httpx.AsyncClient, url: str, requests: Iterable[Record], accepted: Callable[[Record], None]
) -> None:
    """Posts all requests, several at a time, so that some overtake others. `accepted` receives each one that
    the receiver has accepted. Raises Failure."""
    remaining = iter(requests)

    async def post_next() -> None:
        for one in remaining:
            await _post(client, url, one, RETRY_SECONDS)
            accepted(one)

    await asyncio.gather(*(post_next() for _ in range(REQUESTS_IN_FLIGHT)))


async def post_live(
    client: httpx.AsyncClient,
    url: str,
    requests: Iterator[Record],
    now: Callable[[], datetime],
    accepted: Callable[[Record], None],
) -> None:
    """Posts each request at its time by the clock `now`. Raises Failure for a request that is refused."""
    async for due in when_due(requests, now):
        for one in due:
            await _post(client, url, one, float("inf"))
            accepted(one)


async def _post(client: httpx.AsyncClient, url: str, request: Record, seconds: float) -> None:
    """Posts one request, and the same again while the receiver cannot take it or does not answer."""
    headers = [(name.encode(), value) for name, value in request.headers if value is not None]
    for pause in attempts(seconds, longest=LONGEST_PAUSE_SECONDS):
        try:
            answer = await client.post(url, content=request.value, headers=headers)
        except httpx.TransportError as error:
            reason = f"did not answer: {str(error) or type(error).__name__}"
        else:
            if answer.is_success:
                return
            reason = f"answered {answer.status_code}: {answer.text[:300]}"
            if not answer.is_server_error:
                raise Failure(f"The receiver {reason}")
        await asyncio.sleep(pause)
    raise Failure(f"The receiver {reason}")
