"""Ends calls without an end, after a silence, as `failed` with the cause `MISSING_HANGUP`.

The end is an event that callfold generates and stores like any other, so that the call remains the fold of
its events. It loses against every real end, whenever that arrives, and is then removed from the call's
events.
"""

import json
import logging
from collections.abc import Sequence
from datetime import UTC as FIXED_UTC
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, NamedTuple
from uuid import UUID

from shared.calls.event import MISSING_HANGUP, Event, InvalidEvent, read_stored
from shared.calls.fold import FINAL, OPEN, fold
from shared.calls.zones import UTC
from shared.counts.counted_sql import quoted
from shared.database.connection import Connection
from shared.database.statement import Statement
from shared.in_halves import in_halves
from shared.store.batch import Overtaken, TooLarge, read_known, write
from shared.store.changes import CALL_EVENTS_MAX, CallKey, KnownCall, TouchedCall, changes

logger = logging.getLogger("callfold.aggregator")

CHUNK_CALLS: Final = 500
CAUSE: Final = "MISSING_HANGUP"
EVENT_ID: Final = "callfold.missing_hangup"
"""The id of the generated end. A call has at most one such end at a time."""
MARGIN: Final = timedelta(minutes=1)
"""The allowed difference between the machines' clocks."""
EVERYTHING: Final = datetime.max.replace(tzinfo=FIXED_UTC)
"""Stands for an ingest that has read everything."""


class Reaped(NamedTuple):
    """The number of calls that were ended, and of silent calls that wait until ingest has read further."""

    ended: int
    waiting: int


async def reap(
    connection: Connection,
    now: datetime,
    silence: timedelta,
    *,
    read_until: datetime | None,
    organization_id: UUID | None = None,
    dry_run: bool = False,
) -> Reaped:
    """Ends silent calls, of one organization or of all.

    A call is silent if none of its events is younger than `silence` at `now`, and if ingest has also read far
    enough. `read_until` (`shared.store.read_progress`; None: unknown) must be later than the first check that
    found the call silent with its current events. Events in a backlog or an archive are old, so the end of
    their calls may not have been read yet. With `EVERYTHING`, calls end at the first check.

    The counts give the days with open calls. A call stays open if it has the maximum number of events,
    because the end would be one more, or if one of its events cannot be read. Raises asyncpg's errors.
    """
    ended = waiting = 0
    silent_since = now - silence
    seen_before = None if read_until is None else read_until - MARGIN
    latest_day = (silent_since + timedelta(days=1)).date()  # later than the day in any time zone
    for owner, livemode, day in await connection.fetch(_OPEN_DAYS, organization_id, latest_day):
        last = _FIRST
        while rows := await _SILENT.fetch(
            connection,
            organization_id=owner,
            livemode=livemode,
            day=day,
            silent_since=silent_since,
            after=last,
            limit=CHUNK_CALLS,
        ):
            last = rows[-1]["id"]
            looked_at: dict[str, Any] = {
                "organization_id": owner,
                "call_ids": [row["id"] for row in rows],
                "versions": [row["version"] for row in rows],
                "now": now,
                "seen_before": seen_before,
            }
            if dry_run:
                due = await _COUNT_DUE.fetchval(connection, **looked_at)
                ended += due
            else:
                rows_due = await _LOOK.fetch(connection, **looked_at)
                keys = [(owner, call_id) for (call_id,) in rows_due]
                due = len(keys)
                end = partial(_end, connection, silent_since)
                ended += sum(await in_halves(keys, end, (TooLarge, Overtaken)))
            waiting += len(rows) - due
    if not dry_run:
        await connection.execute(_FORGET, organization_id)
    return Reaped(ended, waiting)


def missing_hangup(known: KnownCall, silent_since: datetime) -> Event | None:
    """The end of a call that has been silent since `silent_since`, at the time of its last event; None for a
    call that ended or has newer events. Pure. Raises InvalidEvent."""
    if not known.events:
        return None
    events = [read_stored(payload) for payload in known.events.values()]
    call = fold(events)
    last = max(event.timestamp for event in events)
    if call.status in FINAL or last > silent_since:
        return None
    return read_stored(
        json.dumps(
            {
                "id": EVENT_ID,
                "type": MISSING_HANGUP,
                "organization_id": str(call.organization_id),
                "call_id": str(call.id),
                "timestamp": last.astimezone(UTC).isoformat(),
                "livemode": call.livemode,
                "data": {"hangup_cause": CAUSE},
            }
        )
    )


