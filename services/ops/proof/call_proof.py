"""The proof of the calls: each is the fold of its events."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from services.ops.proof.chunks import chunks
from services.ops.proof.difference import Difference, Findings
from services.ops.proof.organization_zones import NO_ORGANIZATION, Zone
from services.ops.proof.part import Part
from services.ops.proof.statements import Statements
from shared.calls.event import Event, InvalidEvent, read_stored
from shared.calls.fold import LAWS, fold
from shared.calls.local_time import LocalHour, local_hour
from shared.counts.cell import CALL_COLUMNS, call_row
from shared.database.connection import Connection

_EVENT_FIELDS: Final = ("organization_id", "call_id", "id", "type", "timestamp")
_Key = tuple[UUID, UUID]


class Sample(NamedTuple):
    """The percentage of calls to sample, and the seed."""

    percent: float
    seed: float


async def prove_calls(
    connection: Connection,
    part: Part,
    sample: Sample | None,
    zones: Mapping[UUID, Zone],
    found: Findings,
    proved: Callable[[int], None],
) -> tuple[int, int]:
    """Compares the calls, or a sample of them, with their events. Both are read in the order of their keys
    and merged. Returns the numbers of calls and events."""
    calls_statement, events_statement = _statements(part.statements, sample)
    calls = events = 0
    strangers: set[UUID] = set()
    groups = _events_by_call(connection, events_statement, part.argument)
    group = await anext(groups, None)
    async for rows in chunks(connection, calls_statement, part.argument, length_of=_transcript_length):
        for row in rows:
            key = row[0], row[1]
            while group is not None and group[0] < key:
                events += _report_events_without_call(*group, found)
                group = await anext(groups, None)
            zone = zones.get(key[0])
            if zone is None and key[0] not in strangers:
                strangers.add(key[0])
                must = {"row": "present, because it has calls"}
                found.add(Difference("organization", key[0], {"row": "missing"}, must))
            if group is not None and group[0] == key:
                events += len(group[1])
                _prove_call(row, group[1], zone or NO_ORGANIZATION, found)
                group = await anext(groups, None)
            else:
                must_have = {"events": row["version"]}
                found.add(Difference("call without events", key[0], {"events": 0}, must_have, key[1]))
        calls += len(rows)
        proved(calls)
    while group is not None:
        events += _report_events_without_call(*group, found)
        group = await anext(groups, None)
    return calls, events


def _statements(of_part: Statements, sample: Sample | None) -> tuple[str, str]:
    """The statements that read the calls and their events."""
    if sample is None:
        return of_part.calls, of_part.events
    numbers = sample._asdict()
    return of_part.sampled_calls.format(**numbers), of_part.sampled_events.format(**numbers)


def _prove_call(row: Any, event_rows: Sequence[Any], zone: Zone, found: Findings) -> None:
    """Compares a call's row with the fold of its events, field by field."""
    read = [_prove_event(event_row, found) for event_row in event_rows]
    events = [event for event in read if event is not None]
    if len(events) < len(read):
        return
    if row["laws"] < LAWS:
        found.older_laws += 1
        if row["version"] != len(events):
            must = {"version": len(events)}
            found.add(Difference("call", row[0], {"version": row["version"]}, must, row[1]))
        return
    call = fold(events)
    when = local_hour(call.created_at, zone.rules)
    expected = call_row(call, when)
    stored = tuple(row)
    if stored == expected:
        return
    off = [n for n in range(len(CALL_COLUMNS)) if stored[n] != expected[n]]
    if zone.placed_by_others and _is_misplaced(row, call.created_at, when):
        found.placed_by_other_rules[row[0]] += 1
        off = [n for n in off if CALL_COLUMNS[n] not in LocalHour._fields]
        if not off:
            return
    is_stored = {CALL_COLUMNS[n]: stored[n] for n in off}
    must_be = {CALL_COLUMNS[n]: expected[n] for n in off}
    found.add(Difference("call", row[0], is_stored, must_be, row[1]))


def _is_misplaced(row: Any, created_at: datetime, when: LocalHour) -> bool:
    """Whether other time-zone rules can explain the day and hour of a row. They place the same instant at
    most a day away."""
    stored = LocalHour(row["day"], row["hour"])
    return (
        stored != when
        and row["created_at"] == created_at
        and stored.hour is not None
        and abs(stored.day - when.day) <= timedelta(days=1)
    )


def _prove_event(row: Any, found: Findings) -> Event | None:
    """The event that a row stores. Where the row differs from its payload: None, and a difference is
    added."""
    organization_id, call_id, event_id, event_type, occurred_at, payload = row
    try:
        event = read_stored(payload)
    except InvalidEvent as error:
        must: Mapping[str, object] = {"payload": "an event"}
        found.add(Difference("event", organization_id, {"payload": str(error)}, must, call_id, event_id))
        return None
    if (
        event.id == event_id
        and event.timestamp == occurred_at
        and event.type == event_type
        and event.call_id == call_id
        and event.organization_id == organization_id
    ):
        return event
    is_stored = dict(zip(_EVENT_FIELDS, tuple(row), strict=False))
    must = {name: getattr(event, name) for name in _EVENT_FIELDS}
    found.add(Difference("event", organization_id, is_stored, must, call_id, event_id))
    return None


def _report_events_without_call(key: _Key, rows: Sequence[Any], found: Findings) -> int:
    must = {"events": 0}
    found.add(Difference("events without call", key[0], {"events": len(rows)}, must, key[1]))
    return len(rows)


async def _events_by_call(
    connection: Connection, statement: str, argument: object
) -> AsyncIterator[tuple[_Key, list[Any]]]:
    """The rows of each call's events, in the order of the calls' keys."""
    key: _Key | None = None
    group: list[Any] = []
    async for rows in chunks(connection, statement, argument, length_of=_payload_length):
        for row in rows:
            its_key = row[0], row[1]
            if its_key != key:
                if key is not None:
                    yield key, group
                key, group = its_key, []
            group.append(row)
    if key is not None:
        yield key, group


def _payload_length(row: Any) -> int:
    return len(row[-1])


def _transcript_length(row: Any) -> int:
    return len(row["transcript"] or "")
