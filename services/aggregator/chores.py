"""The slow chores: calls that never ended, and retention."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Final

from services.aggregator.prune import prune
from services.aggregator.quarantine import place_quarantined, prune_quarantined
from services.aggregator.reap import reap
from shared.audit import NO_ORGANIZATION, write_audit
from shared.database import PASSING_TYPES, Backoff, Connection, connect, is_passing, told
from shared.read_progress import read_until, topics_read
from shared.settings import AggregatorSettings
from shared.step import check_step
from shared.timeouts import OWN_LOCK_TIMEOUT

logger = logging.getLogger("callfold.aggregator")

STATEMENT_SECONDS: Final = 600
ACTOR: Final = "aggregator"
SESSION: Final = {"lock_timeout": OWN_LOCK_TIMEOUT, "jit": "off"}
Chore = Callable[[Connection, AggregatorSettings, datetime], Awaitable[None]]


async def do_chores(settings: AggregatorSettings, stop: asyncio.Event) -> None:
    """Ends silent calls, finds the calls of records that an older version quarantined, and applies retention,
    over and over, until `stop` is set. Several aggregators may do so at once: each call is ended once, and
    pruned once. A chore that fails is retried soon, and the others are done meanwhile. Raises what does not
    pass."""
    backoff = Backoff(longest_seconds=60)
    failing: set[str] = set()
    while not stop.is_set():
        for name, chore in CHORES.items():
            if await _can_do(name, chore, settings, said=name in failing):
                failing.discard(name)
            else:
                failing.add(name)
        if failing:
            await backoff.wait(stop)
            continue
        backoff.reset()
        try:
            await asyncio.wait_for(stop.wait(), settings.chores_interval_seconds)
        except TimeoutError:
            continue


async def _can_do(name: str, chore: Chore, settings: AggregatorSettings, *, said: bool) -> bool:
    """Does a chore once; false, and a warning unless that was `said`, when the database keeps it from being
    done."""
    try:
        connection = await connect(
            settings.database_url,
            application_name="callfold-chores",
            pooler=settings.database_pooler,
            timeout_seconds=settings.database_connect_timeout_seconds,
            command_timeout_seconds=STATEMENT_SECONDS,
            settings=SESSION,
        )
        try:
            await check_step(connection)
            await chore(connection, settings, datetime.now(UTC))
        finally:
            connection.terminate()
    except PASSING_TYPES as fault:
        if not is_passing(fault):
            raise
        if not said:
            logger.warning("can't %s now: %s", name, told(fault, SESSION))
        return False
    if said:
        logger.info("can %s again", name)
    return True


async def _end_silent_calls(connection: Connection, settings: AggregatorSettings, now: datetime) -> None:
    read = await read_until(connection, settings.topic)
    if read is None and (others := await topics_read(connection)):
        logger.warning(
            "ends no silent call: ingest has not read all partitions of topic %s; it reads %s "
            "(CALLFOLD_TOPIC must be the same for ingest and aggregator)",
            settings.topic,
            ", ".join(others),
        )
    silence = timedelta(hours=settings.silence_hours)
    ended, waiting = await reap(connection, now, silence, read_until=read)
    if ended:
        logger.info("ended %d calls that had been silent for %g hours", ended, settings.silence_hours)
    if waiting:
        logger.info("%d silent calls wait until ingest has read what was published before", waiting)


async def _place_quarantined(connection: Connection, _settings: AggregatorSettings, now: datetime) -> None:
    if placed := await place_quarantined(connection, now):
        logger.info("found the calls of %d quarantined records of an older version", placed)


async def _apply_retention(connection: Connection, settings: AggregatorSettings, now: datetime) -> None:
    if records := await prune_quarantined(connection, now):
        logger.info("removed %d quarantined records that are older than is kept", records)
    pruned = await prune(connection, now, counts=settings.prune_counts)
    if not pruned:
        return
    logger.info("pruned %d calls that are older than their organizations keep", pruned)
    if settings.prune_counts == "drop":
        await write_audit(
            connection,
            organization_id=NO_ORGANIZATION,
            actor=ACTOR,
            action="calls and their counts pruned",
            subject="",
            details=f"{pruned:,} calls",
        )


CHORES: Final[Mapping[str, Chore]] = MappingProxyType(
    {
        "end silent calls": _end_silent_calls,
        "find the calls of quarantined records": _place_quarantined,
        "apply retention": _apply_retention,
    }
)
