"""The simulated producers: a seed always gives the same records, with every case of real systems."""

import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import get_args
from uuid import UUID

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from services.ops.demo.account import Account, off_stats, off_trends
from services.ops.demo.simulated_call import Outcome
from services.ops.demo.simulated_fault import FAULTS
from services.ops.demo.simulated_proxy import domain, simulate_proxy_call, tenant
from services.ops.demo.simulated_vendor import SimulatedVendor, account_sid
from services.ops.demo.simulator import (
    Record,
    Simulate,
    backlog,
    live,
    organizations,
    publish,
    publish_live,
    system_backlog,
    system_live,
)
from services.ops.demo.traffic import first_reports
from services.ops.sources.attempt import attempt, calls_of
from services.ops.sources.sample import Sample
from shared.calls.event import Event, InvalidEvent, Status, read
from shared.calls.fold import distinct, fold
from shared.calls.zones import time_zone
from shared.counts.cell import counted
from shared.sources.delivery import Delivery
from shared.sources.source import Source
from shared.sources.translate import Placed

NOW = datetime(2026, 11, 4, 15, tzinfo=UTC)  # the clocks changed in Berlin and New York shortly before
CUSTOMERS = organizations(random.Random(11))
CALLS = 3_000
RECORDS = list(backlog(11, CUSTOMERS, CALLS, NOW, 14))


def test_the_same_seed_makes_the_same_records() -> None:
    assert list(backlog(11, CUSTOMERS, CALLS, NOW, 14)) == RECORDS
    assert list(backlog(12, CUSTOMERS, CALLS, NOW, 14)) != RECORDS
    assert organizations(random.Random(11)) == CUSTOMERS


def test_records_come_in_order_of_time() -> None:
    assert all(before.at <= after.at for before, after in itertools.pairwise(RECORDS))
    assert NOW - timedelta(days=14) <= RECORDS[0].at
    assert RECORDS[-1].at <= NOW


def test_a_record_that_is_not_broken_is_an_event_of_the_past() -> None:
    for record in RECORDS:
        if record.fault is None:
            assert read(record.value, NOW).timestamp <= NOW


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_record_is_refused(fault: str) -> None:
    broken = [record for record in RECORDS if record.fault == fault]
    assert broken
    for record in broken:
        with pytest.raises(InvalidEvent):
            read(record.value, NOW)


def test_every_kind_of_call_occurs() -> None:
    outcomes = [record.outcome for record in RECORDS if record.outcome]
    assert len(outcomes) == CALLS
    assert {outcome.status for outcome in outcomes} == set(get_args(Status))
    assert {outcome.direction for outcome in outcomes} == {"inbound", "outbound", None}
    assert {outcome.livemode for outcome in outcomes} == {True, False}
    assert {outcome.organization_id for outcome in outcomes} == {one.id for one in CUSTOMERS}
    events = [read(record.value, NOW) for record in RECORDS if record.fault is None]
    assert {"call.updated", "recording.ready", "transcript.ready"} <= {event.type for event in events}
    assert any(event.external_id for event in events)
    assert any(event.data.get("cost", Decimal(0)) % Decimal("0.01") for event in events)
    duplicates = sum(record.is_duplicate for record in RECORDS)
    assert 0.01 < duplicates / len(RECORDS) < 0.03


def test_some_events_overtake_others() -> None:
    latest: dict[tuple[UUID, UUID], datetime] = {}
    overtaken = late_answers = 0
    for event in (read(record.value, NOW) for record in RECORDS if record.fault is None):
        call = event.organization_id, event.call_id
        if event.timestamp < latest.get(call, event.timestamp):
            overtaken += 1
            late_answers += event.type == "call.answered"
        latest[call] = max(event.timestamp, latest.get(call, event.timestamp))
    assert overtaken > 50
    assert late_answers > 5


def test_the_expected_outcome_of_a_call_is_its_fold() -> None:
    events: defaultdict[tuple[UUID, UUID], list[Event]] = defaultdict(list)
    outcomes = {}
    for record in RECORDS:
        if record.fault is None:
            event = read(record.value, NOW)
            events[event.organization_id, event.call_id].append(event)
            if record.outcome:
                outcomes[event.organization_id, event.call_id] = record.outcome
    zones = {one.id: time_zone(one.time_zone) for one in CUSTOMERS}
    for key, of_call in events.items():
        call, outcome = fold(distinct(of_call)), outcomes[key]
        cell, measures = counted(call, zones[call.organization_id])
        assert (call.livemode, call.direction, call.status) == (
            outcome.livemode,
            outcome.direction,
            outcome.status,
        )
        assert cell.day == outcome.day
        assert (bool(measures.answered), measures.duration_seconds, measures.cost_cents) == (
            outcome.answered,
            outcome.duration,
            outcome.cost,
        )


