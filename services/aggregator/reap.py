"""Calls that never ended: ended, after a silence, as `failed` with the cause `MISSING_HANGUP`.

The end is an event that callfold makes up and stores like any other, so that the call stays the fold of its
events. It loses against every real end, whenever that arrives.
"""

import json
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from shared.changes import CALL_EVENTS_MAX, CallKey, KnownCall, TouchedCall, changes
from shared.database import Connection
from shared.event import MISSING_HANGUP, Event, InvalidEvent, read_stored
from shared.fold import FINAL, fold
from shared.store import Overtaken, TooLarge, read_known, write
from shared.zones import UTC

logger = logging.getLogger("callfold.aggregator")

CHUNK_CALLS: Final = 500
CAUSE: Final = "MISSING_HANGUP"
EVENT_ID: Final = "callfold.missing_hangup"
"""One for each call: a call is ended once."""


async def reap(
    connection: Connection,
    now: datetime,
    silence: timedelta,
    *,
    organization_id: UUID | None = None,
    dry_run: bool = False,
) -> int:
    """Ends the calls of which no event is younger than `silence` at `now`; how many. Of one organization, or
    of all. Which days have such calls the counts tell.

    A call stays open that has as many events as a call may have, the end being one more, or an event that
    can't be read. Raises asyncpg's errors."""
    ended = 0
    silent_since = now - silence
    latest_day = (silent_since + timedelta(days=1)).date()  # later than the day in any time zone
    for owner, livemode, day in await connection.fetch(_OPEN_DAYS, organization_id, latest_day):
        last = _FIRST
        while rows := await connection.fetch(_SILENT, owner, livemode, day, silent_since, last, CHUNK_CALLS):
            keys = [(owner, call_id) for (call_id,) in rows]
            last = keys[-1][1]
            ended += len(keys) if dry_run else await _end(connection, keys, silent_since)
    return ended


def missing_hangup(known: KnownCall, silent_since: datetime) -> Event | None:
    """The end of a call that has been silent since then, at the time of its last event; None for one that
    ended, or that spoke again. Pure. Raises InvalidEvent."""
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


async def _end(connection: Connection, keys: Sequence[CallKey], silent_since: datetime) -> int:
    try:
        organizations, known = await read_known(connection, keys)
        batch = changes(_touched(keys, known, silent_since), organizations)
        await write(connection, batch, [])
        return len(batch.events)
    except TooLarge:
        pass
    except Overtaken:
        if len(keys) == 1:
            logger.info("a silent call spoke again", extra=_ids(keys[0]))
            return 0
    half = len(keys) // 2
    first = await _end(connection, keys[:half], silent_since)
    return first + await _end(connection, keys[half:], silent_since)


def _touched(
    keys: Sequence[CallKey], known: Sequence[KnownCall], silent_since: datetime
) -> Sequence[TouchedCall]:
    """The calls that are to be ended, each with its end."""
    touched = []
    for key, call in zip(keys, known, strict=True):
        try:
            end = missing_hangup(call, silent_since)
        except InvalidEvent:
            logger.error("a silent call stays open: one of its stored events can't be read", extra=_ids(key))
            continue
        if end is not None:
            touched.append(TouchedCall((end,), call))
    return touched


def _ids(key: CallKey) -> dict[str, object]:
    """Which call it is, for a log."""
    return {"organization_id": key[0], "call_id": key[1]}


_FIRST: Final = UUID(int=0)

_OPEN: Final = "('initiated', 'ringing', 'in_progress')"

_OPEN_DAYS: Final = f"""
SELECT organization_id, livemode, day
FROM (SELECT organization_id, livemode, day, status, calls FROM daily_call_counts
      UNION ALL
      SELECT organization_id, livemode, day, status, calls FROM daily_call_deltas) AS part
WHERE ($1::uuid IS NULL OR organization_id = $1) AND day <= $2 AND status IN {_OPEN}
GROUP BY organization_id, livemode, day HAVING sum(calls) > 0
ORDER BY organization_id, livemode, day
"""  # noqa: S608

# `day` decides; `created_at`, a day wider on both sides, bounds the index.
_SILENT: Final = f"""
SELECT id FROM calls
WHERE organization_id = $1 AND livemode = $2 AND day = $3 AND status IN {_OPEN} AND id > $5
    AND version < {CALL_EVENTS_MAX}
    AND created_at >= ($3::date - 1)::timestamp AT TIME ZONE 'UTC'
    AND created_at < least(($3::date + 2)::timestamp AT TIME ZONE 'UTC', $4)
    AND NOT EXISTS (
        SELECT 1 FROM call_events
        WHERE call_events.organization_id = $1 AND call_id = calls.id AND occurred_at > $4)
ORDER BY id LIMIT $6
"""  # noqa: S608
