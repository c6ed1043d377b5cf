"""The records that telephony systems would deliver, generated from a seed without a clock, and their
publishing.

The same seed, organizations and times give identical records. They come in the order of publishing,
interleaved over all calls. About 2% come twice, some are late, and some come before an earlier event.
"""

import asyncio
import heapq
import itertools
import random
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Final
from uuid import UUID

from aiokafka import AIOKafkaProducer

from services.ops.demo.simulated_call import (
    Headers,
    Organization,
    Outcome,
    PhoneNumber,
    SimulatedCall,
    simulate_call,
)
from services.ops.demo.simulated_fault import FAULTS, broken_record
from shared.calls.zones import time_zone
from shared.kafka.client import Broker
from shared.kafka.producer import producer

DUPLICATED: Final = 0.02
SHUFFLED: Final = 0.03
LATE: Final = 0.01
CALLS_PER_BROKEN_RECORD: Final = 500
RECORDS_IN_FLIGHT: Final = 2_000
LONGEST_CALL: Final = timedelta(hours=1)
"""The longest call of an attached system."""
LIVE_TALK_SECONDS: Final = 20
"""The typical talk of a live call: so short that its progress is visible."""

_TEMPLATES: Final = (
    ("Nordlicht Energie", "Europe/Berlin", "+493023125", 0.35),
    ("Hudson Dental", "America/New_York", "+12125550", 0.3),
    ("Sahyadri Logistics", "Asia/Kolkata", "+912266550", 0.2),
    ("Kea Adventures", "Pacific/Auckland", "+6498870", 0.15),
)
_HOURS: Final = (1, 1, 1, 1, 1, 2, 5, 12, 30, 46, 50, 46, 34, 42, 46, 44, 38, 24, 14, 9, 6, 4, 2, 1)
_WEEKDAYS: Final = (1.0, 0.95, 0.95, 0.95, 0.9, 0.4, 0.25)


@dataclass(frozen=True)
class Record:
    """A record to publish, or a request to post, at a given time. It becomes `events` events, unless it is
    broken or a duplicate. Exactly one record of each call carries the call's outcome."""

    at: datetime
    key: bytes | None
    value: bytes | None
    headers: Headers
    is_duplicate: bool = False
    fault: str | None = None
    outcome: Outcome | None = None
    events: int = 1


Simulate = Callable[[random.Random, Organization, datetime, float], SimulatedCall]
"""Makes a call of an attached system: from an (aware) start, with this typical talk in seconds."""


def organizations(rng: random.Random) -> tuple[Organization, ...]:
    """Customers in four time zones, with three to six phone numbers each."""
    return tuple(
        Organization(
            _uuid(rng),
            name,
            time_zone,
            tuple(PhoneNumber(_uuid(rng), f"{prefix}{n:03}") for n in range(100, 103 + rng.randrange(4))),
            weight,
        )
        for name, time_zone, prefix, weight in _TEMPLATES
    )