def test_live_traffic_keeps_its_rate() -> None:
    records = list(itertools.islice(live(5, CUSTOMERS, NOW, 4), 2_000))
    assert records == list(itertools.islice(live(5, CUSTOMERS, NOW, 4), 2_000))
    assert all(before.at <= after.at for before, after in itertools.pairwise(records))
    calls = sum(record.outcome is not None for record in records)
    assert 3 < calls / (records[-1].at - NOW).total_seconds() < 5
    for record in records:
        if record.fault is None:
            read(record.value, record.at)


VENDOR = SimulatedVendor("https://hooks.example.com/hooks/vendor", "token")
PROXY_SOURCE = Source(
    UUID(int=1),
    "proxy",
    "kamailio",
    organizations={tenant(one): one.id for one in CUSTOMERS},
    organizations_by="org",
    settings={"own_domains": [domain(one) for one in CUSTOMERS]},
)
VENDOR_SOURCE = Source(
    UUID(int=2),
    "vendor",
    "twilio",
    organizations={account_sid(one): one.id for one in CUSTOMERS},
    secrets={"auth_token": "token"},
    url=VENDOR.url,
)
REPORTS = list(system_backlog(simulate_proxy_call, 11, CUSTOMERS, 1_000, NOW, 14))
REQUESTS = list(system_backlog(VENDOR.simulate_call, 11, CUSTOMERS, 1_000, NOW, 14))
SYSTEMS = pytest.mark.parametrize(
    ("simulate", "records", "source", "method"),
    [
        pytest.param(simulate_proxy_call, REPORTS, PROXY_SOURCE, "", id="proxy"),
        pytest.param(VENDOR.simulate_call, REQUESTS, VENDOR_SOURCE, "POST", id="vendor"),
    ],
)


def _samples(records: Sequence[Record], source: Source, method: str) -> list[Sample]:
    return [
        Sample(
            source,
            Delivery(
                one.value,
                NOW,
                {name: (value or b"").decode() for name, value in one.headers},
                method,
                "/hooks/2" if method else "",
                one.key,
            ),
        )
        for one in records
    ]


@SYSTEMS
def test_each_call_of_a_system_becomes_what_was_simulated(
    simulate: Simulate, records: Sequence[Record], source: Source, method: str
) -> None:
    assert list(system_backlog(simulate, 11, CUSTOMERS, 1_000, NOW, 14)) == records
    account = Account(keeps_outcomes=True)
    for record in records:
        account.accepted(record)
    zones = {one.id: time_zone(one.time_zone) for one in CUSTOMERS}
    calls = calls_of(_samples(records, source, method))
    assert len(calls) == account.calls == 1_000
    assert sum(call.version for call in calls) == account.events
    for call in calls:
        cell, measures = counted(call, zones[call.organization_id])
        assert account.outcomes[call.organization_id, call.id] == Outcome(
            call.organization_id,
            call.livemode,
            cell.day,
            call.direction,
            call.status,
            bool(measures.answered),
            measures.duration_seconds,
            measures.cost_cents,
        )
    assert {call.status for call in calls} == {"completed", "busy", "no_answer", "failed", "canceled"}
    assert {call.direction for call in calls} == {"inbound", "outbound"}


@SYSTEMS
def test_each_delivery_of_a_system_is_genuine_and_tells_of_a_call(
    simulate: Simulate, records: Sequence[Record], source: Source, method: str
) -> None:
    for record, sample in zip(records, _samples(records, source, method), strict=True):
        attempted = attempt(sample)
        assert (attempted.outcome, attempted.reason) == ("events", None)
        assert record.is_duplicate or len(attempted.events) == record.events
    assert any(record.is_duplicate for record in records)
    if method:
        stranger = replace(source, secrets={"auth_token": "another"})
        (refused,) = map(attempt, _samples(records[:1], stranger, method))
        assert refused.outcome == "refused"


