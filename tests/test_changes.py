"""What a batch changes, over arbitrary batches of interleaved calls, with what is stored kept by the test."""

import random
from collections import defaultdict
from datetime import timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from shared.changes import CallKey, Changes, KnownCall, Organization, TouchedCall, Written, changes, group
from shared.count import Cell, Measures, counted
from shared.event import Event
from shared.fold import distinct, fold
from shared.packed import EXACT
from shared.zones import time_zone
from tests.events import NOON, ORGANIZATION, event, events_of_calls

BERLIN = time_zone("Europe/Berlin")
ORGANIZATIONS = {ORGANIZATION: Organization("Europe/Berlin")}
Sums = defaultdict[tuple[Cell, int], Decimal]


def add(sums: Sums, cell: Cell, measures: Measures) -> None:
    numbers: tuple[int | Decimal, ...] = measures
    for n, measure in enumerate(numbers):
        sums[cell, n] = EXACT.add(sums[cell, n], measure)


class Stored:
    """What the tables would have after each batch."""

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
        by_call = group([(None, event) for event in batch])
        touched = [TouchedCall(arrived, self.known(key)) for key, arrived in by_call.items()]
        made = changes(touched, ORGANIZATIONS)
        for one in made.events:
            self.events.setdefault((one.organization_id, one.call_id), {})[one.id] = one
        for cell, measures in made.deltas.items():
            add(self.sums, cell, measures)
        return made


@given(events_of_calls(3), st.randoms(use_true_random=False), st.data())
def test_batches_split_anywhere_give_the_same_calls_and_counts(
    calls: list[list[Event]], chance: random.Random, data: st.DataObject
) -> None:
    arriving = [event for call in calls for event in call]
    arriving += chance.sample(arriving, len(arriving) // 3)  # redelivered
    chance.shuffle(arriving)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(arriving)), max_size=4)))
    stored = Stored()
    duplicates = 0
    for begin, end in zip([0, *cuts], [*cuts, len(arriving)], strict=True):
        duplicates += stored.take(arriving[begin:end]).duplicates
    assert duplicates == len(arriving) - sum(map(len, calls))
    expected: Sums = defaultdict(Decimal)
    for call in calls:
        key = (ORGANIZATION, call[0].call_id)
        whole = fold(distinct(call))
        assert fold(list(stored.events[key].values())) == whole
        cell, measures = counted(whole, BERLIN)
        add(expected, cell, measures)
    assert {k: v for k, v in stored.sums.items() if v} == {k: v for k, v in expected.items() if v}


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
    touched = [TouchedCall(gone, KnownCall(deleted=True)), TouchedCall(kept, KnownCall())]
    made = changes(touched, ORGANIZATIONS)
    assert made.of_deleted_calls == gone
    assert made.events == kept
    assert [call.id for call, _ in made.new_calls] == [kept[0].call_id]


def test_an_event_that_is_too_old_takes_none_of_its_id_with_it() -> None:
    """As if they came in two batches."""
    old = event("call.initiated", id="1", timestamp=NOON - timedelta(days=3))
    young = event("call.ringing", id="1")
    organizations = {ORGANIZATION: Organization("UTC", retention_days=1)}
    made = changes([TouchedCall([old, young, old, young], KnownCall())], organizations, now=NOON)
    assert made.events == [young]
    assert [refused.event for refused in made.refused] == [old, old]
    assert made.duplicates == 1
