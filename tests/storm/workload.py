"""The workload: records of telephony systems in four time zones, with more disorder than real systems
cause."""

import random
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from services.ops.demo.simulated_call import Organization, Outcome
from services.ops.demo.simulator import Record, backlog, organizations
from shared.calls.event import Event, read

DAYS: Final = 30
REORDERED_WITHIN: Final = 2_000
DUPLICATES: Final = 0.03
TORN: Final = 0.03
"""The share of records with a key other than their call's: such a call is spread over several partitions."""

CallKey = tuple[UUID, UUID]


@dataclass(frozen=True)
class Workload:
    """The records to publish, and their expected results under any faults."""

    organizations: Sequence[Organization]
    records: Sequence[Record]
    """In publishing order."""
    events: Mapping[CallKey, Mapping[str, Event]]
    """Each call's distinct events, by their ids."""
    outcomes: Mapping[CallKey, Outcome]
    """The result of each call by its timeline, independent of the fold."""
    order: Sequence[CallKey]
    """The calls, in the order of their first records."""
    begins: Sequence[int]
    """The number of records published before each of them."""

    def calls_in(self, published: int) -> Sequence[CallKey]:
        """The calls that have started when N records are published, the latest last."""
        return self.order[: bisect_left(self.begins, published)]


def make(seed: int, calls: int, end: datetime) -> Workload:
    """N calls of the days before `end` (aware). The same arguments give the same bytes."""
    chance = random.Random(seed)
    customers = organizations(chance)
    in_order = list(backlog(seed, customers, calls, end, DAYS))
    events: dict[CallKey, dict[str, Event]] = {}
    outcomes: dict[CallKey, Outcome] = {}
    call_of: dict[bytes | None, CallKey] = {}
    for record in in_order:
        if record.fault is None and record.value is not None:
            event = read(record.value, end)
            key = event.organization_id, event.call_id
            call_of[record.value] = key
            events.setdefault(key, {}).setdefault(event.id, event)
            if record.outcome is not None:
                outcomes[key] = record.outcome
    records = _disordered(chance, in_order)
    begins: dict[CallKey, int] = {}
    for n, record in enumerate(records):
        if record.value in call_of:
            begins.setdefault(call_of[record.value], n)
    return Workload(customers, records, events, outcomes, list(begins), list(begins.values()))


def _disordered(chance: random.Random, records: Sequence[Record]) -> list[Record]:
    """Reorders records among their neighbours. Some are duplicated (the second copy anywhere later), some get
    another key."""
    placed: list[tuple[float, Record]] = []
    for n, record in enumerate(records):
        if chance.random() < TORN:
            record = replace(record, key=chance.randbytes(8))
        placed.append((n + chance.random() * REORDERED_WITHIN, record))
        if chance.random() < DUPLICATES:
            placed.append((chance.uniform(n, len(records)), record))
    placed.sort(key=lambda one: one[0])
    return [record for _, record in placed]
