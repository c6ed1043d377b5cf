"""The changes of a batch, over arbitrary batches of interleaved calls; the test keeps the stored state."""

import random
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.calls.event import MISSING_HANGUP, Event, read
from shared.calls.fold import FINAL, fold
from shared.calls.organization_tombstone import organization_tombstone
from shared.calls.zones import time_zone
from shared.counts.cell import Cell, Measures, counted
from shared.counts.packed import EXACT
from shared.store.changes import (
    CallKey,
    Changes,
    KnownCall,
    Organization,
    TouchedCall,
    Written,
    change_of,
    changes,
    group,
)
from tests.support.events import CALL, NOON, ORGANIZATION, event, events_of_calls, value

BERLIN = time_zone("Europe/Berlin")
ORGANIZATIONS = {ORGANIZATION: Organization("Europe/Berlin")}
NOTHING = KnownCall()
Sums = defaultdict[tuple[Cell, int], Decimal]


def touched(arrived: Sequence[Event], known: KnownCall = NOTHING) -> TouchedCall:
    """A call with these arrived events."""
    return TouchedCall((arrived[0].organization_id, arrived[0].call_id), arrived, known)


def add(sums: Sums, cell: Cell, measures: Measures) -> None:
    numbers: tuple[int | Decimal, ...] = measures
    for n, measure in enumerate(numbers):
        sums[cell, n] = EXACT.add(sums[cell, n], measure)


def subtract(sums: Sums, cell: Cell, measures: Measures) -> None:
    numbers: tuple[int | Decimal, ...] = measures
    for n, measure in enumerate(numbers):
        sums[cell, n] = EXACT.subtract(sums[cell, n], measure)


class Stored:
    """The content of the tables after each batch."""

    def __init__(self) -> None:
        self.events: dict[CallKey, dict[str, Event]] = {}
        self.sums: Sums = defaultdict(Decimal)

    def known(self, key: CallKey) -> KnownCall:
        events = self.events.get(key)
        if events is None:
            return KnownCall()
        call = fold(list(events.values()))
        payloads = {id: event.payload for id, event in events.items()}
        return KnownCall(row=Written(call.version, 0), counted=counted(call, BERLIN), events=payloads)

    def take(self, batch: list[Event]) -> Changes:
        by_call = group(batch)
        calls = [TouchedCall(key, arrived, self.known(key)) for key, arrived in by_call.items()]
        made = changes(calls, ORGANIZATIONS)
        for gone in made.overruled:
            del self.events[gone.organization_id, gone.call_id][gone.id]
        for one in made.events:
            self.events.setdefault((one.organization_id, one.call_id), {})[one.id] = one
        for cell, measures in made.deltas.items():
            add(self.sums, cell, measures)
        return made

    def assert_counted(self) -> None:
        """The deltas add up to the measures of the current calls."""
        expected: Sums = defaultdict(Decimal)
        for events in self.events.values():
            cell, measures = counted(fold(list(events.values())), BERLIN)
            add(expected, cell, measures)
        assert {k: v for k, v in self.sums.items() if v} == {k: v for k, v in expected.items() if v}


