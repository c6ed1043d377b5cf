"""The workload: what telephony systems of four time zones publish, with more disorder than they make."""

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
"""The share of records whose key is not their call's: such a call is in several partitions at once."""

CallKey = tuple[UUID, UUID]


@dataclass(frozen=True)
class Workload:
    """What is published, and what must come of it, whatever happens on the way."""

    organizations: Sequence[Organization]
    records: Sequence[Record]
    """In the order of their publishing."""
    events: Mapping[CallKey, Mapping[str, Event]]
    """Each call's distinct events, by their ids."""
    outcomes: Mapping[CallKey, Outcome]
    """How each call ended, as its timeline says: independent of the fold."""
    order: Sequence[CallKey]
    """The calls as they begin to be published."""
    begins: Sequence[int]
    """How many records are published before each of them."""

    def calls_in(self, published: int) -> Sequence[CallKey]:
        """The calls that have begun when so many records are published, the latest last."""
        return self.order[: bisect_left(self.begins, published)]


def make(seed: int, calls: int, end: datetime) -> Workload:
    """So many calls of the days before `end` (aware). The same arguments give the same, byte by byte."""
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
    """Moved among their neighbours, some twice (the second time anywhere later), some under a strange key."""
    placed: list[tuple[float, Record]] = []
    for n, record in enumerate(records):
        if chance.random() < TORN:
            record = replace(record, key=chance.randbytes(8))
        placed.append((n + chance.random() * REORDERED_WITHIN, record))
        if chance.random() < DUPLICATES:
            placed.append((chance.uniform(n, len(records)), record))
    placed.sort(key=lambda one: one[0])
    return [record for _, record in placed]
