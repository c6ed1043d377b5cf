"""Deliveries: sorts the records of sources into events, records that wait for another one, and bad records.

A record of the topic of deliveries names its source in a header. A record of any other topic belongs to the
source that has this topic.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from aiokafka import ConsumerRecord as Record

from services.ingest.arrivals import SLICE_RECORDS, Arrival, Numbers, Sorted, Unplaced
from shared.calls.event import Event, InvalidEvent, call_uuid, read
from shared.calls.named_call import NamedCall
from shared.dialects.registry import DIALECTS
from shared.sources.delivery import Delivery
from shared.sources.delivery_record import SOURCE, delivery_of, request_of, source_of
from shared.sources.outcome import Fact, Quarantined
from shared.sources.translate import Fault, Placed, event_json, translate
from shared.store.quarantine import BadRecord, produced_at
from shared.store.sources import CallOfSource, KnownSources, StoredSource

WAITS: Final = "no delivery has named the organization of this call yet"
SEVERAL: Final = "deliveries have named several organizations for this call"


class _Translated(NamedTuple):
    """A record with its source and its facts."""

    record: Record
    stored: StoredSource
    facts: Sequence[Placed]
    faults: Sequence[Fault]


async def sort_deliveries(
    records: Sequence[Record], known: KnownSources, now: datetime, deliveries_topic: str
) -> Sorted:
    """Sorts records at a time (aware) by these sources. Between slices it yields to the batch being
    stored."""
    found = Sorted(numbers=known.numbers)
    for start in range(0, len(records), SLICE_RECORDS):
        for record in records[start : start + SLICE_RECORDS]:
            _sort(record, known, now, deliveries_topic, found)
        await asyncio.sleep(0)
    return found


def _sort(record: Record, known: KnownSources, now: datetime, deliveries_topic: str, found: Sorted) -> None:
    """Adds the content of one record."""
    is_request = record.topic == deliveries_topic
    if record.value is None and not is_request:
        found.no_value += 1
        return
    stored: StoredSource | None = None
    try:
        stored = _source(record, known, is_request)
        translated = _translated(record, stored, is_request)
    except Quarantined as reason:
        source_id = stored.source.id if stored is not None else None
        found.bad_records.append(BadRecord(record, str(reason), source_id=source_id or NO_SOURCE))
        return
    if not translated.facts and not translated.faults:
        found.ignored += 1
        return
    faults = list(translated.faults)
    calls: set[UUID] = set()
    for placed in translated.facts:
        fact, organization_id = placed.fact, placed.organization
        if organization_id is None:
            found.unplaced.append(Unplaced(record, stored.source.id, fact))
            continue
        calls.add(call_uuid(organization_id, fact.call_id))
        try:
            event = event_of(fact, organization_id, known.numbers, now)
        except InvalidEvent as error:
            faults.append(Fault(placed.element, str(error)))
            continue
        found.arrivals.append((record, event))
        if stored.source.organization is None:
            found.named.add((organization_id, stored.source.id, fact.call_id))
    if faults:
        found.bad_records.append(_bad(translated, faults, calls))


NO_SOURCE: Final = UUID(int=0)
"""Stands for the source of a delivery whose source is unknown."""


def unknown_sources(records: Sequence[Record], known: KnownSources, deliveries_topic: str) -> bool:
    """Whether a record has a source that is not among these."""
    for record in records:
        try:
            _source(record, known, record.topic == deliveries_topic)
        except Quarantined:
            return True
    return False


def give_organizations(
    unplaced: Sequence[Unplaced],
    known: Mapping[CallOfSource, set[UUID]],
    numbers: Numbers,
    now: datetime,
) -> tuple[list[Arrival], list[BadRecord]]:
    """Gives facts the organization that `known` has for their call. A record with a fact whose call has no
    organization, or several, waits in the quarantine."""
    arrivals: list[Arrival] = []
    waiting: dict[int, BadRecord] = {}
    for record, source_id, fact in unplaced:
        organizations = known.get((source_id, fact.call_id), set())
        if len(organizations) == 1:
            (organization_id,) = organizations
            try:
                arrivals.append((record, event_of(fact, organization_id, numbers, now)))
            except InvalidEvent as error:
                calls = NamedCall(
                    frozenset({organization_id}), frozenset({call_uuid(organization_id, fact.call_id)})
                )
                waiting[id(record)] = BadRecord(
                    record, str(error), error.rule, source_id=source_id, calls=calls
                )
            continue
        reason = SEVERAL if organizations else WAITS
        waiting[id(record)] = BadRecord(record, reason, source_id=source_id, waits_for=fact.call_id)
    return arrivals, list(waiting.values())


def event_of(fact: Fact, organization_id: UUID, numbers: Numbers, now: datetime) -> Event:
    """The event of a fact, with the ids of the organization's numbers. Raises InvalidEvent."""
    also = _of_numbers(fact, organization_id, numbers) if numbers else None
    return read(event_json(fact, organization_id, also), now)


def _of_numbers(fact: Fact, organization_id: UUID, numbers: Numbers) -> dict[str, Any] | None:
    """The direction and the number's id, as far as the organization's own numbers give them. A call between
    two own numbers has no direction."""
    to_id = numbers.get((organization_id, fact.data.get("to_number") or ""))
    from_id = numbers.get((organization_id, fact.data.get("from_number") or ""))
    direction = fact.data.get("direction")
    if direction is None and (to_id is None) != (from_id is None):
        direction = "inbound" if to_id is not None else "outbound"
    own = to_id if direction == "inbound" else from_id if direction == "outbound" else None
    if own is None:
        return None
    return {"direction": direction, "phone_number_id": str(own)}


def _source(record: Record, known: KnownSources, is_request: bool) -> StoredSource:
    if is_request:
        stored = known.by_id.get(source_of(record.headers))
        if stored is None:
            raise Quarantined(f"The header {SOURCE} names no source.")
        return stored
    stored = known.by_topic.get(record.topic)
    if stored is None:
        raise Quarantined(f"No source has the topic {record.topic}.")
    return stored


def _translated(record: Record, stored: StoredSource, is_request: bool) -> _Translated:
    dialect = DIALECTS.get(stored.source.dialect)
    if dialect is None:
        raise Quarantined(f"dialect: {stored.source.dialect!r} is unknown to this version of callfold.")
    delivery: Delivery
    if is_request:
        delivery = request_of(record.headers, record.value)
    else:
        produced = produced_at(record.timestamp) or datetime(1970, 1, 1, tzinfo=UTC)
        delivery = delivery_of(record.headers, record.key, record.value, produced)
    translation = translate(delivery, stored.source, dialect)
    return _Translated(record, stored, translation.facts, translation.quarantined)


def _bad(translated: _Translated, faults: Sequence[Fault], calls: set[UUID]) -> BadRecord:
    """The delivery in the quarantine, with the first fault as its reason."""
    first = min(faults)
    owners = {placed.organization for placed in translated.facts if placed.organization is not None}
    place = f"element {first.element}: " if first.element or len(faults) > 1 else ""
    times = [placed.fact.timestamp for placed in translated.facts]
    return BadRecord(
        translated.record,
        place + first.reason,
        "a delivery that its dialect cannot read",
        source_id=translated.stored.source.id,
        calls=NamedCall(
            frozenset(owners), frozenset(calls) if len(owners) == 1 else frozenset(), min(times, default=None)
        ),
    )
