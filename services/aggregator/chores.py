"""The slow chores: ending silent calls, and retention."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Final

from services.aggregator.prune import prune
from services.aggregator.quarantine_erasure import place_quarantined, prune_quarantined
from services.aggregator.reap import reap
from shared.database.connection import Connection
from shared.database.faults import PASSING_TYPES
from shared.database.patient_connection import PatientConnection
from shared.database.timeouts import OWN_LOCK_TIMEOUT
from shared.outage import Outage
from shared.settings.aggregator import AggregatorSettings
from shared.store.audit import NO_ORGANIZATION, write_audit
from shared.store.read_progress import calls_read_until, topics_read
from shared.store.sources import SOURCE_CALLS_KEPT, forget_source_calls

logger = logging.getLogger("callfold.aggregator")

STATEMENT_SECONDS: Final = 600
ACTOR: Final = "aggregator"
SESSION: Final = {"lock_timeout": OWN_LOCK_TIMEOUT, "jit": "off"}
Chore = Callable[[Connection, AggregatorSettings, datetime], Awaitable[None]]


async def do_chores(settings: AggregatorSettings, stop: asyncio.Event) -> None:
    """Repeats the chores until `stop` is set: ends silent calls, finds the calls of records that an older
    version quarantined, and applies retention. Several aggregators may run concurrently: each call is ended
    once and pruned once. A failed chore is retried soon, while the others continue. Raises permanent
    faults."""
    database = PatientConnection(
        settings,
        application_name="callfold-chores",
        session=SESSION,
        command_timeout_seconds=STATEMENT_SECONDS,
        longest_pause_seconds=60,
    )
    outages = {name: Outage(logger, f"cannot {name} now", f"can {name} again") for name in CHORES}
    try:
        while not stop.is_set():
            for name, chore in CHORES.items():
                try:
                    await chore(await database.opened(), settings, datetime.now(UTC))
                except PASSING_TYPES as fault:
                    outages[name].begin(database.failed(fault))
                else:
                    outages[name].end()
            database.close()
            if any(outage.lasts for outage in outages.values()):
                await database.pause(stop)
                continue
            database.succeeded()
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), settings.chores_interval_seconds)
    finally:
        database.close()


async def _end_silent_calls(connection: Connection, settings: AggregatorSettings, now: datetime) -> None:
    read = await calls_read_until(connection, settings.topic, settings.deliveries_topic)
    if read is None and (others := await topics_read(connection)):
        logger.warning(
            "does not end silent calls: ingest has not read all partitions of topic %s; it reads %s "
            "(CALLFOLD_TOPIC must be the same for ingest and aggregator)",
            settings.topic,
            ", ".join(others),
        )
    silence = timedelta(hours=settings.silence_hours)
    ended, waiting = await reap(connection, now, silence, read_until=read)
    if ended:
        logger.info("ended %d calls that had been silent for %g hours", ended, settings.silence_hours)
    if waiting:
        logger.info("%d silent calls wait until ingest has read all records published before", waiting)


async def _forget_source_calls(connection: Connection, _settings: AggregatorSettings, now: datetime) -> None:
    if forgotten := await forget_source_calls(connection, now - SOURCE_CALLS_KEPT):
        logger.info("forgot the organizations of %d calls of sources", forgotten)


async def _place_quarantined(connection: Connection, _settings: AggregatorSettings, now: datetime) -> None:
    if placed := await place_quarantined(connection, now):
        logger.info("found the calls of %d quarantined records of an older version", placed)


async def _apply_retention(connection: Connection, settings: AggregatorSettings, now: datetime) -> None:
    if records := await prune_quarantined(connection, now):
        logger.info("removed %d quarantined records that are older than the retention", records)
    pruned = await prune(connection, now, counts=settings.prune_counts)
    if not pruned:
        return
    logger.info("pruned %d calls that are older than their organizations' retention", pruned)
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
        "forget old calls of sources": _forget_source_calls,
    }
)
