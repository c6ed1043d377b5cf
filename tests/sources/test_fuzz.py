"""No dialect fails on a damaged delivery. `python -m tests.sources.fuzz DIALECT` tries many more."""

from dataclasses import replace
from typing import Any, cast

import pytest

from services.ops.sources.attempt import attempt
from shared.dialects.registry import DIALECTS
from shared.sources.outcome import Fact
from shared.sources.record import Record
from tests.sources.fuzz import damaged, fault, samples_of

DAMAGED = 60


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
def test_a_dialect_reads_or_quarantines_every_damaged_delivery(dialect: str) -> None:
    assert samples_of(dialect)
    failures = {seed: fault(damaged(dialect, seed)) for seed in range(DAMAGED)}
    assert {seed: failure for seed, failure in failures.items() if failure is not None} == {}


def test_damaged_deliveries_have_every_outcome() -> None:
    outcomes = {attempt(damaged("aircall", seed), verify=seed % 2 == 0).outcome for seed in range(200)}
    assert outcomes == {"events", "ignored", "quarantined", "refused"}


def test_a_seed_gives_its_delivery_again() -> None:
    assert [damaged("3cx", seed) for seed in range(20)] == [damaged("3cx", seed) for seed in range(20)]


def _raises(record: Record) -> list[Fact]:
    raise KeyError("CallSid")


def _breaks_the_contract(record: Record) -> list[Fact]:
    return [Fact("id", "call.answered", "call", record.received_at, {"duration": -1})]


@pytest.mark.parametrize(("read", "reason"), [(_raises, "KeyError"), (_breaks_the_contract, "data.duration")])
def test_a_fault_of_a_dialect_is_found(monkeypatch: pytest.MonkeyPatch, read: Any, reason: str) -> None:
    broken = replace(DIALECTS["aircall"], read=read)
    monkeypatch.setitem(cast("dict[str, Any]", DIALECTS), "aircall", broken)
    assert reason in (fault(samples_of("aircall")[0]) or "")
