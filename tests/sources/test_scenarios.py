"""The deliveries of a whole call become the same calls in every order, and when each comes twice."""

import json
from pathlib import Path
from random import Random
from typing import Any, Final
from uuid import UUID

import pytest

from services.ops.sources.attempt import attempt, calls_of
from services.ops.sources.sample import Sample, scenario_of
from shared.calls.event import call_uuid
from shared.dialects.registry import DIALECTS
from tests.sources.test_samples import OWN_IDS
from tests.support.expected import call_faults, faults

SCENARIOS: Final = Path(__file__).parent / "scenarios"
ORDERS: Final = 20


def _files() -> list[str]:
    return sorted(path.name for path in SCENARIOS.glob("*.json"))


def _content(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((SCENARIOS / name).read_text(), parse_float=str)
    return content


def _check(samples: list[Sample], expected: list[dict[str, Any]]) -> None:
    calls = {(call.organization_id, call.id): call for call in calls_of(samples)}
    keys = [
        (UUID(each["organization"]), call_uuid(UUID(each["organization"]), each["call_id"]))
        for each in expected
    ]
    assert set(calls) == set(keys)
    for key, each in zip(keys, expected, strict=True):
        assert call_faults(calls[key], each) == []


@pytest.mark.parametrize("name", _files())
def test_each_delivery_becomes_what_the_file_expects(name: str) -> None:
    content = _content(name)
    assert content["dialect"] in DIALECTS
    ids = "own" if content["dialect"] in OWN_IDS else "free"
    for n, (sample, delivery) in enumerate(zip(scenario_of(content), content["deliveries"], strict=True)):
        assert (n, faults(attempt(sample), delivery["expect"], ids)) == (n, [])


@pytest.mark.parametrize("name", _files())
def test_every_order_gives_the_same_calls(name: str) -> None:
    content = _content(name)
    assert content["dialect"] in DIALECTS
    samples = scenario_of(content)
    _check(samples, content["calls"])
    _check([*samples, *samples], content["calls"])
    random = Random(name)
    for _ in range(ORDERS):
        twice = [*samples, *samples]
        random.shuffle(twice)
        _check(twice, content["calls"])
