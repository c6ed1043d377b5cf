"""What a batch of events changes: the calls folded anew, and the deltas that follow. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from msgspec import DecodeError
from msgspec.json import Decoder

from shared.calls.event import Event, number, read_stored
from shared.calls.fold import Call, fold, overruled_ends
from shared.calls.local_time import LocalHour, local_hour
from shared.calls.organization_tombstone import organization_tombstone
from shared.calls.retention import kept_since
from shared.calls.zones import UTC, time_zone
from shared.counts.cell import Cell, Counted, Measures, counted_at
from shared.counts.deltas import Deltas

CallKey = tuple[UUID, UUID]
"""Organization and call."""


class Organization(NamedTuple):
    """What the store must know of an organization; `time_zone` is the name as it is written there."""

    time_zone: str
    retention_days: int | None = None

    @property
    def zone(self) -> ZoneInfo:
        return time_zone(self.time_zone)

    def kept_since(self, now: datetime | None) -> datetime | None:
        """Before which time events are not kept at `now` (aware); None where all are."""
        if now is None or self.retention_days is None:
            return None
        return kept_since(now, self.zone, self.retention_days)


class Written(NamedTuple):
    """Which state of a call's row was read: who replaces it must have read the newest."""

    version: int
    revision: int


class KnownCall(NamedTuple):
    """What the database has of one call; `row` is None when it has none."""

    deleted: bool = False
    row: Written | None = None
    counted: Counted | None = None
    events: Mapping[str, str] = MappingProxyType({})
    """The payload of each stored event, by the event's id."""


class TouchedCall(NamedTuple):
    """A call that a batch brings events of; without events, one that is folded again."""

    key: CallKey
    arrived: Sequence[Event]
    known: KnownCall


class Refused(NamedTuple):
    """An event that is not stored but quarantined, and why."""

    event: Event
    reason: str


class CallChange(NamedTuple):
    """What a batch changes of one call. Each event that arrived is in `events`, `refused`, `conflicting` or
    `of_deleted_call`, is a duplicate, or is an end that callfold made up and that other events overrule."""

    events: Sequence[Event] = ()
    """The new ones."""
    overruled: Sequence[Event] = ()
    refused: Sequence[Refused] = ()
    of_unknown_organization: bool = False
    """Why all of them are refused."""
    duplicates: int = 0
    conflicting: Sequence[Event] = ()
    of_deleted_call: Sequence[Event] = ()
    call: Call | None = None
    """What the call is now; None where it stays as it is."""
    when: LocalHour | None = None
    """When `call` counts."""
    replaced: Written | None = None
    """The state of the row that `call` replaces; None for a new call."""
    before: Counted | None = None
    after: Counted | None = None


@dataclass(frozen=True)
class Changes:
    """What one batch does to the database."""

    organizations: Sequence[UUID]
    """The ones that nobody created."""
    events: Sequence[Event]
    overruled: Sequence[Event]
    """Stored ends that callfold made up and that other events overrule: they leave their call's events."""
    new_calls: Sequence[tuple[Call, LocalHour]]
    changed_calls: Sequence[tuple[Call, LocalHour, Written]]
    """Each with the state of its row that it replaces."""
    time_zones: Mapping[UUID, str]
    """By which the days and hours were found."""
    deltas: Mapping[Cell, Measures]
    refused: Sequence[Refused]
    of_unknown_organizations: int
    """How many of the refused."""
    duplicates: int
    conflicting: Sequence[Event]
    """Not among the duplicates: events with an id that their call already has, and with other content. The
    first of an id is kept, whatever a later one says."""
    of_deleted_calls: Sequence[Event]
    statuses: Mapping[str, int]
    """How many calls came to each status: new ones, and those that had another."""


CALL_EVENTS_MAX: Final = 10_000
"""What a call may have: all of its events are read each time one more comes."""


def group(events: Iterable[Event]) -> dict[CallKey, list[Event]]:
    """The events by call, in one order of calls for all owners: two that meet wait for each other, and
    seldom in a circle."""
    by_call: defaultdict[CallKey, list[Event]] = defaultdict(list)
    for event in events:
        by_call[event.organization_id, event.call_id].append(event)
    return {key: by_call[key] for key in sorted(by_call)}


