"""The fold's laws, over arbitrary events, and its answers, over pasted ones."""

import random
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.event import MISSING_HANGUP, Event
from shared.fold import FINAL, distinct, fold
from tests.events import NOON, events_of_a_call, table

RANK = {"initiated": 0, "ringing": 1, "in_progress": 2} | dict.fromkeys(FINAL, 3)


@given(events_of_a_call, st.randoms(use_true_random=False))
def test_order_never_matters(events: list[Event], chance: random.Random) -> None:
    shuffled = chance.sample(events, len(events))
    assert fold(shuffled) == fold(events)


@given(events_of_a_call, st.data())
def test_a_duplicate_changes_nothing_whatever_it_says(events: list[Event], data: st.DataObject) -> None:
    original = data.draw(st.sampled_from(events))
    other = data.draw(st.sampled_from(events))
    impostor = type(original)(
        original.organization_id,
        original.call_id,
        other.external_id,
        original.id,
        other.type,
        other.timestamp,
        other.livemode,
        other.data,
        other.payload,
    )
    assert fold(distinct([*events, original, impostor])) == fold(events)


@given(events_of_a_call)
def test_status_never_goes_back(events: list[Event]) -> None:
    ranks = [RANK[fold(events[: n + 1]).status] for n in range(len(events))]
    assert ranks == sorted(ranks)


@given(events_of_a_call)
def test_a_made_up_end_loses_against_any_real_one(events: list[Event]) -> None:
    real = [event for event in events if event.type != MISSING_HANGUP]
    if real and fold(real).status in FINAL:
        call, without = fold(events), fold(real)
        assert (call.status, call.completed_at, call.duration, call.cost, call.hangup_cause) == (
            without.status,
            without.completed_at,
            without.duration,
            without.cost,
            without.hangup_cause,
        )


@given(events_of_a_call)
def test_the_version_is_the_number_of_events_and_the_call_is_live_when_any_is(events: list[Event]) -> None:
    call = fold(events)
    assert call.version == len(events)
    assert call.livemode == any(event.livemode for event in events)


@dataclass
class Scenario:
    name: str
    events: str
    expected: dict[str, Any]


