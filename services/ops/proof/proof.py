"""The proof: in one snapshot of a live system, the counts are a recount of the calls, and every call is the
fold of its events.

One REPEATABLE READ, READ ONLY transaction sees one state of the database, whatever ingest, aggregator and
deletes do meanwhile; it takes no lock that they wait for. Calls and events are streamed side by side in the
order of their keys, so memory does not depend on how many there are.
"""

import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from services.ops.proof import statements as statements
from shared.calls.event import Event, InvalidEvent, read_stored
from shared.calls.fold import LAWS, fold
from shared.calls.local_time import LocalHour, local_hour
from shared.calls.named_call import named_call
from shared.calls.zones import UTC, find_time_zone, has_other_rules
from shared.counts.cell import CALL_COLUMNS, NO_PHONE_NUMBER, PACKED_DIGITS, Cell, Measures, call_row
from shared.counts.packed import unpack
from shared.database.connection import Connection, connect
from shared.store.quarantine import read_deleted

DIFFERENCES_KEPT: Final = 10_000
CHUNK_ROWS: Final = 5_000
CHUNK_BYTES: Final = 8 * 1024 * 1024
STATEMENT_SECONDS: Final = 6 * 3600
_EVENT_FIELDS: Final = ("organization_id", "call_id", "id", "type", "timestamp")
_NUMBERS: Final[Mapping[object, str]] = {NO_PHONE_NUMBER: "no phone number", None: "all phone numbers"}
_NOT_LEFT: Final[Mapping[str, object]] = {"calls": 0, "events": 0, "quarantined records": 0}
"""What may be left of a deleted call."""
_Key = tuple[UUID, UUID]

Kind = Literal[
    "cell", "call", "event", "call without events", "events without call", "tombstone", "organization"
]
Sample = tuple[float, float] | None
"""Of the calls so many per cent, by this seed; None: all of them."""
Progress = Callable[[int, int | None], None]
"""Told how many calls are proved, and about how many there are, where that is known."""


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it must be: what the tables say, and what they should."""

    kind: Kind
    organization_id: UUID
    stored: Mapping[str, object]
    expected: Mapping[str, object]
    call_id: UUID | None = None
    event_id: str | None = None
    cell: Mapping[str, object] | None = None

    def __str__(self) -> str:
        if self.kind == "organization":
            return f"organization {self.organization_id}: {self._sides()}"
        if self.cell is not None:
            _, livemode, day, direction, phone_number_id, status = self.cell.values()
            mode = "live" if livemode else "test"
            number = _NUMBERS.get(phone_number_id, phone_number_id)
            subject = f"cell {day} {mode} {direction} {number} {status}"
        elif self.kind == "event":
            subject = f"event {self.event_id} of call {self.call_id}"
        elif self.kind == "tombstone":
            subject = f"deleted call {self.call_id}"
        else:
            subject = f"call {self.call_id}"
        return f"{subject} of organization {self.organization_id}: {self._sides()}"

    def _sides(self) -> str:
        return ", ".join(
            f"{name} is {self.stored.get(name)!s}, must be {must!s}"
            for name, must in self.expected.items()
            if self.stored.get(name) != must
        )


@dataclass(frozen=True)
class Proof:
    """What was proved at which snapshot. Of very many differences only the first are kept: those of calls and
    their events, then those of cells, which follow from them more often than not."""

    snapshot: datetime
    cells: int
    calls: int
    events: int
    deltas: int
    tombstones: int
    differences: tuple[Difference, ...]
    differences_found: int
    sampled: bool = False
    """Whether only some of the calls were proved, and events without a call not looked for."""
    folded_by_older_laws: int = 0
    """Calls that an older version folded, and that `refold` has yet to fold by the present laws. Their counts
    are proved, their fields are not: they are not among the differences."""
    placed_by_other_rules: Mapping[UUID, int] = field(default_factory=dict)
    """By organization: calls that are right, but whose day or hour other time-zone rules gave. No difference
    is one of these."""

    @property
    def exact(self) -> bool:
        """Whether all of what was looked at is proved."""
        return (
            self.differences_found == 0 and not self.folded_by_older_laws and not self.placed_by_other_rules
        )

    def first_differences(self, count: int) -> Sequence[Difference]:
        """So many of them at most, some of both sorts where there are both."""
        cells = [one for one in self.differences if one.kind == "cell"]
        return _some_of_both(self.differences[: len(self.differences) - len(cells)], cells, count)


async def prove(
    database_url: str, organization_id: UUID | None = None, progress: Progress | None = None
) -> Proof:
    """Proves a database, or one organization of it. Raises asyncpg's errors and OSError."""
    connection = await connect(database_url, application_name="callfold-verify")
    try:
        return await prove_connection(connection, organization_id, progress)
    finally:
        await connection.close(timeout=5)


