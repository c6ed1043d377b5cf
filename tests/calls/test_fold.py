"""The fold's laws over arbitrary events, and its results for example calls."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from shared.calls.event import MISSING_HANGUP, Event
from shared.calls.fold import FINAL, distinct, fold, is_answered, overruled_ends
from tests.support.events import NOON, event, events_of_a_call, table

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


def is_completion(event: Event) -> bool:
    """Whether an event itself gives the status `completed`."""
    return event.type == "call.completed" and event.data.get("status", "completed") == "completed"


@given(events_of_a_call)
def test_status_never_goes_back_except_from_an_end_that_was_none(events: list[Event]) -> None:
    calls = [fold(events[: n + 1]) for n in range(len(events))]
    for n, (earlier, later) in enumerate(pairwise(calls), 1):
        if earlier.status not in FINAL:
            assert RANK[later.status] >= RANK[earlier.status]
        elif later.status not in FINAL:
            # A void or generated end. A void end may count as `completed` by law 5.
            assert not any(map(is_completion, events[:n]))
            assert later.status == "in_progress" or any(event.type == MISSING_HANGUP for event in events)


def later(events: Sequence[Event], n: int, type: str, **data: Any) -> Event:
    """An event that is n-th after all of these."""
    return event(
        type, id=f"later_{n}", timestamp=max(e.timestamp for e in events) + timedelta(seconds=n), **data
    )


unanswered = st.sampled_from(["busy", "no_answer", "canceled"])


@given(events_of_a_call, st.sampled_from(["busy", "no_answer", "canceled", "failed"]))
def test_an_end_that_an_answer_follows_is_void(events: list[Event], status: str) -> None:
    end = later(events, 1, "call.failed", status=status, duration=77, cost="7.7", hangup_cause="CRASH")
    answer = later(events, 2, "call.answered")
    call = fold([*events, end, answer])
    completed = any(fold([event]).status == "completed" for event in events)
    assert call.status == ("completed" if completed else "in_progress")
    assert (call.duration, call.cost, call.hangup_cause) != (77, Decimal("7.7"), "CRASH")
    assert call.version == len(events) + 2


@given(events_of_a_call, unanswered)
def test_after_an_answer_an_unanswered_end_completes_the_call(events: list[Event], status: str) -> None:
    answer = later(events, 1, "call.answered")
    assert fold([*events, answer, later(events, 2, "call.failed", status=status)]).status == "completed"
    assert fold([*events, answer, later(events, 2, "call.failed")]).status == "failed"


parts = st.fixed_dictionaries(
    {"duration": st.integers(1, 9), "cost": st.just("2.5"), "hangup_cause": st.just("USER_BUSY")}
)


@given(events_of_a_call, parts, st.lists(st.integers(0, 2), min_size=3, max_size=3), st.randoms())
def test_ends_that_agree_say_together_what_one_end_would(
    events: list[Event], said: dict[str, Any], where: list[int], chance: random.Random
) -> None:
    """Duration, cost and cause may be spread in any way over three ends of one status."""
    answer = later(events, 1, "call.answered")
    spread: list[dict[str, Any]] = [{}, {}, {}]
    for (field, told), n in zip(said.items(), where, strict=True):
        spread[n][field] = told
    ends = [later(events, n + 2, "call.completed", **part) for n, part in enumerate(spread)]
    together = [*events, answer, *chance.sample(ends, 3)]
    alone = [*events, answer, later(events, 4, "call.completed", **said)]
    call, expected = fold(together), fold(alone)
    assert (call.status, call.duration, call.cost, call.hangup_cause, call.completed_at) == (
        "completed",
        expected.duration,
        expected.cost,
        expected.hangup_cause,
        expected.completed_at,
    )


@given(events_of_a_call)
def test_the_earliest_answer_counts(events: list[Event]) -> None:
    told = [
        event.data.get("answered_at", event.timestamp if event.type == "call.answered" else None)
        for event in events
        if event.type not in ("recording.ready", "transcript.ready")
    ]
    answers = [answer for answer in told if answer is not None]
    call = fold(events)
    if answers:
        assert call.answered_at == min(answers)
    else:
        assert call.answered_at is None or (call.status == "completed" and call.duration)


@given(events_of_a_call)
def test_a_completed_call_has_every_time_that_follows_from_the_others(events: list[Event]) -> None:
    call = fold(events)
    assert (call.completed_at is None) == (call.status not in FINAL)
    if call.status == "completed" and call.completed_at:
        if call.answered_at and call.answered_at <= call.completed_at:
            assert call.duration is not None
        if call.duration:
            assert call.answered_at is not None
    assert is_answered(call.status, call.answered_at) == (
        call.status == "completed" or call.answered_at is not None
    )


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


signs_of_life = st.sampled_from(["call.initiated", "call.ringing", "call.answered", "call.updated"])
no_signs_of_life = st.sampled_from(["recording.ready", "transcript.ready", "price"])


@given(events_of_a_call, signs_of_life, no_signs_of_life)
def test_a_made_up_end_loses_against_a_later_sign_of_life(events: list[Event], life: str, other: str) -> None:
    open_ones = [event for event in events if event.type != MISSING_HANGUP]
    if not open_ones or fold(open_ones).status in FINAL:
        return
    end = event(MISSING_HANGUP, id="made_up", timestamp=max(e.timestamp for e in open_ones))
    if other == "price":
        after = later(open_ones, 1, "call.updated", cost="1.5")
    else:
        after = later(open_ones, 1, other, recording_url="https://recordings.example/1.wav")
    assert fold([*open_ones, end, after]).status == "failed"
    assert overruled_ends([*open_ones, end, after]) == []
    alive = later(open_ones, 2, life)
    assert fold([*open_ones, end, after, alive]).status not in FINAL
    assert overruled_ends([*open_ones, end, after, alive]) == [end]


@given(events_of_a_call)
def test_without_its_overruled_ends_a_call_is_the_same(events: list[Event]) -> None:
    gone = overruled_ends(events)
    kept = [event for event in events if event not in gone]
    assert all(event.type == MISSING_HANGUP for event in gone)
    # Of several generated ends one remains: the store never has more.
    if kept and not any(event.data for event in gone):
        assert replace(fold(kept), version=len(events), created_at=fold(events).created_at) == replace(
            fold(events), livemode=fold(kept).livemode
        )


@given(events_of_a_call)
def test_the_version_is_the_number_of_events(events: list[Event]) -> None:
    assert fold(events).version == len(events)


@given(events_of_a_call)
def test_test_data_never_becomes_live_because_an_event_says_nothing(events: list[Event]) -> None:
    call = fold(events)
    begins = sorted(
        (event.timestamp, event.id, event.livemode)
        for event in events
        if event.type == "call.initiated" and event.livemode is not None
    )
    if begins:
        assert call.livemode == begins[0][2]
    else:
        assert call.livemode == all(event.livemode is not False for event in events)


@given(events_of_a_call, st.sampled_from(["recording.ready", "transcript.ready"]))
def test_a_recording_or_transcript_changes_nothing_of_the_course(events: list[Event], type: str) -> None:
    ready = later(
        events,
        1,
        type,
        livemode=None,
        status="failed",
        duration=8,
        cost="9",
        latency_ms=7,
        hangup_cause="CRASH",
        answered_at=NOON - timedelta(hours=1),
        completed_at=NOON,
        recording_url="https://recordings.example/2.wav",
    )
    call = fold([*events, ready])
    assert call == replace(
        fold(events), recording_url="https://recordings.example/2.wav", version=len(events) + 1
    )


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
        "an end of another status contributes nothing",
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
        "only an end says when the call ended",
        "5 e1 call.answered\n60 e2 call.completed completed_at=59\n90 e3 call.updated cost=1 completed_at=90",
        {"status": "completed", "completed_at": 59, "duration": 54},
    ),
    Scenario(
        "events after the end change no status",
        "60 e1 call.completed\n70 e2 call.ringing\n80 e3 call.answered\n90 e4 call.updated status=ringing",
        {"status": "completed", "answered_at": 80, "completed_at": 60, "duration": None},
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
    Scenario(
        "it comes alive again, and its real end is yet to come",
        f"0 e1 call.answered\n9 z {MISSING_HANGUP} hangup_cause=CRASH\n20 e2 call.updated to_number=1",
        {"status": "in_progress", "hangup_cause": None, "completed_at": None},
    ),
    Scenario(
        "forward on busy, while they talk",
        """
        0   e1  call.initiated  from_number=+12025550100 to_number=+447700900501
        2   e2  call.failed     status=busy hangup_cause=USER_BUSY duration=0
        3   e3  call.ringing
        9   e4  call.answered
        """,
        {
            "status": "in_progress",
            "hangup_cause": None,
            "duration": None,
            "answered_at": 9,
            "completed_at": None,
        },
    ),
    Scenario(
        "forward on busy, after it",
        """
        0   e1  call.initiated
        2   e2  call.failed     status=busy hangup_cause=USER_BUSY duration=0
        9   e4  call.answered
        69  e5  call.completed  hangup_cause=NORMAL_CLEARING
        """,
        {"status": "completed", "hangup_cause": "NORMAL_CLEARING", "duration": 60, "completed_at": 69},
    ),
    Scenario(
        "voicemail answers after no answer",
        """
        0   e1  call.initiated
        25  e2  call.failed     status=no_answer
        26  e3  call.answered
        56  e4  call.failed     status=no_answer hangup_cause=NORMAL_CLEARING
        """,
        {"status": "completed", "answered_at": 26, "completed_at": 56, "duration": 30},
    ),
    Scenario(
        "a late 487 after 408",
        """
        0   e1  call.initiated
        30  e2  call.failed     status=no_answer hangup_cause=SIP_408
        31  e3  call.failed     status=canceled
        """,
        {"status": "canceled", "hangup_cause": None, "answered_at": None, "completed_at": 31},
    ),
    Scenario(
        "a losing branch's CDR is written late",
        """
        0   e1  call.initiated
        6   e2  call.answered
        66  e3  call.completed  duration=60 cost=2 hangup_cause=NORMAL_CLEARING completed_at=66
        70  e4  call.failed     status=canceled duration=0 hangup_cause=LOSE_RACE
        """,
        {
            "status": "completed",
            "duration": 60,
            "cost": Decimal(2),
            "hangup_cause": "NORMAL_CLEARING",
            "completed_at": 66,
        },
    ),
    Scenario(
        "BYE and CDR each know a part",
        """
        0    e1  call.initiated
        5    e2  call.answered
        65   e3  call.completed  hangup_cause=NORMAL_CLEARING completed_at=65
        66   e4  call.completed  duration=59
        67   e5  call.completed  cost=1.5
        """,
        {
            "status": "completed",
            "duration": 59,
            "cost": Decimal("1.5"),
            "hangup_cause": "NORMAL_CLEARING",
            "completed_at": 65,
        },
    ),
    Scenario(
        "three answers: a ring group, its agent, a transfer",
        """
        0    e1  call.initiated
        9    e2  call.answered
        4    e3  call.answered
        30   e4  call.answered  answered_at=31
        60   e5  call.completed
        """,
        {"answered_at": 4, "duration": 56},
    ),
    Scenario(
        "an end alone, with a duration",
        "66 e1 call.completed duration=60",
        {"status": "completed", "created_at": 66, "answered_at": 66, "completed_at": 66, "duration": 60},
    ),
    Scenario(
        "an end with a duration, and no answer",
        "0 e1 call.initiated\n66 e2 call.completed duration=60",
        {"status": "completed", "answered_at": 6, "completed_at": 66},
    ),
    Scenario(
        "completed without an answer or a duration",
        "0 e1 call.initiated\n66 e2 call.completed",
        {"status": "completed", "answered_at": None, "duration": None},
    ),
    Scenario(
        "an end arrives before its answer",
        "0 e1 call.initiated\n40 e3 call.completed\n10 e2 call.answered",
        {"status": "completed", "answered_at": 10, "duration": 30},
    ),
    Scenario(
        "a call breaks after the answer",
        """
        0   e1  call.initiated
        5   e2  call.answered
        20  e3  call.failed  hangup_cause=NETWORK_OUT_OF_ORDER
        """,
        {"status": "failed", "answered_at": 5, "duration": None, "hangup_cause": "NETWORK_OUT_OF_ORDER"},
    ),
    Scenario(
        "two completions that disagree",
        """
        0   e1  call.answered
        60  e2  call.completed  duration=60 cost=2
        61  e3  call.completed  duration=61
        """,
        {"duration": 61, "cost": Decimal(2), "completed_at": 61},
    ),
    Scenario(
        "clocks that disagree give no duration",
        "40 e1 call.initiated\n30 e2 call.answered\n20 e3 call.completed",
        {"status": "completed", "answered_at": 30, "completed_at": 20, "duration": None},
    ),
    Scenario(
        "one service forgets to say that it is a test",
        """
        0   e1  call.initiated  livemode=false
        5   e2  call.answered   livemode=false
        90  e3  recording.ready recording_url=https://recordings.example/1
        """,
        {"livemode": False},
    ),
    Scenario(
        "the begin says the mode",
        "0 e1 call.initiated livemode=true\n5 e2 call.answered livemode=false",
        {"livemode": True},
    ),
    Scenario("no event gives the mode", "0 e1 call.initiated\n5 e2 call.answered", {"livemode": True}),
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
