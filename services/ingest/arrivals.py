"""Arrivals: sorts records into events and bad records."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from aiokafka import ConsumerRecord as Record

from shared.calls.event import Event, InvalidEvent, read
from shared.calls.named_call import NamedCall
from shared.sources.delivery_record import element_of
from shared.sources.outcome import Fact
from shared.sources.record import Record as SourceRecord
from shared.store.changes import Refused
from shared.store.quarantine import BadRecord

Arrival = tuple[Record, Event]
"""An event and the record it came in."""
NamedCallOfSource = tuple[UUID, UUID, str]
"""An organization that a source names for a call: organization, source, and the call's id in the source."""
Numbers = Mapping[tuple[UUID, str], UUID]
"""The id of each phone number, by organization and number."""
SLICE_RECORDS: Final = 250


class Origin(NamedTuple):
    """An element of a delivery: the delivery, its source, and the element's number among several. `alone` is
    its content, if the quarantine can keep it without the rest of the delivery."""

    delivery: Record
    source_id: UUID
    element: int | None = None
    alone: SourceRecord | None = None

    def bad(
        self, reason: str, rule: str | None, calls: NamedCall | None, *, waits_for: str | None = None
    ) -> BadRecord:
        """The element in the quarantine."""
        kept = self.delivery
        if self.alone is not None:
            headers, value = element_of(kept.headers, self.alone)
            kept = replace(kept, headers=tuple(headers), value=value)
        return BadRecord(
            kept,
            reason,
            rule,
            source_id=self.source_id,
            waits_for=waits_for,
            calls=calls,
            element=self.element,
        )


class Unplaced(NamedTuple):
    """A fact of a delivery whose organization another delivery of the call must name."""

    origin: Origin
    fact: Fact


@dataclass
class Sorted:
    """The content of a batch. Of a delivery with several elements, some can be in `arrivals` and others in
    `bad_records` or `unplaced`."""

    arrivals: list[Arrival] = field(default_factory=list)
    bad_records: list[BadRecord] = field(default_factory=list)
    unplaced: list[Unplaced] = field(default_factory=list)
    origins: dict[int, Origin] = field(default_factory=dict)
    """Where the events of deliveries come from, by the events' identity."""
    named: set[NamedCallOfSource] = field(default_factory=set)
    numbers: Numbers = field(default_factory=dict)
    no_value: int = 0
    """Records without a value."""
    ignored: int = 0
    """Deliveries that tell nothing of a call's course."""


Sort = Callable[[Sequence[Record], datetime], Awaitable[Sorted]]
"""Reads the records of a batch at a time (aware)."""


async def sort_events(records: Sequence[Record], now: datetime) -> Sorted:
    """Sorts records in callfold's own form, at a time (aware)."""
    arrivals, bad_records = await sort_out(records, now)
    return Sorted(arrivals, bad_records, no_value=len(records) - len(arrivals) - len(bad_records))


async def sort_out(records: Sequence[Record], now: datetime) -> tuple[list[Arrival], list[BadRecord]]:
    """Returns the events and the bad records. Between slices it yields to the batch being stored.

    Headers are ignored: clients, registries and connectors put any bytes there. A record without a value is
    neither: it is a tombstone of Kafka's log compaction, and there is nothing to store."""
    arrivals: list[Arrival] = []
    bad_records: list[BadRecord] = []
    for start in range(0, len(records), SLICE_RECORDS):
        for record in records[start : start + SLICE_RECORDS]:
            if record.value is None:
                continue
            try:
                arrivals.append((record, read(record.value, now)))
            except InvalidEvent as error:
                bad_records.append(BadRecord(record, str(error), error.rule))
        await asyncio.sleep(0)
    return arrivals, bad_records


def refused_records(
    arrivals: Sequence[Arrival], refused: Sequence[Refused], origins: Mapping[int, Origin] | None = None
) -> list[BadRecord]:
    """The bad records of the refused events. `origins` are those of deliveries."""
    record_of = {id(event): record for record, event in arrivals} if refused else {}
    return [bad_record(record_of[id(event)], event, reason, None, origins) for event, reason in refused]


def bad_record(
    record: Record, event: Event, reason: str, rule: str | None, origins: Mapping[int, Origin] | None
) -> BadRecord:
    """The bad record of an event that is not stored."""
    origin = (origins or {}).get(id(event))
    if origin is None:
        return BadRecord(record, reason, rule)
    named = NamedCall(frozenset({event.organization_id}), frozenset({event.call_id}), event.timestamp)
    return origin.bad(reason, rule, named)
