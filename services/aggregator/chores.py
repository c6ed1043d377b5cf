"""The slow chores: calls that never ended, and retention."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta

from services.aggregator.prune import prune
from services.aggregator.reap import reap
from shared.database import PASSING_TYPES, Backoff, connect, is_passing
from shared.settings import AggregatorSettings
from shared.step import check_step

logger = logging.getLogger("callfold.aggregator")


async def do_chores(settings: AggregatorSettings, stop: asyncio.Event) -> None:
    """Ends silent calls and applies retention, over and over, until `stop` is set. Several aggregators may do
    so at once: each call is ended once, and pruned once. Raises what does not pass."""
    backoff = Backoff(longest_seconds=60)
    while not stop.is_set():
        try:
            await _do_them_once(settings)
        except PASSING_TYPES as fault:
            if not is_passing(fault):
                raise
            await backoff.wait(stop)
            continue
        backoff.reset()
        try:
            await asyncio.wait_for(stop.wait(), settings.chores_interval_seconds)
        except TimeoutError:
            continue


async def _do_them_once(settings: AggregatorSettings) -> None:
    connection = await connect(
        settings.database_url,
        application_name="callfold-chores",
        pooler=settings.database_pooler,
        timeout_seconds=settings.database_connect_timeout_seconds,
        settings={"lock_timeout": "10s", "jit": "off"},
    )
    try:
        await check_step(connection)
        now = datetime.now(UTC)
        if ended := await reap(connection, now, timedelta(hours=settings.silence_hours)):
            logger.info("ended %d calls that had been silent for %g hours", ended, settings.silence_hours)
        if pruned := await prune(connection, now, counts=settings.prune_counts):
            logger.info("pruned %d calls that are older than their organizations keep", pruned)
    finally:
        connection.terminate()