def changes(
    touched: Sequence[TouchedCall],
    organizations: Mapping[UUID, Organization],
    *,
    now: datetime | None = None,
    create_organizations: bool = True,
) -> Changes:
    """What these events change: the sum of what they change of each call. With `now` (aware), events older
    than their organization keeps at that time are refused."""
    owners = {id_: (one.zone, one.kept_since(now)) for id_, one in organizations.items()}
    each: list[CallChange] = []
    deltas = Deltas()
    new_calls: list[tuple[Call, LocalHour]] = []
    changed_calls: list[tuple[Call, LocalHour, Written]] = []
    strangers: set[UUID] = set()
    statuses: Counter[str] = Counter()
    for call in touched:
        zone, oldest = owners.get(call.key[0], (None, None))
        one = change_of(call, zone, oldest, create_organizations)
        each.append(one)
        if one.call is None or one.when is None or one.after is None:
            continue
        if zone is None:
            strangers.add(call.key[0])
        if one.replaced is None:
            new_calls.append((one.call, one.when))
        else:
            changed_calls.append((one.call, one.when, one.replaced))
        if one.before is not None:
            deltas.take(one.before)
        deltas.add(one.after)
        if one.before is None or one.before.cell.status != one.call.status:
            statuses[one.call.status] += 1
    return Changes(
        organizations=sorted(strangers),
        events=[event for one in each for event in one.events],
        overruled=[event for one in each for event in one.overruled],
        new_calls=new_calls,
        changed_calls=changed_calls,
        time_zones={organization_id: it.time_zone for organization_id, it in organizations.items()},
        deltas=deltas.changes(),
        refused=[refused for one in each for refused in one.refused],
        of_unknown_organizations=sum(len(one.refused) for one in each if one.of_unknown_organization),
        duplicates=sum(one.duplicates for one in each),
        conflicting=[event for one in each for event in one.conflicting],
        of_deleted_calls=[event for one in each for event in one.of_deleted_call],
        statuses=statuses,
    )


def change_of(
    touched: TouchedCall,
    zone: ZoneInfo | None,
    oldest: datetime | None = None,
    create_organization: bool = True,
) -> CallChange:
    """What the events that arrived change of their call. `zone` is None where nobody created the
    organization. Events before `oldest` (aware) are refused."""
    _, arrived, known = touched
    if known.deleted:  # also a call of an organization that was deleted, and is unknown
        return CallChange(of_deleted_call=arrived)
    if arrived and known.row is None and _is_reserved(arrived[0]):
        return _refusal(arrived, "call_id: this UUID is reserved")
    if arrived and zone is None and not create_organization:
        reason = f"organization_id: there is no organization {arrived[0].organization_id}"
        return _refusal(arrived, reason)._replace(of_unknown_organization=True)
    fresh, refused, repeated = _sift(arrived, known.events, oldest)
    conflicting: Sequence[Event] = ()
    if repeated:
        conflicting = [event for event, payload in repeated if _differ(event.payload, payload)]
    duplicates = len(repeated) - len(conflicting)
    if arrived and not fresh:
        return CallChange(refused=refused, duplicates=duplicates, conflicting=conflicting)
    stored = [*map(read_stored, known.events.values())]
    events = [*stored, *fresh]
    overruled: Sequence[Event] = ()
    if gone := overruled_ends(events):
        overruled = [event for event in gone if event in stored]
        fresh = [event for event in fresh if event not in gone]
        events = [event for event in events if event not in gone]
    call = fold(events)
    when = local_hour(call.created_at, zone or UTC)
    return CallChange(
        fresh,
        overruled,
        refused,
        False,
        duplicates,
        conflicting,
        (),
        call,
        when,
        None if known.counted is None else known.row,
        known.counted,
        counted_at(call, when),
    )


def _refusal(arrived: Sequence[Event], reason: str) -> CallChange:
    return CallChange(refused=[Refused(event, reason) for event in arrived])


def _sift(
    arrived: Sequence[Event], stored: Mapping[str, str], oldest: datetime | None
) -> tuple[Sequence[Event], Sequence[Refused], Sequence[tuple[Event, str]]]:
    """The events that are new to their call, those that are refused, and those whose id the call has already,
    each with the payload of the first event of that id. `stored` are the payloads by id."""
    fresh = arrived
    repeated: list[tuple[Event, str]] = []
    refused: list[Refused] = []
    if stored:
        fresh = [event for event in arrived if event.id not in stored]
        repeated = [(event, stored[event.id]) for event in arrived if event.id in stored]
    if oldest is not None:
        reason = f"timestamp: is before {oldest.isoformat()}; older events are not kept"
        refused += [Refused(event, reason) for event in fresh if event.timestamp < oldest]
        fresh = [event for event in fresh if event.timestamp >= oldest]
    # A refused event must not count as the first of its id, or the next one would be dropped as a duplicate.
    if len({event.id for event in fresh}) < len(fresh):
        first: dict[str, Event] = {}
        for event in fresh:
            if event.id in first:
                repeated.append((event, first[event.id].payload))
            else:
                first[event.id] = event
        fresh = list(first.values())
    if len(fresh) + len(stored) > CALL_EVENTS_MAX:
        room = max(CALL_EVENTS_MAX - len(stored), 0)
        reason = f"the call has {CALL_EVENTS_MAX:,} events already, the most that a call may have"
        refused += [Refused(event, reason) for event in fresh[room:]]
        fresh = fresh[:room]
    return fresh, refused, repeated


def _is_reserved(event: Event) -> bool:
    """Whether an event names its call by an id that stands for something else in the tables."""
    return event.call_id.int == 0 or event.call_id == organization_tombstone(event.organization_id)


def _differ(payload: str, other: str) -> bool:
    """Whether two payloads say different things, however they are written."""
    return payload != other and _content(payload) != _content(other)


def _content(payload: str) -> object:
    """What a payload says; itself where it has numbers that no reader takes."""
    try:
        return _decode(payload)
    except DecodeError:
        return payload


_decode: Final = Decoder(float_hook=number).decode