async def prove_connection(
    connection: Connection,
    organization_id: UUID | None = None,
    progress: Progress | None = None,
    *,
    sample_calls: int | None = None,
) -> Proof:
    """Proves over a connection that is in no transaction: every cell, and every call, or about so many calls
    chosen at random."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(statements.PLAN_FOR_THE_WHOLE)
        found = _Findings()
        about: Any = await connection.fetchrow(
            statements.SNAPSHOT, organization_id, timeout=STATEMENT_SECONDS
        )
        snapshot, deltas, tombstones, calls_expected = about
        zones = await _zones(connection, organization_id, found)
        cells = await _prove_cells(connection, organization_id, found)
        await _prove_tombstones(connection, organization_id, found)
        told = progress or (lambda _proved, _expected: None)
        expected = calls_expected if organization_id is None and calls_expected > 0 else None
        sample = None
        if sample_calls is not None:
            there = await connection.fetchval(
                statements.CALLS_COUNT, organization_id, timeout=STATEMENT_SECONDS
            )
            expected = min(sample_calls, there)
            sample = min(100.0, 100 * sample_calls / max(there, 1)), random.random()  # noqa: S311
        calls, events = await _prove_calls(
            connection, organization_id, sample, zones, found, lambda proved: told(proved, expected)
        )
    return Proof(
        snapshot,
        cells,
        calls,
        events,
        deltas,
        tombstones,
        found.kept(),
        found.count,
        sample is not None,
        folded_by_older_laws=found.older_laws,
        placed_by_other_rules=found.placed_by_other_rules,
    )


@dataclass
class _Findings:
    """The differences: all counted, the first kept, so that a wrecked database does not fill the memory."""

    cells: list[Difference] = field(default_factory=list)
    others: list[Difference] = field(default_factory=list)
    count: int = 0
    older_laws: int = 0
    placed_by_other_rules: Counter[UUID] = field(default_factory=Counter)

    def add(self, difference: Difference) -> None:
        self.count += 1
        of_its_sort = self.cells if difference.kind == "cell" else self.others
        if len(of_its_sort) < DIFFERENCES_KEPT:
            of_its_sort.append(difference)

    def kept(self) -> tuple[Difference, ...]:
        return tuple(_some_of_both(self.others, self.cells, DIFFERENCES_KEPT))


def _some_of_both(
    first: Sequence[Difference], second: Sequence[Difference], count: int
) -> Sequence[Difference]:
    """So many at most, half of them of each where both have more."""
    from_first = min(len(first), max(count - len(second), count - count // 2))
    return [*first[:from_first], *second[: count - from_first]]


class _Zone(NamedTuple):
    """An organization's time zone, and whether its calls were last placed by other rules for it."""

    rules: ZoneInfo
    placed_by_others: bool


_NO_ORGANIZATION: Final = _Zone(UTC, placed_by_others=False)


async def _zones(connection: Connection, organization_id: UUID | None, found: _Findings) -> dict[UUID, _Zone]:
    """The time zone of each organization."""
    zones: dict[UUID, _Zone] = {}
    rows = await connection.fetch(statements.ZONES, organization_id, timeout=STATEMENT_SECONDS)
    for some_id, name, recorded in rows:
        zone = find_time_zone(name)
        if zone is None:
            must = {"time_zone": "an IANA name"}
            found.add(Difference("organization", some_id, {"time_zone": name}, must))
        zones[some_id] = _Zone(zone or UTC, has_other_rules(name, recorded))
    return zones


async def _prove_cells(connection: Connection, organization_id: UUID | None, found: _Findings) -> int:
    """Counts plus deltas, and totals plus deltas, against a recount of the calls, in one statement. Returns
    how many cells there are; a total is a cell of no phone number id in what is found."""
    cells = 0
    width, measures = len(Cell._fields), len(Measures._fields)
    async for rows in _chunks(connection, statements.CELLS, organization_id):
        for row in rows:
            cells, off = row[0], tuple(row[1:])
            if off[0] is None:
                continue  # the one row of a whole without a difference
            cell = dict(zip(Cell._fields, off, strict=False))
            stored = _readable(off[width : width + measures])
            expected = _readable(off[width + measures :])
            found.add(Difference("cell", off[0], stored, expected, cell=cell))
    return cells


def _readable(measures: Sequence[Any]) -> dict[str, object]:
    """The measures by name, packed ones taken apart: what is counted in each of their groups that has any. A
    column that holds no number (`NaN`, `Infinity`) is given as its text."""
    named: dict[str, object] = dict(zip(Measures._fields, measures, strict=True))
    for name, measure in zip(Measures._fields, measures, strict=True):
        if isinstance(measure, Decimal) and not measure.is_finite():
            named[name] = str(measure)
        elif name in PACKED_DIGITS:
            counts = unpack(measure, PACKED_DIGITS[name])
            named[name] = {group: count for group, count in enumerate(counts) if count}
    return named


