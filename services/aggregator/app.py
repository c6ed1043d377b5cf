"""The aggregator service: keeps the number of deltas small, so that a read sums few rows. Without it, every
answer stays the same and only takes more work."""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from services.aggregator.apply_deltas import apply_deltas, waiting_deltas
from services.aggregator.apply_on_node import apply_on_node, waiting_on_node
from services.aggregator.chores import do_chores
from services.aggregator.metrics import Metrics, OfServer
from shared.database.connection import Connection
from shared.database.distributed import is_distributed
from shared.database.each_server import on_each_server
from shared.database.faults import PASSING_TYPES
from shared.database.patient_connection import PatientConnection, database_outage
from shared.database.timeouts import OWN_LOCK_TIMEOUT
from shared.first_of import first_of
from shared.settings.aggregator import AggregatorSettings
from shared.store.deltas_channel import DELTAS_CHANNEL
from shared.store.zone_rules import warn_of_other_rules

logger = logging.getLogger("callfold.aggregator")

SESSION: Final = {"lock_timeout": OWN_LOCK_TIMEOUT, "jit": "off", "work_mem": "64MB"}
WAITING_SECONDS: Final = 15
"""The interval at which waiting deltas are counted."""


async def run(settings: AggregatorSettings, metrics: Metrics, stop: asyncio.Event) -> None:
    """Applies deltas as they arrive, on each server of a distributed database, and runs the chores
    concurrently, until `stop` is set. Waits for an unreachable database. Raises the first permanent fault."""

    async def apply(of_server: AggregatorSettings, server: str | None) -> None:
        with metrics.server(of_server.database_url) as its_metrics:
            await _apply(of_server, its_metrics, stop, server)

    chores = asyncio.create_task(do_chores(settings, stop))
    chores.add_done_callback(lambda _: stop.set())  # they end with a fault or with the stop
    try:
        await on_each_server(settings, apply, stop)
    finally:
        chores.cancel()  # a cancelled statement has changed nothing
        with suppress(asyncio.CancelledError):
            await chores


async def _apply(
    settings: AggregatorSettings, metrics: OfServer, stop: asyncio.Event, server: str | None
) -> None:
    """Applies the deltas of one server: `server` is its address, or None for the one in the URL."""
    database = PatientConnection(
        settings,
        application_name="callfold-aggregator",
        session=SESSION,
        once=partial(warn_of_other_rules, logger=logger) if server is None else None,
    )
    outage = database_outage(logger, server)

    def applied(deltas: int, seconds: float) -> None:
        metrics.applied(deltas, seconds)
        metrics.waiting = None
        database.succeeded()
        outage.end()

    try:
        while not stop.is_set():
            try:
                connection = await database.opened()
                logger.info("follows the deltas%s", "" if server is None else f" at server {server}")
                await _follow(connection, settings, metrics, stop, applied)
            except PASSING_TYPES as fault:
                metrics.waiting = outage.begin(database.failed(fault))
                await database.pause(stop)
    finally:
        database.close()


async def _follow(
    connection: Connection,
    settings: AggregatorSettings,
    metrics: OfServer,
    stop: asyncio.Event,
    on_applied: Callable[[int, float], None],
) -> None:
    """Applies waiting deltas, pauses, and then waits for a notification of more, at most one interval.
    Through a pooler there are no notifications, because LISTEN needs a session. `on_applied` takes the number
    of deltas that a statement applied, and its seconds."""
    news = asyncio.Event()
    if settings.database_pooler == "none":
        await connection.add_listener(DELTAS_CHANNEL, lambda *_: news.set())
    is_node = await is_distributed(connection)
    apply, count_waiting = (apply_on_node, waiting_on_node) if is_node else (apply_deltas, waiting_deltas)
    counted_at = -math.inf
    while not stop.is_set():
        news.clear()
        began = time.monotonic()
        applied = await apply(connection, settings.aggregate_deltas)
        on_applied(applied, time.monotonic() - began)
        if began - counted_at >= WAITING_SECONDS:
            counted_at = began
            metrics.wait(*await count_waiting(connection))
        if applied == settings.aggregate_deltas:
            continue
        if applied:
            await first_of(stop, seconds=settings.aggregate_rest_seconds)
        await first_of(news, stop, seconds=settings.aggregate_interval_seconds)
