"""Clients of the stream of changes: they resume with the last id, through every fault and their own cuts."""

import asyncio
import random
from typing import Final

import httpx

from tests.storm.followed import Followed
from tests.storm.stage import Stage, StormBroke
from tests.support.api import bearing

AGAIN_SECONDS: Final = 0.2
READ_SECONDS: Final = 4
"""How long a client waits for a heartbeat. A frozen API sends none."""
CUT_SECONDS: Final = (0.5, 15)
CUT_SHARE: Final = 0.01
"""The share of events after which a client cuts the stream, although more may have arrived."""


async def follow_on(stage: Stage, followed: Followed, chance: random.Random) -> None:
    """Reads one stream after the other. Raises StormBroke."""
    while True:
        try:
            async with asyncio.timeout(chance.uniform(*CUT_SECONDS)):
                await _read(stage, followed, chance)
        except httpx.TransportError:
            stage.checked["streams that broke"] += 1
        except TimeoutError:
            stage.checked["streams that their client cut"] += 1
        await asyncio.sleep(AGAIN_SECONDS)


async def _read(stage: Stage, followed: Followed, chance: random.Random) -> None:
    """Reads one stream to its end, or until the client cuts it. Raises StormBroke, and httpx's
    `TransportError`."""
    headers = bearing(stage.keys[followed.organization_id, followed.livemode])
    if followed.last_id:
        headers["Last-Event-ID"] = followed.last_id
    timeout = httpx.Timeout(READ_SECONDS)
    async with stage.client.stream("GET", "/calls/stream", headers=headers, timeout=timeout) as answer:
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            stage.checked["streams that were answered 503"] += 1
            return
        if answer.status_code != httpx.codes.OK:
            text = (await answer.aread()).decode()
            raise StormBroke(f"{followed} was answered {answer.status_code}: {text}")
        stage.checked["streams"] += 1
        rest = b""
        async for some in answer.aiter_bytes():
            *blocks, rest = (rest + some).split(b"\n\n")
            for block in blocks:
                if wrong := followed.take(block):
                    raise StormBroke(f"{followed}: {wrong}")
                if chance.random() < CUT_SHARE:
                    stage.checked["streams that their client cut"] += 1
                    return
