"""Which day a call counts in, and how deltas sum up."""

from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given

from shared.count import Counted, Deltas, counted, local_day
from shared.event import Event
from shared.fold import fold
from tests.events import ORGANIZATION, event, events_of_a_call

UTC_ZONE = ZoneInfo("UTC")


@pytest.mark.parametrize(
    ("zone", "instant", "day"),
    [
        # Berlin: the clock goes from 2:00 to 3:00 on 2026-03-29, and from 3:00 to 2:00 on 2026-10-25.
        ("Europe/Berlin", "2026-03-28T22:59:59.999999Z", "2026-03-28"),
        ("Europe/Berlin", "2026-03-28T23:00:00Z", "2026-03-29"),
        ("Europe/Berlin", "2026-03-29T21:59:59Z", "2026-03-29"),
        ("Europe/Berlin", "2026-03-29T22:00:00Z", "2026-03-30"),
        ("Europe/Berlin", "2026-10-24T21:59:59Z", "2026-10-24"),
        ("Europe/Berlin", "2026-10-24T22:00:00Z", "2026-10-25"),
        ("Europe/Berlin", "2026-10-25T22:59:59Z", "2026-10-25"),
        ("Europe/Berlin", "2026-10-25T23:00:00Z", "2026-10-26"),
        # St John's: half an hour off the hour, and until 2011 the clock changed at one minute past midnight.
        ("America/St_Johns", "2026-01-01T03:29:59Z", "2025-12-31"),
        ("America/St_Johns", "2026-01-01T03:30:00Z", "2026-01-01"),
        ("America/St_Johns", "2010-11-07T02:29:59Z", "2010-11-06"),
        ("America/St_Johns", "2010-11-07T02:30:30Z", "2010-11-07"),
        # The clock went back over midnight: the day before came again for 59 minutes.
        ("America/St_Johns", "2010-11-07T02:31:00Z", "2010-11-06"),
        ("America/St_Johns", "2010-11-07T03:30:00Z", "2010-11-07"),
        # Apia: the country left out 2011-12-30.
        ("Pacific/Apia", "2011-12-30T09:59:59Z", "2011-12-29"),
        ("Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-31"),
        ("Pacific/Apia", "2026-11-24T10:59:59Z", "2026-11-24"),
        ("Pacific/Apia", "2026-11-24T11:00:00Z", "2026-11-25"),
    ],
)
def test_the_day_is_the_organizations_own(zone: str, instant: str, day: str) -> None:
    assert local_day(datetime.fromisoformat(instant), ZoneInfo(zone)) == date.fromisoformat(day)


def test_a_call_is_counted_in_its_cell_with_its_measures() -> None:
    call = fold(
        [
            event("call.answered", id="1", direction="inbound", phone_number_id=UUID(int=7), latency_ms=0),
            event("call.completed", id="2", duration=61, cost="12.3456"),
        ]
    )
    cell, measures = counted(call, UTC_ZONE)
    assert cell == (ORGANIZATION, True, date(2026, 11, 24), "inbound", UUID(int=7), "completed")
    assert measures == (1, True, 61, Decimal("12.3456"), 0, True)


def test_what_is_not_known_counts_as_unknown_and_nothing() -> None:
    cell, measures = counted(fold([event("call.ringing")]), UTC_ZONE)
    assert cell == (ORGANIZATION, True, date(2026, 11, 24), "unknown", UUID(int=0), "ringing")
    assert measures == (1, False, 0, Decimal(0), 0, False)


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
    assert local_day(datetime(2026, 11, 24, 23, 30, tzinfo=UTC), ZoneInfo("Asia/Kolkata")) == date(
        2026, 11, 25
    )