SCENARIOS = [
    Scenario(
        "answered and completed",
        """
        0   e1  call.initiated  from_number=+4930123 to_number=+12125550100 direction=outbound
        1   e2  call.ringing
        6   e3  call.answered   latency_ms=120
        66  e4  call.completed  duration=60 cost=1.25 hangup_cause=NORMAL_CLEARING
        """,
        {
            "status": "completed",
            "direction": "outbound",
            "from_number": "+4930123",
            "created_at": 0,
            "answered_at": 6,
            "completed_at": 66,
            "duration": 60,
            "cost": Decimal("1.25"),
            "latency_ms": 120,
            "hangup_cause": "NORMAL_CLEARING",
            "version": 4,
        },
    ),
    Scenario("just initiated", "0 e1 call.initiated", {"status": "initiated", "completed_at": None}),
    Scenario("ringing", "0 e1 call.initiated\n1 e2 call.ringing", {"status": "ringing"}),
    Scenario(
        "in progress",
        "0 e1 call.initiated\n5 e2 call.answered",
        {"status": "in_progress", "answered_at": 5, "completed_at": None},
    ),
    Scenario(
        "busy",
        "0 e1 call.initiated\n3 e2 call.failed status=busy hangup_cause=USER_BUSY",
        {"status": "busy", "answered_at": None, "completed_at": 3, "hangup_cause": "USER_BUSY"},
    ),
    Scenario("no answer", "0 e1 call.ringing\n30 e2 call.failed status=no_answer", {"status": "no_answer"}),
    Scenario("canceled", "0 e1 call.ringing\n4 e2 call.completed status=canceled", {"status": "canceled"}),
    Scenario("failed", "0 e1 call.initiated\n1 e2 call.failed", {"status": "failed"}),
    Scenario("an update says the status", "0 e1 call.updated status=in_progress", {"status": "in_progress"}),
    Scenario("an update ends the call", "0 e1 call.updated status=completed", {"status": "completed"}),
    Scenario(
        "a type that is an end is not undone by what it says",
        "0 e1 call.completed status=ringing\n1 e2 call.ringing",
        {"status": "completed"},
    ),
    Scenario("a failure is not completed", "0 e1 call.failed status=completed", {"status": "failed"}),
    Scenario(
        "a recording's status is the recording's",
        "0 e1 call.answered\n5 e2 recording.ready status=completed recording_url=https://recordings.example/1",
        {"status": "in_progress", "recording_url": "https://recordings.example/1"},
    ),
    Scenario(
        "the end arrives first",
        """
        66  e4  call.completed  duration=60
        6   e3  call.answered
        0   e1  call.initiated
        """,
        {"status": "completed", "created_at": 0, "answered_at": 6, "completed_at": 66, "duration": 60},
    ),
    Scenario(
        "only the end is seen",
        "66 e4 call.completed duration=60 answered_at=6",
        {"status": "completed", "created_at": 66, "answered_at": 6, "completed_at": 66},
    ),
    Scenario(
        "of two ends the later wins, with its duration, cost and cause",
        """
        60  e1  call.completed  duration=60 cost=5 hangup_cause=NORMAL_CLEARING
        61  e2  call.failed     duration=0
        """,
        {"status": "failed", "duration": 0, "cost": None, "hangup_cause": None, "completed_at": 61},
    ),
    Scenario(
        "of two ends at one instant the greater id wins",
        "60 e2 call.completed duration=2\n60 e1 call.failed duration=1",
        {"status": "completed", "duration": 2},
    ),
    Scenario(
        "what the losing end says besides stays",
        "60 e1 call.failed from_number=+4930123\n61 e2 call.completed",
        {"status": "completed", "from_number": "+4930123"},
    ),
    Scenario(
        "a cost that is rated after the end",
        "60 e1 call.completed duration=60 cost=1\n90 e2 call.updated cost=1.5",
        {"status": "completed", "cost": Decimal("1.5"), "duration": 60},
    ),
    Scenario(
        "events after the end change no status",
        "60 e1 call.completed\n70 e2 call.ringing\n80 e3 call.answered\n90 e4 call.updated status=ringing",
        {"status": "completed", "answered_at": 80, "completed_at": 60},
    ),
    Scenario(
        "the last writer wins, and silence erases nothing",
        """
        0  e1  call.initiated  from_number=anonymous to_number=sip:a@pbx.example
        5  e2  call.updated    from_number=+4930123
        3  e3  call.updated    from_number=+4930999
        """,
        {"from_number": "+4930123", "to_number": "sip:a@pbx.example"},
    ),
    Scenario(
        "created with the earliest initiation, though another event is earlier",
        "5 e1 call.initiated\n3 e2 call.initiated\n1 e3 call.ringing",
        {"created_at": 3},
    ),
    Scenario(
        "created with an initiation that is an overruled end as well",
        "5 e1 call.initiated status=failed\n6 e2 call.completed",
        {"created_at": 5, "status": "completed"},
    ),
    Scenario(
        "created with the earliest event until one is seen",
        "5 e1 call.answered\n4 e2 call.ringing",
        {"created_at": 4},
    ),
    Scenario(
        "times from the data go before the event's own",
        "10 e1 call.answered answered_at=8\n70 e2 call.completed completed_at=69",
        {"answered_at": 8, "completed_at": 69},
    ),
    Scenario(
        "a call that never ended",
        f"0 e1 call.answered\n9 z {MISSING_HANGUP} status=failed hangup_cause=MISSING_HANGUP",
        {"status": "failed", "hangup_cause": "MISSING_HANGUP", "completed_at": 9},
    ),
    Scenario(
        "its real end comes after all, and wins though it is earlier",
        f"0 e1 call.answered\n9 z {MISSING_HANGUP} status=failed hangup_cause=MISSING_HANGUP\n"
        "5 e2 call.completed duration=5",
        {"status": "completed", "hangup_cause": None, "completed_at": 5, "duration": 5},
    ),
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_scenario(scenario: Scenario) -> None:
    call = fold(table(scenario.events))
    seen: dict[str, Any] = {}
    for field in scenario.expected:
        got = getattr(call, field)
        if field.endswith("_at") and got is not None:
            got = round((got - NOON).total_seconds())
        seen[field] = got
    assert seen == scenario.expected