def batches(data: st.DataObject, arriving: list[Event]) -> list[list[Event]]:
    """The arrived events, split at any point."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(arriving)), max_size=4)))
    return [arriving[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(arriving)], strict=True)]


@given(events_of_calls(3), st.randoms(use_true_random=False), st.data())
def test_batches_split_anywhere_give_the_same_calls_and_counts(
    calls: list[list[Event]], chance: random.Random, data: st.DataObject
) -> None:
    arriving = [event for call in calls for event in call]
    arriving += chance.sample(arriving, len(arriving) // 3)  # redelivered
    chance.shuffle(arriving)
    stored = Stored()
    duplicates = sum(stored.take(batch).duplicates for batch in batches(data, arriving))
    assert duplicates == len(arriving) - sum(map(len, calls))
    for call in calls:
        kept = stored.events[ORGANIZATION, call[0].call_id]
        assert fold(list(kept.values())) == fold(call)
    stored.assert_counted()


@given(events_of_calls(2), st.randoms(use_true_random=False), st.data())
def test_an_end_that_callfold_made_up_leaves_no_trace_when_it_is_overruled(
    calls: list[list[Event]], chance: random.Random, data: st.DataObject
) -> None:
    """Open calls are ended between any two batches."""
    arriving = [event for call in calls for event in call]
    chance.shuffle(arriving)
    stored = Stored()
    for batch in batches(data, arriving):
        stored.take(batch)
        for (_, call_id), events in list(stored.events.items()):
            if fold(list(events.values())).status not in FINAL:
                last = max(event.timestamp for event in events.values())
                stored.take([event(MISSING_HANGUP, id="made_up", call_id=call_id, timestamp=last)])
        stored.assert_counted()
    for call in calls:
        kept = list(stored.events[ORGANIZATION, call[0].call_id].values())
        published = [one for one in kept if one.type != MISSING_HANGUP]
        assert fold(published) == fold(call)
        if fold(call).status in FINAL:
            assert kept == published
        else:
            assert fold(kept).status == "failed"


@given(events_of_calls(3), st.randoms(use_true_random=False), st.data())
def test_a_batch_changes_the_sum_of_what_it_changes_of_each_call(
    calls: list[list[Event]], chance: random.Random, data: st.DataObject
) -> None:
    arriving = [event for call in calls for event in call]
    chance.shuffle(arriving)
    stored = Stored()
    for batch in batches(data, arriving):
        touched_calls = [TouchedCall(key, some, stored.known(key)) for key, some in group(batch).items()]
        each = [change_of(call, BERLIN) for call in touched_calls]
        sums: Sums = defaultdict(Decimal)
        for one in each:
            if one.after is not None:
                add(sums, *one.after)
            if one.before is not None:
                subtract(sums, *one.before)
        made = stored.take(batch)
        assert made.events == [event for one in each for event in one.events]
        assert made.duplicates == sum(one.duplicates for one in each)
        deltas: Sums = defaultdict(Decimal)
        for cell, measures in made.deltas.items():
            add(deltas, cell, measures)
        assert {k: v for k, v in sums.items() if v} == {k: v for k, v in deltas.items() if v}


@given(events_of_calls(1), st.randoms(use_true_random=False), st.integers(0, 20))
def test_each_event_that_arrives_is_accounted_for_once(
    calls: list[list[Event]], chance: random.Random, minutes: int
) -> None:
    """The event is new, too old, or known from the store or from an earlier event of the batch."""
    (call,) = calls
    arrived = [*call, *chance.sample(call, len(call) // 2)]
    chance.shuffle(arrived)
    known = Stored()
    known.take(chance.sample(call, len(call) // 3))
    key = call[0].organization_id, call[0].call_id
    oldest = min(event.timestamp for event in call) + timedelta(minutes=minutes)
    change = change_of(TouchedCall(key, arrived, known.known(key)), BERLIN, oldest)
    stored_ids = known.events.get(key, {}).keys()
    assert {event.id for event in change.events}.isdisjoint(stored_ids)
    assert all(event.timestamp >= oldest for event in change.events)
    assert all(refused.event.timestamp < oldest for refused in change.refused)
    accounted = len(change.events) + len(change.refused) + change.duplicates + len(change.conflicting)
    assert accounted == len(arrived)
    assert (change.call is None) == (not change.events)


@given(events_of_calls(2))
def test_what_is_stored_already_changes_nothing(calls: list[list[Event]]) -> None:
    stored = Stored()
    batch = [event for call in calls for event in call]
    stored.take(batch)
    again = stored.take(batch)
    assert (again.events, again.new_calls, again.changed_calls, again.deltas) == ([], [], [], {})
    assert again.duplicates == len(batch)


@given(events_of_calls(2))
def test_events_of_a_deleted_call_are_dropped_and_no_others(calls: list[list[Event]]) -> None:
    gone, kept = calls
    made = changes([touched(gone, KnownCall(deleted=True)), touched(kept)], ORGANIZATIONS)
    assert made.of_deleted_calls == gone
    assert made.events == kept
    assert [call.id for call, _ in made.new_calls] == [kept[0].call_id]


def test_an_overruled_end_leaves_the_call_and_its_real_events_stay() -> None:
    begin = event("call.initiated", id="1")
    end = event(MISSING_HANGUP, id="callfold.missing_hangup", hangup_cause="MISSING_HANGUP")
    stored = Stored()
    stored.take([begin, end])
    made = stored.take([event("call.completed", id="2", timestamp=NOON + timedelta(seconds=9), duration=9)])
    assert [gone.type for gone in made.overruled] == [MISSING_HANGUP]
    ((call, _, _),) = made.changed_calls
    assert (call.status, call.version) == ("completed", 2)
    assert stored.events[ORGANIZATION, CALL].keys() == {"1", "2"}


def test_a_known_id_with_other_content_is_not_a_duplicate() -> None:
    """A duplicate in another notation has the same content."""
    first = event("call.initiated", id="0", direction="inbound")
    written_otherwise = read(first.payload.replace(", ", ",").encode(), NOON)
    end = event("call.completed", id="0", duration=60)
    stored = Stored()
    made = stored.take([first, first, written_otherwise, end])
    assert (made.events, made.duplicates, made.conflicting) == ([first], 2, [end])
    made = stored.take([first, written_otherwise, end])
    assert (made.events, made.duplicates, made.conflicting) == ([], 2, [end])


def test_a_known_id_with_a_number_that_no_reader_takes_is_other_content() -> None:
    first = event("call.initiated", id="0")
    huge = read(value("call.initiated", id="0", vendor="?").replace(b'"?"', b"1" + b"0" * 5_000), NOON)
    made = Stored().take([first, huge])
    assert (made.events, made.conflicting) == ([first], [huge])


@pytest.mark.parametrize("call_id", [UUID(int=0), organization_tombstone(ORGANIZATION)])
def test_an_id_that_stands_for_something_else_names_no_call(call_id: UUID) -> None:
    made = Stored().take([event("call.initiated", call_id=call_id)])
    assert [one.reason for one in made.refused] == ["call_id: this UUID is reserved"]
    assert (made.events, made.new_calls) == ([], [])


def test_an_event_that_is_too_old_takes_none_of_its_id_with_it() -> None:
    """As if they arrived in two batches."""
    old = event("call.initiated", id="1", timestamp=NOON - timedelta(days=3))
    young = event("call.ringing", id="1")
    organizations = {ORGANIZATION: Organization("UTC", retention_days=1)}
    made = changes([touched([old, young, old, young])], organizations, now=NOON)
    assert made.events == [young]
    assert [refused.event for refused in made.refused] == [old, old]
    assert made.duplicates == 1
