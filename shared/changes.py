"""What a batch of events changes: the calls folded anew, and the deltas that follow. Pure."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from aiokafka import ConsumerRecord as Record
from msgspec import DecodeError
from msgspec.json import Decoder

from shared.count import Cell, Counted, Deltas, LocalHour, Measures, counted_at, local_hour
from shared.event import Event, number, read_stored
from shared.fold import Call, fold, overruled_ends
from shared.retention import kept_since
from shared.tombstone import organization_tombstone
from shared.zones import UTC, time_zone

CallKey = tuple[UUID, UUID]
"""Organization and call."""
Arrival = tuple[Record, Event]
"""An event and the record it came in."""


class Organization(NamedTuple):
    """What the store must know of an organization; `time_zone` is the name as it is written there."""

    time_zone: str
    retention_days: int | None = None

    @property
    def zone(self) -> ZoneInfo:
        return time_zone(self.time_zone)


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
    """A call that a batch brings events of."""

    arrived: Sequence[Event]
    known: KnownCall


class Refused(NamedTuple):
    """An event that is not stored but quarantined, and why."""

    event: Event
    reason: str


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


def group(arrivals: Sequence[Arrival]) -> dict[CallKey, list[Event]]:
    """The events by call, in one order of calls for all owners: two that meet wait for each other, and
    seldom in a circle."""
    by_call: defaultdict[CallKey, list[Event]] = defaultdict(list)
    for _, event in arrivals:
        by_call[event.organization_id, event.call_id].append(event)
    return {key: by_call[key] for key in sorted(by_call)}


def changes(
    touched: Sequence[TouchedCall],
    organizations: Mapping[UUID, Organization],
    *,
    now: datetime | None = None,
    create_organizations: bool = True,
) -> Changes:
    """What these events change. Pure. With `now` (aware), events older than is kept then are refused. A call
    for which nothing arrives is folded anew from what is stored of it."""
    events: list[Event] = []
    new_calls: list[tuple[Call, LocalHour]] = []
    changed_calls: list[tuple[Call, LocalHour, Written]] = []
    refused: list[Refused] = []
    of_deleted_calls: list[Event] = []
    strangers: set[UUID] = set()
    zones = {organization_id: it.zone for organization_id, it in organizations.items()}
    oldest = {
        organization_id: kept_since(now, zones[organization_id], it.retention_days)
        for organization_id, it in organizations.items()
        if now is not None and it.retention_days is not None
    }
    statuses: Counter[str] = Counter()
    deltas = Deltas()
    overruled: list[Event] = []
    conflicting: list[Event] = []
    duplicates = of_unknown_organizations = 0
    for arrived, known in touched:
        if known.deleted:  # also a call of an organization that was deleted, and is unknown
            of_deleted_calls += arrived
            continue
        if arrived and known.row is None and _is_reserved(arrived[0]):
            refused += [Refused(event, "call_id: this UUID is reserved") for event in arrived]
            continue
        if arrived and not create_organizations and arrived[0].organization_id not in zones:
            reason = f"organization_id: there is no organization {arrived[0].organization_id}"
            refused += [Refused(event, reason) for event in arrived]
            of_unknown_organizations += len(arrived)
            continue
        unknown = [event for event in arrived if event.id not in known.events]
        repeated: list[tuple[Event, str]] = []
        if len(unknown) < len(arrived):
            repeated += [(event, known.events[event.id]) for event in arrived if event.id in known.events]
        if unknown and unknown[0].organization_id in oldest:
            since = oldest[unknown[0].organization_id]
            reason = f"timestamp: lies before {since.isoformat()}, and older events are not kept"
            refused += [Refused(event, reason) for event in unknown if event.timestamp < since]
            unknown = [event for event in unknown if event.timestamp >= since]
        # Only now: what is refused must not pass for the first of its id, and take the next with it.
        fresh = unknown
        if len({event.id for event in unknown}) < len(unknown):
            first: dict[str, Event] = {}
            for event in unknown:
                if event.id in first:
                    repeated.append((event, first[event.id].payload))
                else:
                    first[event.id] = event
            fresh = list(first.values())
        if repeated:
            others = [event for event, payload in repeated if _differ(event.payload, payload)]
            conflicting += others
            duplicates += len(repeated) - len(others)
        room = max(CALL_EVENTS_MAX - len(known.events), 0)
        if len(fresh) > room:
            reason = f"the call has {CALL_EVENTS_MAX:,} events already, the most that a call may have"
            refused += [Refused(event, reason) for event in fresh[room:]]
            fresh = fresh[:room]
        if arrived and not fresh:
            continue
        stored = [*map(read_stored, known.events.values())]
        if gone := overruled_ends([*stored, *fresh]):
            overruled += [event for event in gone if event in stored]
            stored = [event for event in stored if event not in gone]
            fresh = [event for event in fresh if event not in gone]
        call = fold([*stored, *fresh])
        zone = zones.get(call.organization_id)
        if zone is None:
            strangers.add(call.organization_id)
        when = local_hour(call.created_at, zone or UTC)
        counts = counted_at(call, when)
        if known.row is None or known.counted is None:
            new_calls.append((call, when))
        else:
            changed_calls.append((call, when, known.row))
            deltas.take(known.counted)
        if known.counted is None or known.counted.cell.status != call.status:
            statuses[call.status] += 1
        deltas.add(counts)
        events += fresh
    return Changes(
        organizations=sorted(strangers),
        events=events,
        overruled=overruled,
        new_calls=new_calls,
        changed_calls=changed_calls,
        time_zones={id_: it.time_zone for id_, it in organizations.items()},
        deltas=deltas.changes(),
        refused=refused,
        of_unknown_organizations=of_unknown_organizations,
        duplicates=duplicates,
        conflicting=conflicting,
        of_deleted_calls=of_deleted_calls,
        statuses=statuses,
    )


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
