"""The aggregator service: keeps the deltas few, so that a read adds up little. Without it every answer stays
the same, and only the work for it grows."""

import asyncio
import logging

from services.aggregator.chores import do_chores
from services.aggregator.store import apply_deltas
from shared.count import DELTAS_CHANNEL
from shared.database import PASSING_TYPES, Backoff, Connection, connect, is_passing
from shared.settings import AggregatorSettings

logger = logging.getLogger("callfold.aggregator")


async def run(settings: AggregatorSettings, stop: asyncio.Event) -> None:
    """Applies deltas as they come, and does the chores beside it, until `stop` is set; waits for a database
    that is away. Raises the first fault that does not pass."""
    works = [asyncio.create_task(work(settings, stop)) for work in (_apply, do_chores)]
    try:
        await asyncio.gather(*works)
    finally:
        stop.set()
        await asyncio.wait(works)


async def _apply(settings: AggregatorSettings, stop: asyncio.Event) -> None:
    backoff = Backoff()
    away = False
    while not stop.is_set():
        try:
            connection = await connect(
                settings.database_url,
                application_name="callfold-aggregator",
                pooler=settings.database_pooler,
                timeout_seconds=settings.database_connect_timeout_seconds,
                settings={"lock_timeout": "10s", "jit": "off"},
            )
            away = False
            try:
                await _follow(connection, settings, stop, backoff)
            finally:
                connection.terminate()
        except PASSING_TYPES as fault:
            if not is_passing(fault):
                raise
            if not away:
                away = True
                logger.warning("waits for the database: %s", fault or type(fault).__name__)
            await backoff.wait(stop)


async def _follow(
    connection: Connection, settings: AggregatorSettings, stop: asyncio.Event, backoff: Backoff
) -> None:
    """Applies what waits, then waits for word of more, at most an interval long. Through a pooler no word
    comes, for nothing listens there for longer than a transaction."""
    news = asyncio.Event()
    if settings.database_pooler == "none":
        await connection.add_listener(DELTAS_CHANNEL, lambda *_: news.set())
    logger.info("follows the deltas")
    stopped = asyncio.ensure_future(stop.wait())
    try:
        while not stop.is_set():
            news.clear()
            applied = await apply_deltas(connection, settings.aggregate_deltas)
            backoff.reset()
            if applied == settings.aggregate_deltas:
                continue
            told = asyncio.ensure_future(news.wait())
            await asyncio.wait(
                (told, stopped),
                timeout=settings.aggregate_interval_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            told.cancel()
    finally:
        stopped.cancel()
