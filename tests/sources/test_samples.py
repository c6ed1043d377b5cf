"""Every sample of a system becomes what its file expects, and the same again when it is delivered again."""

import json
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from services.ops.sources.attempt import attempt
from services.ops.sources.sample import sample_of
from shared.dialects.registry import DIALECTS
from tests.support.expected import faults

SAMPLES: Final = Path(__file__).parent / "samples"
OWN_IDS: Final = frozenset(
    {
        *("3cx", "amazon_connect", "asterisk", "daily", "dialpad", "freeswitch", "genesys_cloud", "kamailio"),
        *("krosai", "livekit", "ringcentral", "telnyx", "wazo"),
    }
)
"""The systems whose own ids are the events' ids. Elsewhere the text of an id is free."""


def _files() -> list[str]:
    return sorted(str(path.relative_to(SAMPLES)) for path in SAMPLES.glob("*/*.json"))


@cache
def _content(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((SAMPLES / name).read_text(), parse_float=str)
    return content


def _ids(name: str) -> str:
    return "own" if _content(name)["dialect"] in OWN_IDS or name.startswith("envelopes/") else "free"


@pytest.mark.parametrize("name", _files())
def test_a_sample_becomes_what_its_file_expects(name: str) -> None:
    content = _content(name)
    assert content["dialect"] in DIALECTS
    made = attempt(sample_of(content))
    assert faults(made, content["expect"], _ids(name)) == []


@pytest.mark.parametrize("name", _files())
def test_a_sample_gives_the_same_events_each_time(name: str) -> None:
    content = _content(name)
    assert content["dialect"] in DIALECTS
    assert attempt(sample_of(content)) == attempt(sample_of(content))


@pytest.mark.parametrize("name", [name for name in _files() if "same_events_as" in _content(name)])
def test_a_repetition_gives_the_same_events(name: str) -> None:
    content = _content(name)
    other = _content(f"{Path(name).parent}/{content['same_events_as']}.json")
    assert attempt(sample_of(content)).events == attempt(sample_of(other)).events


@pytest.mark.parametrize("name", [name for name in _files() if "same_id_as" in _content(name)])
def test_a_repetition_at_another_time_gives_the_same_ids(name: str) -> None:
    content = _content(name)
    other = _content(f"{Path(name).parent}/{content['same_id_as']}.json")
    ids = [placed.fact.id for placed in attempt(sample_of(content)).events]
    assert ids == [placed.fact.id for placed in attempt(sample_of(other)).events]
