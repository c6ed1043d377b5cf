"""The records that telephony systems would publish, generated from a seed without a clock, and their
publishing.

The same seed, organizations and times give identical records. They come in the order of publishing,
interleaved over all calls. About 2% come twice, some are late, and some come before an earlier event.
"""

import asyncio
import heapq
import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any, Final
from uuid import UUID

from aiokafka import AIOKafkaProducer

from services.ops.demo.simulated_call import Organization, Outcome, PhoneNumber, SimulatedCall, simulate_call
from services.ops.demo.simulated_fault import FAULTS, GOOD_HEADERS, Headers, broken_record
from shared.calls.zones import time_zone
from shared.kafka.client import Broker
from shared.kafka.producer import producer

DUPLICATED: Final = 0.02
SHUFFLED: Final = 0.03
LATE: Final = 0.01
CALLS_PER_BROKEN_RECORD: Final = 500
RECORDS_IN_FLIGHT: Final = 2_000

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
    """A record to publish at a given time. Exactly one record of each call carries the call's outcome."""

    at: datetime
    key: bytes | None
    value: bytes | None
    headers: Headers
    is_duplicate: bool = False
    fault: str | None = None
    outcome: Outcome | None = None


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
    starts = sorted(
        ((_start(rng, some, begin, end), some) for some in _chosen(rng, customers, calls)), key=_by_time
    )
    pending: list[_Pending] = []
    number = itertools.count()
    for n in range(max(len(FAULTS), calls // CALLS_PER_BROKEN_RECORD)):
        at = begin + rng.random() * (end - begin)
        record = _broken(rng, FAULTS[n % len(FAULTS)], rng.choice(customers), at, latest=end)
        heapq.heappush(pending, (at, next(number), record))
    for started, customer in starts:
        for record in _published(rng, simulate_call(rng, customer, started, end=end), until=end):
            heapq.heappush(pending, (record.at, next(number), record))
        while pending and pending[0][0] <= started:
            yield heapq.heappop(pending)[2]
    while pending:
        yield heapq.heappop(pending)[2]


def live(
    seed: int, customers: Sequence[Organization], begin: datetime, calls_per_second: float
) -> Iterator[Record]:
    """Endless traffic from `begin` (aware): short calls, so that their progress is visible."""
    rng = random.Random(seed)  # noqa: S311
    pending: list[_Pending] = []
    started = begin
    for number in itertools.count(step=100):
        started += timedelta(seconds=rng.expovariate(calls_per_second))
        (customer,) = _chosen(rng, customers, 1)
        records = list(_published(rng, simulate_call(rng, customer, started, typical_talk_seconds=20)))
        if rng.random() < 1 / CALLS_PER_BROKEN_RECORD:
            records.append(_broken(rng, rng.choice(FAULTS), customer, started, latest=started))
        for n, record in enumerate(records, number):
            heapq.heappush(pending, (record.at, n, record))
        while pending and pending[0][0] <= started:
            yield heapq.heappop(pending)[2]


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
    broker: Broker, topic: str, records: Iterator[Record], now: Callable[[], datetime]
) -> None:
    """Publishes each record at its time by the clock `now`. Returns after the last record, or when it is
    cancelled."""
    async with producer(broker) as to:
        due: list[Record] = []
        for record in records:
            wait = (record.at - now()).total_seconds()
            if wait > 0:
                await _deliver(to, topic, due)
                due.clear()
                await asyncio.sleep(wait)
            due.append(record)
        await _deliver(to, topic, due)


_Pending = tuple[datetime, int, Record]


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
        yield Record(at, call.key, event.value, GOOD_HEADERS, outcome=call.outcome if n == 0 else None)
        if rng.random() < DUPLICATED:
            at += timedelta(seconds=rng.choice((0.0, rng.uniform(0, 600))))
            at = at if until is None else min(at, until)
            yield Record(at, call.key, event.value, GOOD_HEADERS, is_duplicate=True)


def _broken(
    rng: random.Random, fault: str, customer: Organization, at: datetime, *, latest: datetime
) -> Record:
    broken = broken_record(rng, fault, customer, at, latest)
    return Record(at, str(_uuid(rng)).encode(), broken.value, broken.headers, fault=broken.fault)


def _chosen(rng: random.Random, customers: Sequence[Organization], count: int) -> list[Organization]:
    return rng.choices(customers, [customer.weight for customer in customers], k=count)


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


def _by_time(start: tuple[datetime, Any]) -> datetime:
    return start[0]


def _uuid(rng: random.Random) -> UUID:
    return UUID(int=rng.getrandbits(128), version=4)