@SYSTEMS
def test_live_traffic_of_a_system_keeps_its_rate(
    simulate: Simulate, records: Sequence[Record], source: Source, method: str
) -> None:
    some = list(itertools.islice(system_live(simulate, 5, CUSTOMERS, NOW, 4), 2_000))
    assert all(before.at <= after.at for before, after in itertools.pairwise(some))
    calls = sum(record.outcome is not None for record in some)
    assert 3 < calls / (some[-1].at - NOW).total_seconds() < 5


def test_the_first_reports_of_the_proxy_wait_but_those_of_one_call() -> None:
    first, later = first_reports(REPORTS)
    assert Counter(first) + Counter(later) == Counter(REPORTS)
    named = {placed.fact.call_id for _, placed in _placed(first) if placed.organization is not None}
    unnamed = [placed for _, placed in _placed(first) if placed.organization is None]
    assert len(named) == 1
    assert len(unnamed) > 50
    assert not named & {placed.fact.call_id for placed in unnamed}
    assert first_reports([]) == ([], [])


def _placed(reports: Sequence[Record]) -> list[tuple[Record, Placed]]:
    return [
        (report, placed)
        for report, sample in zip(reports, _samples(reports, PROXY_SOURCE, ""), strict=True)
        for placed in attempt(sample).events
    ]


def test_two_runs_with_one_seed_share_no_call_of_a_system() -> None:
    others = [replace(one, id=UUID(int=one.id.int ^ 1 << 127)) for one in CUSTOMERS]
    for simulate, records in ((simulate_proxy_call, REPORTS), (VENDOR.simulate_call, REQUESTS)):
        again = system_backlog(simulate, 11, others, 1_000, NOW, 14)
        assert not {one.key for one in records} & {one.key for one in again}


async def test_published_records_arrive_unchanged(bootstrap: str, topic: str) -> None:
    places: dict[tuple[int, int], Record] = {}
    some = RECORDS[:2_500]

    def delivered(record: Record, partition: int, offset: int) -> None:
        places[partition, offset] = record

    await publish(bootstrap, topic, some, delivered)
    assert len(places) == len(some)
    for place, arrived in (await _arrived(bootstrap, topic, len(some))).items():
        sent = places[place]
        assert arrived == (sent.key, sent.value, sent.headers)


async def test_live_records_wait_for_their_time(bootstrap: str, topic: str) -> None:
    """The clock jumps here, so that the test does not wait."""
    some = list(itertools.islice(live(5, CUSTOMERS, NOW, 4), 200))
    times = iter([*(record.at for record in some[:-1]), some[-1].at + timedelta(hours=1)])
    await publish_live(bootstrap, topic, iter(some), lambda: next(times))
    arrived = await _arrived(bootstrap, topic, len(some))
    assert Counter(value for _, value, _ in arrived.values()) == Counter(record.value for record in some)


def test_the_account_finds_each_wrong_value_of_a_response() -> None:
    account = Account()
    for offset, record in enumerate(RECORDS):
        account.delivered(record, 0, offset)
    assert account.calls == CALLS
    assert account.events + account.duplicates + len(account.broken) == len(RECORDS)
    totals = account.totals[CUSTOMERS[0].id, True]
    stats = {
        "total": totals.by_status.total(),
        "answered": totals.answered,
        "total_duration": totals.duration,
        "total_cost": totals.cost,
        "by_status": dict(totals.by_status),
        "by_direction": dict(totals.by_direction),
    }
    assert off_stats(totals, stats) == []
    off = off_stats(totals, stats | {"total_cost": totals.cost + Decimal("0.0001"), "answered": 0})
    assert [phrase.split()[0] for phrase in off] == ["answered", "total_cost"]
    days = [
        {"date": day.isoformat(), "total": total, "answered": 0, "duration": 0, "cost": Decimal(0)}
        for day, total in totals.by_day.items()
    ]
    days[0] |= {"answered": totals.answered, "duration": totals.duration, "cost": totals.cost}
    assert off_trends(totals, {"data": days}) == []
    assert len(off_trends(totals, {"data": days[1:]})) == 4


_Arrived = tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes | None]]]


async def _arrived(bootstrap: str, topic: str, count: int) -> dict[tuple[int, int], _Arrived]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, partition) for partition in range(4)])
        arrived: dict[tuple[int, int], _Arrived] = {}
        while len(arrived) < count:
            for records in (await consumer.getmany(timeout_ms=1_000)).values():
                arrived |= {(r.partition, r.offset): (r.key, r.value, r.headers) for r in records}
        return arrived
    finally:
        await consumer.stop()
