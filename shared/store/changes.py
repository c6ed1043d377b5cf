"""Computes the changes of a batch of events: the calls folded again, and the resulting deltas. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
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
    """The store's data of an organization. `time_zone` is the name in its row."""

    time_zone: str
    retention_days: int | None = None

    @property
    def zone(self) -> ZoneInfo:
        return time_zone(self.time_zone)

    def kept_since(self, now: datetime | None) -> datetime | None:
        """The instant before which events are not kept at `now` (aware); None if all are kept."""
        if now is None or self.retention_days is None:
            return None
        return kept_since(now, self.zone, self.retention_days)


class Written(NamedTuple):
    """The state of a call's row that was read. A writer must have read the newest one to replace it."""

    version: int
    revision: int


class KnownCall(NamedTuple):
    """The stored state of one call. `row` is None if there is no row."""

    deleted: bool = False
    row: Written | None = None
    counted: Counted | None = None
    events: Mapping[str, str] = MappingProxyType({})
    """The payload of each stored event, by the event's id."""


class TouchedCall(NamedTuple):
    """A call with the events of it in a batch. Without events, the call is folded again."""

    key: CallKey
    arrived: Sequence[Event]
    known: KnownCall


class Refused(NamedTuple):
    """An event that is not stored but quarantined, and why."""

    event: Event
    reason: str


class CallChange(NamedTuple):
    """The changes of one call by a batch. Each arrived event is in `events`, `refused`, `conflicting` or
    `of_deleted_call`, is a duplicate, or is a generated end that other events overrule."""

    events: Sequence[Event] = ()
    """The new ones."""
    overruled: Sequence[Event] = ()
    refused: Sequence[Refused] = ()
    of_unknown_organization: bool = False
    """Whether this is why all of them are refused."""
    duplicates: int = 0
    conflicting: Sequence[Event] = ()
    of_deleted_call: Sequence[Event] = ()
    rewritten: Sequence[Event] = ()
    """Those that replace the stored event of the same id."""
    call: Call | None = None
    """The new state of the call; None if it does not change."""
    when: LocalHour | None = None
    """When `call` counts."""
    replaced: Written | None = None
    """The state of the row that `call` replaces; None for a new call."""
    before: Counted | None = None
    after: Counted | None = None


@dataclass(frozen=True)
class Changes:
    """The changes of one batch to the database."""

    organizations: Sequence[UUID]
    """The organizations to create."""
    events: Sequence[Event]
    overruled: Sequence[Event]
    """Stored generated ends that other events overrule. They are removed from their call's events."""
    new_calls: Sequence[tuple[Call, LocalHour]]
    changed_calls: Sequence[tuple[Call, LocalHour, Written]]
    """Each with the state of its row that it replaces."""
    time_zones: Mapping[UUID, str]
    """The time zones by which the days and hours were computed."""
    deltas: Mapping[Cell, Measures]
    refused: Sequence[Refused]
    of_unknown_organizations: int
    """The number of refused events whose organization does not exist."""
    duplicates: int
    conflicting: Sequence[Event]
    """Events with an id that their call already has, but with other content. They are not among the
    duplicates. The first event of an id is kept."""
    of_deleted_calls: Sequence[Event]
    rewritten: Sequence[Event]
    """Events that replace the stored event of the same id."""
    statuses: Mapping[str, int]
    """The number of calls that reached each status: new calls, and calls that had another status."""


CALL_EVENTS_MAX: Final = 10_000
"""The limit per call, because all of its events are read whenever another one arrives."""


def group(events: Iterable[Event]) -> dict[CallKey, list[Event]]:
    """Groups the events by call. All writers use the same order of calls, so that concurrent ones wait for
    each other and rarely deadlock."""
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
    replace: bool = False,
) -> Changes:
    """Computes the changes of these events as the sum of each call's changes. With `now` (aware), events
    older than their organization's retention at that time are refused. With `replace`, the last event of an
    id counts, and not the first."""
    owners = {id_: (one.zone, one.kept_since(now)) for id_, one in organizations.items()}
    each: list[CallChange] = []
    deltas = Deltas()
    new_calls: list[tuple[Call, LocalHour]] = []
    changed_calls: list[tuple[Call, LocalHour, Written]] = []
    strangers: set[UUID] = set()
    statuses: Counter[str] = Counter()
    for call in touched:
        zone, oldest = owners.get(call.key[0], (None, None))
        one = change_of(call, zone, oldest, create_organizations, replace)
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
        rewritten=[event for one in each for event in one.rewritten],
        statuses=statuses,
    )


def change_of(
    touched: TouchedCall,
    zone: ZoneInfo | None,
    oldest: datetime | None = None,
    create_organization: bool = True,
    replace: bool = False,
) -> CallChange:
    """Computes the changes of a call by its arrived events. `zone` is None if the organization does not
    exist. Events before `oldest` (aware) are refused. With `replace`, an arrived event replaces the stored
    one of the same id."""
    _, arrived, known = touched
    if known.deleted:  # also if its organization was deleted and no longer exists
        return CallChange(of_deleted_call=arrived)
    if arrived and known.row is None and _is_reserved(arrived[0]):
        return _refusal(arrived, "call_id: this UUID is reserved")
    if arrived and zone is None and not create_organization:
        reason = f"organization_id: there is no organization {arrived[0].organization_id}"
        return _refusal(arrived, reason)._replace(of_unknown_organization=True)
    if replace:
        arrived = list({event.id: event for event in arrived}.values())
    fresh, refused, repeated = _sift(arrived, known.events, oldest)
    conflicting: Sequence[Event] = ()
    if repeated:
        conflicting = [event for event, payload in repeated if _differ(event.payload, payload)]
    duplicates = len(repeated) - len(conflicting)
    rewritten: Sequence[Event] = ()
    if replace:
        rewritten, conflicting = conflicting, ()
    if arrived and not fresh and not rewritten:
        return CallChange(refused=refused, duplicates=duplicates, conflicting=conflicting)
    gone_ids = {event.id for event in rewritten}
    stored = [read_stored(payload) for id_, payload in known.events.items() if id_ not in gone_ids]
    events = [*stored, *fresh, *rewritten]
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
        rewritten,
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
    """Returns the events that are new to their call, the refused ones, and those whose id the call already
    has, each with the payload of the first event of that id. `stored` maps ids to payloads."""
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
        reason = f"the call has {CALL_EVENTS_MAX:,} events already, which is the limit"
        refused += [Refused(event, reason) for event in fresh[room:]]
        fresh = fresh[:room]
    return fresh, refused, repeated


def _is_reserved(event: Event) -> bool:
    """Whether an event's call id is reserved for another purpose in the tables."""
    return event.call_id.bytes in _reserved(event.organization_id)


@lru_cache(maxsize=10_000)
def _reserved(organization_id: UUID) -> tuple[bytes, bytes]:
    return bytes(16), organization_tombstone(organization_id).bytes


def _differ(payload: str, other: str) -> bool:
    """Whether two payloads differ in content and not only in notation."""
    return payload != other and _content(payload) != _content(other)


def _content(payload: str) -> object:
    """A payload's content; the payload itself if it has numbers that no reader accepts."""
    try:
        return _decode(payload)
    except DecodeError:
        return payload


_decode: Final = Decoder(float_hook=number).decode