async def _prove_tombstones(connection: Connection, organization_id: UUID | None, found: _Findings) -> None:
    """Of a deleted call nothing is left: no row, no event, and no quarantined record with its content."""
    async for rows in _chunks(connection, statements.TOMBSTONES_WITH_CALLS, organization_id):
        for owner, call_id, *counts in rows:
            stored = dict(zip(_NOT_LEFT, counts, strict=True))
            found.add(Difference("tombstone", owner, stored, _NOT_LEFT, call_id))
    statement = statements.QUARANTINED_OF_UNKNOWN_CALLS
    async for rows in _chunks(connection, statement, organization_id, length_of=_value_length):
        for _, key, value in rows:
            for owner, call_id in sorted(await read_deleted(connection, named_call(key, value).tombstones)):
                if organization_id in (None, owner):
                    left = {"quarantined records": 1}
                    found.add(Difference("tombstone", owner, left, {"quarantined records": 0}, call_id))


async def _prove_calls(
    connection: Connection,
    organization_id: UUID | None,
    sample: Sample,
    zones: Mapping[UUID, _Zone],
    found: _Findings,
    proved: Callable[[int], None],
) -> tuple[int, int]:
    """Merges the calls, or a sample of them, with their events, both in the order of their keys. Returns how
    many of each."""
    arguments = organization_id, *(sample or ())
    calls_statement = statements.CALLS if sample is None else statements.SAMPLED_CALLS
    calls = events = 0
    strangers: set[UUID] = set()
    groups = _events_by_call(connection, sample is not None, arguments)
    group = await anext(groups, None)
    async for rows in _chunks(connection, calls_statement, *arguments, length_of=_transcript_length):
        for row in rows:
            key = row[0], row[1]
            while group is not None and group[0] < key:
                events += _report_events_without_call(*group, found)
                group = await anext(groups, None)
            zone = zones.get(key[0])
            if zone is None and key[0] not in strangers:
                strangers.add(key[0])
                must = {"row": "there, as its calls are"}
                found.add(Difference("organization", key[0], {"row": "missing"}, must))
            if group is not None and group[0] == key:
                events += len(group[1])
                _prove_call(row, group[1], zone or _NO_ORGANIZATION, found)
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


def _prove_call(row: Any, event_rows: Sequence[Any], zone: _Zone, found: _Findings) -> None:
    """A call's row against the fold of its events, field by field."""
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
    """Whether a row has a day or hour that other rules for the same instant can have given it: they differ by
    hours, and by a day at most."""
    stored = LocalHour(row["day"], row["hour"])
    return (
        stored != when
        and row["created_at"] == created_at
        and stored.hour is not None
        and abs(stored.day - when.day) <= timedelta(days=1)
    )


def _prove_event(row: Any, found: _Findings) -> Event | None:
    """The event that a row stores; None, and a difference, where the row is not what its payload says."""
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


def _report_events_without_call(key: _Key, rows: Sequence[Any], found: _Findings) -> int:
    must = {"events": 0}
    found.add(Difference("events without call", key[0], {"events": len(rows)}, must, key[1]))
    return len(rows)


async def _events_by_call(
    connection: Connection, sampled: bool, arguments: Sequence[object]
) -> AsyncIterator[tuple[_Key, list[Any]]]:
    """The rows of each call's events, in the order of the calls' keys."""
    key: _Key | None = None
    group: list[Any] = []
    statement = statements.SAMPLED_EVENTS if sampled else statements.EVENTS
    async for rows in _chunks(connection, statement, *arguments, length_of=_payload_length):
        for row in rows:
            its_key = row[0], row[1]
            if its_key != key:
                if key is not None:
                    yield key, group
                key, group = its_key, []
            group.append(row)
    if key is not None:
        yield key, group


async def _chunks(
    connection: Connection,
    statement: str,
    *arguments: object,
    length_of: Callable[[Any], int] = lambda _row: 0,
) -> AsyncIterator[list[Any]]:
    """The rows of a statement, through a cursor on the server: fewer at once, the longer they are."""
    # Without a name: one that stays behind in a pooler's session would be in the next proof's way.
    prepared = await connection.prepare(statement, name="", timeout=STATEMENT_SECONDS)
    cursor = await prepared.cursor(*arguments, timeout=STATEMENT_SECONDS)
    count = CHUNK_ROWS // 10
    while rows := await cursor.fetch(count, timeout=STATEMENT_SECONDS):
        yield rows
        length = sum(map(length_of, rows)) // len(rows) + 1
        count = max(min(CHUNK_ROWS, CHUNK_BYTES // length), 8)


def _payload_length(row: Any) -> int:
    return len(row[-1])


def _value_length(row: Any) -> int:
    return len(row["value"] or b"")


def _transcript_length(row: Any) -> int:
    return len(row["transcript"] or "")