async def _end(connection: Connection, silent_since: datetime, keys: Sequence[CallKey]) -> int:
    """Ends these calls in one transaction and returns their number. Raises TooLarge, and Overtaken for more
    than one call."""
    if not keys:
        return 0
    organizations, silent = await read_known(connection, dict.fromkeys(keys, ()))
    batch = changes(_ended(silent, silent_since), organizations)
    try:
        await write(connection, batch, [])
    except Overtaken:
        if len(keys) > 1:
            raise
        logger.info("a silent call received an event", extra=_ids(keys[0]))
        return 0
    return len(batch.events)


def _ended(silent: Sequence[TouchedCall], silent_since: datetime) -> Sequence[TouchedCall]:
    """The calls to end, each with its end."""
    ended = []
    for call in silent:
        try:
            end = missing_hangup(call.known, silent_since)
        except InvalidEvent:
            logger.error(
                "a silent call stays open: one of its stored events can't be read", extra=_ids(call.key)
            )
            continue
        if end is not None:
            ended.append(call._replace(arrived=(end,)))
    return ended


def _ids(key: CallKey) -> dict[str, object]:
    """The call's ids, for a log line."""
    return {"organization_id": key[0], "call_id": key[1]}


_FIRST: Final = UUID(int=0)

_OPEN: Final = f"({quoted(sorted(OPEN))})"

_OPEN_DAYS: Final = f"""
SELECT organization_id, livemode, day
FROM (SELECT organization_id, livemode, day, status, calls FROM daily_call_counts
      UNION ALL
      SELECT organization_id, livemode, day, status, calls FROM daily_call_deltas) AS part
WHERE ($1::uuid IS NULL OR organization_id = $1) AND day <= $2 AND status IN {_OPEN}
GROUP BY organization_id, livemode, day HAVING sum(calls) > 0
ORDER BY organization_id, livemode, day
"""

# `day` decides; `created_at`, a day wider on both sides, bounds the index.
_SILENT: Final = Statement(f"""
SELECT id, version FROM calls
WHERE organization_id = :organization_id AND livemode = :livemode AND day = :day
    AND status IN {_OPEN} AND id > :after
    AND version < {CALL_EVENTS_MAX}
    AND created_at >= (:day::date - 1)::timestamp AT TIME ZONE 'UTC'
    AND created_at < least((:day::date + 2)::timestamp AT TIME ZONE 'UTC', :silent_since)
    AND NOT EXISTS (
        SELECT 1 FROM call_events
        WHERE call_events.organization_id = :organization_id AND call_id = calls.id
            AND occurred_at > :silent_since)
ORDER BY id LIMIT :limit
""")

_LOOKED_AT: Final = "unnest(:call_ids::uuid[], :versions::integer[]) AS looked_at(call_id, version)"

# When a call was first found silent with its current events.
_LOOK: Final = Statement(f"""
WITH seen AS (
    INSERT INTO silent_calls AS seen (organization_id, call_id, version, seen_at)
    SELECT :organization_id::uuid, call_id, version, :now::timestamptz FROM {_LOOKED_AT} ORDER BY call_id
    ON CONFLICT (organization_id, call_id) DO UPDATE
    SET version = excluded.version,
        seen_at = CASE WHEN seen.version = excluded.version THEN seen.seen_at ELSE excluded.seen_at END
    RETURNING call_id, seen_at
)
SELECT call_id FROM seen WHERE seen_at <= :seen_before::timestamptz ORDER BY call_id
""")

_COUNT_DUE: Final = Statement(f"""
SELECT count(*) FROM {_LOOKED_AT}
LEFT JOIN silent_calls AS seen ON seen.organization_id = :organization_id::uuid
    AND seen.call_id = looked_at.call_id AND seen.version = looked_at.version
WHERE coalesce(seen.seen_at, :now::timestamptz) <= :seen_before::timestamptz
""")

_FORGET: Final = f"""
DELETE FROM silent_calls AS seen
WHERE ($1::uuid IS NULL OR organization_id = $1) AND NOT EXISTS (
    SELECT 1 FROM calls
    WHERE calls.organization_id = seen.organization_id AND calls.id = seen.call_id
        AND calls.version = seen.version AND calls.status IN {_OPEN})
"""