def backlog(
    seed: int, customers: Sequence[Organization], calls: int, end: datetime, days: int
) -> Iterator[Record]:
    """The records of this many calls that began in the days before `end` (aware), published until `end`.
    Events after `end` are left out. Some records are broken, at least one with each fault."""
    rng = random.Random(seed)  # noqa: S311
    begin = end - timedelta(days=days)
    starts = _starts(rng, customers, calls, begin, end)
    broken: list[Record] = []
    for n in range(max(len(FAULTS), calls // CALLS_PER_BROKEN_RECORD)):
        at = begin + rng.random() * (end - begin)
        broken.append(_broken(rng, FAULTS[n % len(FAULTS)], rng.choice(customers), at, latest=end))
    calls_of_records = (
        (started, _published(rng, simulate_call(rng, customer, started, end=end), until=end))
        for started, customer in starts
    )
    yield from _in_order_of_time(itertools.chain([(begin, broken)], calls_of_records))


def live(
    seed: int, customers: Sequence[Organization], begin: datetime, calls_per_second: float
) -> Iterator[Record]:
    """Endless traffic from `begin` (aware): short calls, so that their progress is visible."""
    rng = random.Random(seed)  # noqa: S311

    def calls_of_records() -> Iterator[_CallOfRecords]:
        for started, customer in _endless_starts(rng, customers, begin, calls_per_second):
            call = simulate_call(rng, customer, started, typical_talk_seconds=LIVE_TALK_SECONDS)
            records = list(_published(rng, call))
            if rng.random() < 1 / CALLS_PER_BROKEN_RECORD:
                records.append(_broken(rng, rng.choice(FAULTS), customer, started, latest=started))
            yield started, records

    yield from _in_order_of_time(calls_of_records())


def system_backlog(
    simulate: Simulate, seed: int, customers: Sequence[Organization], calls: int, end: datetime, days: int
) -> Iterator[Record]:
    """The deliveries of an attached system about this many calls, which begin in the days before `end`
    (aware) and have ended by then."""
    rng = random.Random(seed)  # noqa: S311
    starts = _starts(rng, customers, calls, end - timedelta(days=days), end - LONGEST_CALL)
    yield from _in_order_of_time(
        (started, _published(rng, simulate(rng, customer, started, 95), until=end))
        for started, customer in starts
    )


def system_live(
    simulate: Simulate,
    seed: int,
    customers: Sequence[Organization],
    begin: datetime,
    calls_per_second: float,
) -> Iterator[Record]:
    """Endless deliveries of an attached system from `begin` (aware)."""
    rng = random.Random(seed)  # noqa: S311
    yield from _in_order_of_time(
        (started, _published(rng, simulate(rng, customer, started, LIVE_TALK_SECONDS)))
        for started, customer in _endless_starts(rng, customers, begin, calls_per_second)
    )


async def publish(
    broker: Broker,
    topic: str,
    records: Iterable[Record],
    delivered: Callable[[Record, int, int], None] | None = None,
) -> None:
    """Publishes all records in order, as fast as the broker accepts them. `delivered` receives each record
    with its partition and offset. Raises aiokafka's `KafkaError`."""
    async with producer(broker) as to:
        remaining = iter(records)
        while some := list(itertools.islice(remaining, RECORDS_IN_FLIGHT)):
            await _deliver(to, topic, some, delivered)


async def publish_live(
    broker: Broker,
    topic: str,
    records: Iterator[Record],
    now: Callable[[], datetime],
    delivered: Callable[[Record, int, int], None] | None = None,
) -> None:
    """Publishes each record at its time by the clock `now`. Returns after the last record, or when it is
    cancelled."""
    async with producer(broker) as to:
        async for due in when_due(records, now):
            await _deliver(to, topic, due, delivered)


async def when_due(records: Iterator[Record], now: Callable[[], datetime]) -> AsyncIterator[Sequence[Record]]:
    """The records, each at its time by the clock `now`."""
    due: list[Record] = []
    for record in records:
        wait = (record.at - now()).total_seconds()
        if wait > 0:
            yield due
            due = []
            await asyncio.sleep(wait)
        due.append(record)
    yield due


_CallOfRecords = tuple[datetime, Iterable[Record]]
"""The start of a call, and its records."""


def _in_order_of_time(calls: Iterable[_CallOfRecords]) -> Iterator[Record]:
    """The records of calls that come in the order of their starts."""
    pending: list[tuple[datetime, int, Record]] = []
    number = itertools.count()
    for started, records in calls:
        for record in records:
            heapq.heappush(pending, (record.at, next(number), record))
        while pending and pending[0][0] <= started:
            yield heapq.heappop(pending)[2]
    while pending:
        yield heapq.heappop(pending)[2]


async def _deliver(
    to: AIOKafkaProducer,
    topic: str,
    records: Sequence[Record],
    delivered: Callable[[Record, int, int], None] | None = None,
) -> None:
    futures = [await to.send(topic, r.value, key=r.key, headers=list(r.headers)) for r in records]
    for record, metadata in zip(records, await asyncio.gather(*futures), strict=True):
        if delivered:
            delivered(record, metadata.partition, metadata.offset)


def _published(rng: random.Random, call: SimulatedCall, until: datetime | None = None) -> Iterator[Record]:
    """A call's records with the times at which they reach Kafka, which can be out of order."""
    for n, event in enumerate(call.events):
        chance = rng.random()
        seconds = rng.uniform(0.02, 0.4)
        if chance < LATE:
            seconds = rng.uniform(300, 12 * 3600)
        elif chance < LATE + SHUFFLED:
            seconds = rng.uniform(1, 60)
        at = event.timestamp + timedelta(seconds=seconds)
        at = at if until is None else min(at, until)
        outcome = call.outcome if n == 0 else None
        yield Record(at, call.key, event.value, event.headers, outcome=outcome, events=event.events)
        if rng.random() < DUPLICATED:
            at += timedelta(seconds=rng.choice((0.0, rng.uniform(0, 600))))
            at = at if until is None else min(at, until)
            yield Record(at, call.key, event.value, event.headers, is_duplicate=True)


def _broken(
    rng: random.Random, fault: str, customer: Organization, at: datetime, *, latest: datetime
) -> Record:
    broken = broken_record(rng, fault, customer, at, latest)
    return Record(at, str(_uuid(rng)).encode(), broken.value, broken.headers, fault=broken.fault)


def _chosen(rng: random.Random, customers: Sequence[Organization], count: int) -> list[Organization]:
    return rng.choices(customers, [customer.weight for customer in customers], k=count)


def _starts(
    rng: random.Random, customers: Sequence[Organization], calls: int, begin: datetime, end: datetime
) -> list[tuple[datetime, Organization]]:
    """The starts of this many calls between the two times, in order."""
    chosen = _chosen(rng, customers, calls)
    return sorted(((_start(rng, one, begin, end), one) for one in chosen), key=lambda start: start[0])


def _endless_starts(
    rng: random.Random, customers: Sequence[Organization], begin: datetime, calls_per_second: float
) -> Iterator[tuple[datetime, Organization]]:
    started = begin
    while True:
        started += timedelta(seconds=rng.expovariate(calls_per_second))
        (customer,) = _chosen(rng, customers, 1)
        yield started, customer


def _start(rng: random.Random, customer: Organization, begin: datetime, end: datetime) -> datetime:
    """A start between the two times, mostly in the customer's business hours."""
    zone = time_zone(customer.time_zone)
    first = begin.astimezone(zone).date()
    days = (end.astimezone(zone).date() - first).days
    for _ in range(100):
        day = first + timedelta(days=rng.randint(0, days))
        if rng.random() > _WEEKDAYS[day.weekday()]:
            continue
        (hour,) = rng.choices(range(24), _HOURS)
        at = datetime.combine(day, time(hour), zone) + timedelta(milliseconds=rng.randrange(3_600_000))
        if begin <= at.astimezone(begin.tzinfo) < end:
            return at.astimezone(begin.tzinfo)
    return begin + rng.random() * (end - begin)  # a span without business hours


def _uuid(rng: random.Random) -> UUID:
    return UUID(int=rng.getrandbits(128), version=4)
