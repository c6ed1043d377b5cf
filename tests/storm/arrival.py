"""The end of each change's way: it is in the topic, on the streams, and at the endpoints."""

import asyncio
import random
from typing import Final

from aiokafka.errors import KafkaError

from tests.storm.checker import prove_topic
from tests.storm.stage import WRITERS, Stage, StormBroke, connected, passes
from tests.storm.topic_history import ends_of

ARRIVAL_SECONDS: Final = 120
AGAIN_SECONDS: Final = 0.3
DUE_AGAIN_SECONDS: Final = (1, 3)


async def hurry_on(stage: Stage, chance: random.Random) -> None:
    """Makes the deliveries that wait for a later attempt due, from time to time."""
    while True:
        await asyncio.sleep(chance.uniform(*DUE_AGAIN_SECONDS))
        try:
            await _hurry(stage)
        except Exception as error:
            if not passes(error):
                raise
            stage.checked["test connection lost"] += 1


async def stop_writers(stage: Stage) -> None:
    """Stops the services that change calls. Raises AssertionError if one does not exit cleanly, and
    TimeoutError if one does not exit."""
    await asyncio.gather(*(replica.stop() for name in WRITERS for replica in stage.replicas(name)))


async def until_arrived(stage: Stage) -> None:
    """Returns when every change has arrived everywhere, after the last writer of calls has stopped. Raises
    StormBroke on timeout."""
    left = "all"
    try:
        async with asyncio.timeout(ARRIVAL_SECONDS):
            while left:
                await _hurry(stage)
                await asyncio.sleep(AGAIN_SECONDS)
                left = await _left(stage)
    except TimeoutError:
        raise StormBroke(f"changes have still not arrived after {ARRIVAL_SECONDS} s: {left}") from None
    if not await prove_topic(stage, "--wait", "30", must_tell=True):
        raise StormBroke("the last proof of the topic did not finish")


async def _hurry(stage: Stage) -> None:
    async with connected(stage) as connection:
        stage.checked["deliveries made due again"] += await connection.fetchval(HURRY)
        await connection.execute("NOTIFY callfold_webhooks")


async def _left(stage: Stage) -> str:
    """The changes that are on their way; empty when there is none."""
    async with connected(stage) as connection:
        rows = await connection.fetchval("SELECT count(*) FROM call_changes")
        deliveries = await connection.fetchval(WAITING, [one.webhook_id for one in stage.endpoints])
    try:
        ends = await ends_of(stage)
    except KafkaError as error:
        return f"Kafka: {error!r}"
    behind = [str(each) for each in stage.followed if not each.has_reached(ends)]
    return (
        f"{rows} rows of the outbox, {deliveries} deliveries, {behind}"
        if rows or deliveries or behind
        else ""
    )


HURRY: Final = """
WITH hurried AS (
    UPDATE webhook_deliveries SET due_at = now() WHERE due_at > now() RETURNING true
)
SELECT count(*) FROM hurried
"""
WAITING: Final = """
SELECT count(*) FROM webhook_deliveries WHERE due_at IS NOT NULL AND webhook_id = ANY($1::uuid[])
"""
