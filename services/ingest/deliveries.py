"""Deliveries: sorts the records of sources into events, records that wait for another one, and bad records.

A record of the topic of deliveries names its source in a header. A record of any other topic belongs to the
source that has this topic.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, Final
from uuid import UUID

from aiokafka import ConsumerRecord as Record

from services.ingest.arrivals import Numbers, Origin, Sorted, Unplaced
from shared.calls.event import Event, InvalidEvent, call_uuid, read
from shared.calls.named_call import NamedCall
from shared.database.connection import Connection
from shared.dialects.registry import DIALECTS
from shared.sources.delivery import Delivery
from shared.sources.delivery_record import SOURCE, delivery_of, request_of, source_of
from shared.sources.outcome import Fact, Quarantined
from shared.sources.source import Source
from shared.sources.translate import BUG, Translation, event_json, translate
from shared.store.quarantine import produced_at
from shared.store.sources import (
    CallOfSource,
    KnownSources,
    StoredSource,
    read_organizations_of_calls,
)

WAITS: Final = "no delivery has named the organization of this call yet"
UNREADABLE: Final = "a delivery that its dialect cannot read"
SLICE_SECONDS: Final = 0.02
SEVERAL: Final = "deliveries have named several organizations for this call"


async def sort_deliveries(
    records: Sequence[Record], known: KnownSources, now: datetime, deliveries_topic: str
) -> Sorted:
    """Sorts records at a time (aware) by these sources. Every few milliseconds it yields to the batch being
    stored, and to the readers of other topics."""
    found = Sorted(numbers=known.numbers)
    began = perf_counter()
    for record in records:
        _sort(record, known, now, deliveries_topic, found)
        if perf_counter() - began > SLICE_SECONDS:
            await asyncio.sleep(0)
            began = perf_counter()
    return found


def _sort(record: Record, known: KnownSources, now: datetime, deliveries_topic: str, found: Sorted) -> None:
    """Adds the content of one record. Each faulty element of a delivery goes to the quarantine alone, so that
    it is found and retried without the others."""
    is_request = record.topic == deliveries_topic
    if record.value is None and not is_request:
        found.no_value += 1
        return
    stored: StoredSource | None = None
    try:
        stored = _source(record, known, is_request)
        translation = _translated(record, stored, is_request)
    except Quarantined as reason:
        origin = Origin(record, stored.source.id if stored is not None else NO_SOURCE)
        calls = _calls(stored.source.organization if stored is not None else None)
        found.bad_records.append(origin.bad(str(reason), None, calls))
        return
    if not translation.facts and not translation.quarantined:
        found.ignored += 1
        return
    source = stored.source
    for fault in translation.quarantined:
        rule = fault.reason if fault.reason.startswith(BUG) else UNREADABLE
        calls = _calls(None if source.organizations else source.organization)
        origin = _origin(record, source, translation, fault.element)
        found.bad_records.append(origin.bad(fault.reason, rule, calls))
    for fact, place, organization_id in translation.facts:
        origin = _origin(record, source, translation, place)
        if organization_id is None:
            found.unplaced.append(Unplaced(origin, fact))
            continue
        _add(found, origin, fact, organization_id, now)
        if source.organization is None:
            found.named.add((organization_id, source.id, fact.call_id))


def _origin(record: Record, source: Source, translation: Translation, place: int) -> Origin:
    """The origin of what an element of this delivery says. Only JSON objects are kept alone."""
    if translation.elements == 1:
        return Origin(record, source.id)
    element = translation.records.get(place)
    is_alone = (
        element is not None and isinstance(element.value, dict) and DIALECTS[source.dialect].decode is None
    )
    return Origin(record, source.id, place, element if is_alone else None)


def _add(found: Sorted, origin: Origin, fact: Fact, organization_id: UUID, now: datetime) -> None:
    """Adds the event of a fact, or a bad record if the contract refuses it."""
    try:
        event = event_of(fact, organization_id, found.numbers, now)
    except InvalidEvent as error:
        found.bad_records.append(
            origin.bad(
                str(error),
                error.rule,
                _calls(organization_id, call_uuid(organization_id, fact.call_id), fact.timestamp),
            )
        )
    else:
        found.arrivals.append((origin.delivery, event))
        found.origins[id(event)] = origin


def _calls(
    organization_id: UUID | None, call_id: UUID | None = None, timestamp: datetime | None = None
) -> NamedCall:
    """The call that a delivery names, as far as it is known."""
    return NamedCall(
        frozenset() if organization_id is None else frozenset({organization_id}),
        frozenset() if call_id is None else frozenset({call_id}),
        timestamp,
    )


NO_SOURCE: Final = UUID(int=0)
"""Stands for the source of a delivery whose source is unknown."""


def give_organizations(found: Sorted, known: Mapping[CallOfSource, set[UUID]], now: datetime) -> None:
    """Gives the unplaced facts the organization that `known` has for their call. A fact whose call has no
    organization, or several, waits in the quarantine."""
    for origin, fact in found.unplaced:
        organizations = known.get((origin.source_id, fact.call_id), set())
        if len(organizations) == 1:
            (organization_id,) = organizations
            _add(found, origin, fact, organization_id, now)
        else:
            reason = SEVERAL if organizations else WAITS
            found.bad_records.append(
                origin.bad(reason, None, _calls(None, None, fact.timestamp), waits_for=fact.call_id)
            )
    found.unplaced = []


def calls_to_find(found: Sorted) -> list[CallOfSource]:
    """The calls whose organization other deliveries must name."""
    return sorted({(one.origin.source_id, one.fact.call_id) for one in found.unplaced})


async def place_all(connection: Connection, found: Sorted, now: datetime) -> None:
    """Gives unplaced facts the organization that stored deliveries and this batch name for their call.
    Raises asyncpg's errors."""
    if not found.unplaced:
        return
    known = await read_organizations_of_calls(connection, calls_to_find(found))
    for organization_id, source_id, call_id in found.named:
        known.setdefault((source_id, call_id), set()).add(organization_id)
    give_organizations(found, known, now)


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


def _translated(record: Record, stored: StoredSource, is_request: bool) -> Translation:
    dialect = DIALECTS.get(stored.source.dialect)
    if dialect is None:
        raise Quarantined(f"dialect: {stored.source.dialect!r} is unknown to this version of callfold.")
    delivery: Delivery
    if is_request:
        delivery = request_of(record.headers, record.value)
    else:
        produced = produced_at(record.timestamp) or datetime(1970, 1, 1, tzinfo=UTC)
        delivery = delivery_of(record.headers, record.key, record.value, produced)
    return translate(delivery, stored.source, dialect)
