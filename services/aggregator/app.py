"""The aggregator service: keeps the deltas few, so that a read adds up little. Without it every answer stays
the same, and only the work for it grows."""

import asyncio
import logging
import math
import time
from contextlib import suppress
from typing import Final

from services.aggregator.chores import do_chores
from services.aggregator.metrics import Metrics
from services.aggregator.store import apply_deltas, waiting_deltas
from shared.count import DELTAS_CHANNEL
from shared.database import PASSING_TYPES, Backoff, Connection, connect, is_passing, told
from shared.settings import AggregatorSettings
from shared.step import check_step
from shared.timeouts import OWN_LOCK_TIMEOUT
from shared.zone_rules import warn_of_other_rules

logger = logging.getLogger("callfold.aggregator")

SESSION: Final = {"lock_timeout": OWN_LOCK_TIMEOUT, "jit": "off", "work_mem": "64MB"}
WAITING_SECONDS: Final = 15
"""How often the deltas that wait are counted."""


async def run(settings: AggregatorSettings, metrics: Metrics, stop: asyncio.Event) -> None:
    """Applies deltas as they come, and does the chores beside it, until `stop` is set; waits for a database
    that is away. Raises the first fault that does not pass."""
    chores = asyncio.create_task(do_chores(settings, stop))
    chores.add_done_callback(lambda _: stop.set())  # they end by a fault, or with the stop
    try:
        await _apply(settings, metrics, stop)
    finally:
        chores.cancel()  # what is cut off has done nothing
        with suppress(asyncio.CancelledError):
            await chores


async def _apply(settings: AggregatorSettings, metrics: Metrics, stop: asyncio.Event) -> None:
    backoff = Backoff()
    said = asked_for_rules = False
    while not stop.is_set():
        try:
            connection = await connect(
                settings.database_url,
                application_name="callfold-aggregator",
                pooler=settings.database_pooler,
                timeout_seconds=settings.database_connect_timeout_seconds,
                settings=SESSION,
            )
            try:
                await check_step(connection)
                if not asked_for_rules:
                    asked_for_rules = await warn_of_other_rules(connection, logger)
                await _follow(connection, settings, metrics, stop, backoff)
            finally:
                connection.terminate()
        except PASSING_TYPES as fault:
            if not is_passing(fault):
                raise
            if not said or metrics.waiting is None:
                logger.warning("waits for the database: %s", told(fault, SESSION))
                said = True
            metrics.waiting = f"waits for the database: {told(fault, SESSION)}"
            await backoff.wait(stop)


async def _follow(
    connection: Connection,
    settings: AggregatorSettings,
    metrics: Metrics,
    stop: asyncio.Event,
    backoff: Backoff,
) -> None:
    """Applies what waits, then rests, and waits for word of more, at most an interval long. Through a pooler
    no word comes, for nothing listens there for longer than a transaction."""
    news = asyncio.Event()
    if settings.database_pooler == "none":
        await connection.add_listener(DELTAS_CHANNEL, lambda *_: news.set())
    logger.info("follows the deltas")
    counted_at = -math.inf
    stopped = asyncio.ensure_future(stop.wait())
    try:
        while not stop.is_set():
            news.clear()
            began = time.monotonic()
            applied = await apply_deltas(connection, settings.aggregate_deltas)
            metrics.applied(applied, time.monotonic() - began)
            metrics.waiting = None
            backoff.reset()
            if began - counted_at >= WAITING_SECONDS:
                counted_at = began
                metrics.wait(*await waiting_deltas(connection))
            if applied == settings.aggregate_deltas:
                continue
            if applied:
                await asyncio.wait((stopped,), timeout=settings.aggregate_rest_seconds)
            word = asyncio.ensure_future(news.wait())
            await asyncio.wait(
                (word, stopped),
                timeout=settings.aggregate_interval_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            word.cancel()
    finally:
        stopped.cancel()
