"""The day in which a call counts, and the sums of deltas."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.calls.event import Event
from shared.calls.fold import fold
from shared.calls.hangup import CAUSES
from shared.calls.local_time import day_begin, local_day, local_hour
from shared.calls.zones import time_zone, zone_names
from shared.counts.cell import PACKED_DIGITS, Counted, counted
from shared.counts.deltas import Deltas
from shared.counts.histogram import ANSWER_DELAYS, DURATIONS, LATENCIES, bucket
from shared.counts.packed import unpack
from tests.support.events import ORGANIZATION, event, events_of_a_call

UTC_ZONE = time_zone("UTC")


@pytest.mark.parametrize(
    ("zone", "instant", "day"),
    [
        # Berlin: clocks go from 2:00 to 3:00 on 2026-03-29, and from 3:00 to 2:00 on 2026-10-25.
        ("Europe/Berlin", "2026-03-28T22:59:59.999999Z", "2026-03-28"),
        ("Europe/Berlin", "2026-03-28T23:00:00Z", "2026-03-29"),
        ("Europe/Berlin", "2026-03-29T21:59:59Z", "2026-03-29"),
        ("Europe/Berlin", "2026-03-29T22:00:00Z", "2026-03-30"),
        ("Europe/Berlin", "2026-10-24T21:59:59Z", "2026-10-24"),
        ("Europe/Berlin", "2026-10-24T22:00:00Z", "2026-10-25"),
        ("Europe/Berlin", "2026-10-25T22:59:59Z", "2026-10-25"),
        ("Europe/Berlin", "2026-10-25T23:00:00Z", "2026-10-26"),
        # St John's: half an hour off the hour; until 2011, clocks changed at one minute past midnight.
        ("America/St_Johns", "2026-01-01T03:29:59Z", "2025-12-31"),
        ("America/St_Johns", "2026-01-01T03:30:00Z", "2026-01-01"),
        ("America/St_Johns", "2010-11-07T02:29:59Z", "2010-11-06"),
        ("America/St_Johns", "2010-11-07T02:30:30Z", "2010-11-07"),
        # Clocks were set back across midnight: the previous day returned for 59 minutes.
        ("America/St_Johns", "2010-11-07T02:31:00Z", "2010-11-06"),
        ("America/St_Johns", "2010-11-07T03:30:00Z", "2010-11-07"),
        # Apia: the country skipped 2011-12-30.
        ("Pacific/Apia", "2011-12-30T09:59:59Z", "2011-12-29"),
        ("Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-31"),
        ("Pacific/Apia", "2026-11-24T10:59:59Z", "2026-11-24"),
        ("Pacific/Apia", "2026-11-24T11:00:00Z", "2026-11-25"),
    ],
)
def test_the_day_is_the_organizations_own(zone: str, instant: str, day: str) -> None:
    assert local_day(datetime.fromisoformat(instant), time_zone(zone)) == date.fromisoformat(day)


@pytest.mark.parametrize(
    ("zone", "day", "begin"),
    [
        ("UTC", "2026-11-24", "2026-11-24T00:00:00Z"),
        ("Europe/Berlin", "2026-03-29", "2026-03-28T23:00:00Z"),
        ("Europe/Berlin", "2026-03-30", "2026-03-29T22:00:00Z"),
        ("Asia/Kolkata", "2026-11-24", "2026-11-23T18:30:00Z"),
        # Sao Paulo: until 2018, clocks went from midnight to 1:00.
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00Z"),
        # St John's: the first of two midnights.
        ("America/St_Johns", "2010-11-07", "2010-11-07T02:30:00Z"),
        ("America/St_Johns", "1995-10-29", "1995-10-29T02:30:00Z"),
        # Apia: the skipped day begins and ends with the skip.
        ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00Z"),
        ("Pacific/Apia", "2011-12-31", "2011-12-30T10:00:00Z"),
    ],
)
def test_a_day_begins_at_its_first_instant(zone: str, day: str, begin: str) -> None:
    assert day_begin(date.fromisoformat(day), time_zone(zone)) == datetime.fromisoformat(begin)


@pytest.mark.parametrize(
    ("zone", "instant", "day", "hour"),
    [
        ("UTC", "2026-11-24T00:00:00Z", "2026-11-24", 0),
        ("UTC", "2026-11-24T23:59:59.999999Z", "2026-11-24", 23),
        # Berlin's day of 23 hours: at 3:00, two hours have passed.
        ("Europe/Berlin", "2026-03-29T00:59:59Z", "2026-03-29", 1),
        ("Europe/Berlin", "2026-03-29T01:00:00Z", "2026-03-29", 2),
        ("Europe/Berlin", "2026-03-29T21:59:59Z", "2026-03-29", 22),
        # Its day of 25 hours: the hour from 2:00 to 3:00 occurs twice.
        ("Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-25", 2),
        ("Europe/Berlin", "2026-10-25T01:30:00Z", "2026-10-25", 3),
        ("Europe/Berlin", "2026-10-25T22:59:59Z", "2026-10-25", 24),
        # Lord Howe sets clocks back by half an hour: the day has 24.5 hours.
        ("Australia/Lord_Howe", "2026-04-05T12:59:59Z", "2026-04-05", 23),
        ("Australia/Lord_Howe", "2026-04-05T13:29:59Z", "2026-04-05", 24),
        # St John's: the repeated part of the previous day is in its 25th hour, ...
        ("America/St_Johns", "2010-11-07T02:31:00Z", "2010-11-06", 24),
        ("America/St_Johns", "1995-10-29T03:29:59Z", "1995-10-28", 24),
        # ... and the day, one minute of which has passed, continues in its second hour.
        ("America/St_Johns", "2010-11-07T02:30:30Z", "2010-11-07", 0),
        ("America/St_Johns", "2010-11-07T03:30:00Z", "2010-11-07", 1),
        ("America/St_Johns", "2010-11-08T03:29:59Z", "2010-11-07", 24),
        ("Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-31", 0),
    ],
)
def test_hours_are_counted_from_the_first_instant_of_the_day(
    zone: str, instant: str, day: str, hour: int
) -> None:
    at = datetime.fromisoformat(instant)
    assert local_hour(at, time_zone(zone)) == (date.fromisoformat(day), hour)


@given(
    st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.sampled_from(sorted(zone_names())),
)
def test_every_instant_has_an_hour_in_every_zone(instant: datetime, zone: str) -> None:
    day, hour = local_hour(instant, time_zone(zone))
    assert day == local_day(instant, time_zone(zone))
    assert hour is not None
    since = instant - day_begin(day, time_zone(zone))
    assert timedelta(hours=hour) <= since
    assert since < timedelta(hours=hour + 1) or hour == 24


def test_a_call_counts_in_distributions_and_in_its_hour() -> None:
    call = fold(
        [
            event("call.initiated", id="1"),
            event("call.answered", id="2", timestamp="2026-11-24T12:00:12.345Z", latency_ms=480),
            event("call.completed", id="3", duration=61, cost="12.3456", hangup_cause="NORMAL_CLEARING"),
        ]
    )
    measures = counted(call, time_zone("Europe/Berlin")).measures
    assert measures.effective == 1
    told_of = {
        "durations": (DURATIONS, 61),
        "answer_delays": (ANSWER_DELAYS, 12_345),
        "latencies": (LATENCIES, 480),
    }
    for name, (thresholds, value) in told_of.items():
        assert unpack(getattr(measures, name)) == [0] * bucket(value, thresholds) + [1]
    assert unpack(measures.hangup_causes)[CAUSES.index("NORMAL_CLEARING")] == 1
    at_13 = [0] * 13
    assert unpack(measures.hour_calls) == unpack(measures.hour_answered) == [*at_13, 1]
    assert unpack(measures.hour_duration_seconds, PACKED_DIGITS["hour_duration_seconds"]) == [*at_13, 61]
    assert unpack(measures.hour_cost, PACKED_DIGITS["hour_cost"]) == [*at_13, 123_456]


@pytest.mark.parametrize(
    ("data", "effective"),
    [
        ({"status": "busy"}, 1),
        ({"status": "no_answer", "hangup_cause": "NETWORK_OUT_OF_ORDER"}, 1),
        ({"status": "canceled"}, 1),
        ({"status": "failed", "hangup_cause": "CALL_REJECTED"}, 1),
        ({"status": "failed", "hangup_cause": "SIP 603"}, 1),
        ({"status": "failed", "hangup_cause": "NETWORK_OUT_OF_ORDER"}, 0),
        ({"status": "failed", "hangup_cause": "who knows"}, 0),
        ({"status": "failed"}, 0),
    ],
)
def test_an_unanswered_call_is_effective_by_its_status_or_cause(data: dict[str, str], effective: int) -> None:
    assert counted(fold([event("call.failed", **data)]), UTC_ZONE).measures.effective == effective


def test_what_has_not_ended_is_in_no_distribution_of_causes() -> None:
    measures = counted(fold([event("call.ringing", hangup_cause="USER_BUSY")]), UTC_ZONE).measures
    assert measures.effective == 0
    assert not unpack(measures.hangup_causes)


def test_a_call_is_counted_in_its_cell_with_its_measures() -> None:
    call = fold(
        [
            event("call.answered", id="1", direction="inbound", phone_number_id=UUID(int=7), latency_ms=0),
            event("call.completed", id="2", duration=61, cost="12.3456"),
        ]
    )
    cell, measures = counted(call, UTC_ZONE)
    assert cell == (ORGANIZATION, True, date(2026, 11, 24), "inbound", UUID(int=7), "completed")
    assert measures[:6] == (1, True, 61, Decimal("12.3456"), 0, True)


def test_what_is_not_known_counts_as_unknown_and_nothing() -> None:
    cell, measures = counted(fold([event("call.ringing")]), UTC_ZONE)
    assert cell == (ORGANIZATION, True, date(2026, 11, 24), "unknown", UUID(int=0), "ringing")
    assert measures[:6] == (1, False, 0, Decimal(0), 0, False)


@given(events_of_a_call)
def test_what_is_added_and_taken_is_no_change(events: list[Event]) -> None:
    deltas = Deltas()
    for n in range(len(events)):
        part = counted(fold(events[: n + 1]), UTC_ZONE)
        deltas.add(part)
        deltas.take(part)
    assert deltas.changes() == {}


@given(events_of_a_call)
def test_deltas_of_a_growing_call_sum_up_to_the_call(events: list[Event]) -> None:
    deltas = Deltas()
    before: Counted | None = None
    for n in range(len(events)):
        now = counted(fold(events[: n + 1]), UTC_ZONE)
        if before is not None:
            deltas.take(before)
        deltas.add(now)
        before = now
    assert before is not None
    assert deltas.changes() == {before.cell: before.measures}


def test_instants_are_compared_in_utc() -> None:
    assert local_day(datetime(2026, 11, 24, 23, 30, tzinfo=UTC), time_zone("Asia/Kolkata")) == date(
        2026, 11, 25
    )
