"""The checks after the storm: the database has exactly the acknowledged records, and no others."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final
from uuid import UUID

from aiokafka.errors import KafkaError

from services.ops.demo.simulated_call import Outcome
from services.ops.pipeline_lag import consumer_lag
from shared.calls.event import MISSING_HANGUP
from shared.calls.fold import FINAL
from shared.database.connection import Connection
from tests.storm.checker import prove
from tests.storm.publisher import Acknowledged
from tests.storm.stage import Stage, StormBroke, connected, passes
from tests.storm.workload import CallKey

QUIET_SECONDS: Final = 150
AGAIN_SECONDS: Final = 0.3
SHOWN: Final = 5


async def until_quiet(stage: Stage) -> None:
    """Returns when every record is committed and every delta applied. Raises StormBroke on timeout."""
    left = "all"
    try:
        async with asyncio.timeout(QUIET_SECONDS):
            while left:
                left = await _left(stage)
                await asyncio.sleep(AGAIN_SECONDS)
    except TimeoutError:
        raise StormBroke(f"still not caught up after {QUIET_SECONDS} s: {left}") from None


async def _left(stage: Stage) -> str:
    """The work that is left; empty when there is none."""
    try:
        lags = await consumer_lag(stage.grounds.bootstrap, stage.topic, stage.group)
        async with connected(stage) as connection:
            deltas = await connection.fetchval("SELECT count(*) FROM daily_call_deltas")
    except KafkaError as error:
        return f"Kafka: {error!r}"
    except Exception as error:
        if not passes(error):
            raise
        return f"PostgreSQL: {error!r}"
    behind = sum(one.lag for one in lags)
    return f"{behind} records, {deltas} deltas" if behind or deltas else ""


async def check_end(stage: Stage, acknowledged: Acknowledged) -> None:
    """Compares the tables with the published records, call by call. Raises StormBroke."""
    if not await prove(stage):
        raise StormBroke("the last proof did not finish")
    async with connected(stage) as connection:
        gone = {tuple(row) for row in await connection.fetch(DELETED)}
        none("deleted calls without a tombstone", stage.seen.deleted - gone)
        none("tombstones without a delete request", gone - stage.seen.asked_to_delete)
        await _check_events(connection, stage, gone)
        await _check_outcomes(connection, stage, gone)
        await _check_quarantine(connection, stage, acknowledged)
        lines = [(owner, UUID(subject)) for owner, subject in await connection.fetch(AUDITED)]
        if sorted(lines) != sorted(gone):
            raise StormBroke(f"{len(lines)} lines in the audit log for {len(gone)} deleted calls")
    stage.checked["deleted calls that stayed deleted"] += len(gone)


async def _check_events(connection: Connection, stage: Stage, gone: set[Any]) -> None:
    """Every acknowledged event is stored verbatim, unless its call is deleted. No other event is stored."""
    stored: defaultdict[CallKey, dict[str, str]] = defaultdict(dict)
    for owner, call_id, event_id, payload in await connection.fetch(EVENTS, MISSING_HANGUP):
        stored[owner, call_id][event_id] = payload
    published = stage.workload.events
    none("calls that were not published", stored.keys() - published.keys())
    off = [
        f"{key}: {sorted(events.keys() ^ stored.get(key, {}).keys())}"
        for key, events in published.items()
        if key not in gone and stored.get(key) != {id_: event.payload for id_, event in events.items()}
    ]
    none("calls whose events differ from the published ones", off)
    none("deleted calls with events", gone & stored.keys())
    stage.checked["calls with exactly the published events"] += len(stored)


async def _check_outcomes(connection: Connection, stage: Stage, gone: set[Any]) -> None:
    """Each call has the result of its timeline, which is computed without the fold."""
    found = {(row[0], row[1]): tuple(row)[2:] for row in await connection.fetch(CALLS)}
    reaped = {tuple(row) for row in await connection.fetch(REAPED, MISSING_HANGUP)}
    off = [
        f"{key}: {found.get(key)}, must be {must}"
        for key, outcome in stage.workload.outcomes.items()
        if key not in gone and found.get(key) != (must := _row(outcome, reaped=key in reaped))
    ]
    none("calls whose result differs from their timeline", off)
    stage.checked["calls with the result of their timelines"] += len(found)
    stage.checked["calls that the chores ended"] += len(reaped)


def _row(outcome: Outcome, *, reaped: bool) -> tuple[object, ...]:
    """The expected row of the call. A call that the chores ended, because it had no end, has failed."""
    status = "failed" if reaped and outcome.status not in FINAL else outcome.status
    return outcome.livemode, outcome.direction, status, outcome.answered, outcome.duration, outcome.cost


async def _check_quarantine(connection: Connection, stage: Stage, acknowledged: Acknowledged) -> None:
    rows = await connection.fetch('SELECT partition, "offset", value FROM quarantined_records')
    places = {(row[0], row[1]) for row in rows}
    none("bad records that are not in quarantine", acknowledged.broken - places)
    broken = {record.value for record in stage.workload.records if record.fault is not None}
    none("records in quarantine that are events", {row["value"] for row in rows} - broken)
    stage.checked["bad records in quarantine"] += len(rows)


def none(what: str, found: Iterable[object]) -> None:
    """Raises StormBroke if something was found."""
    some: Sequence[object] = list(found)
    if some:
        shown = "\n".join(str(one) for one in some[:SHOWN])
        raise StormBroke(f"{len(some)} {what}:\n{shown}")


EVENTS: Final = """
SELECT organization_id, call_id, id, callfold_payload(payload, type, organization_id, call_id)
FROM call_events WHERE type <> $1
"""
REAPED: Final = "SELECT organization_id, call_id FROM call_events WHERE type = $1"
DELETED: Final = "SELECT organization_id, call_id FROM deleted_calls"
AUDITED: Final = "SELECT organization_id, subject FROM audit_log WHERE action = 'call deleted'"
CALLS: Final = """
SELECT organization_id, id, livemode, direction, status, answered_at IS NOT NULL, coalesce(duration, 0),
    coalesce(cost, 0)
FROM calls
"""
