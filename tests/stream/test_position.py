"""The ids of events: each encodes a position, and no other text is taken for one."""

from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.api.stream.position import Position, event_id, furthest, has_read, position_of, topic_identity

_offsets = st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=40)
_positions = st.builds(
    Position, st.binary(min_size=8, max_size=8), st.integers(0, 2**40), _offsets.map(tuple)
)


@given(_positions)
def test_an_id_encodes_the_whole_position(position: Position) -> None:
    text = event_id(position)
    assert position_of(text) == position
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(_positions, st.data())
def test_a_changed_id_is_none(position: Position, data: st.DataObject) -> None:
    text = event_id(position)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from("ABab09-_").filter(lambda letter: letter != text[at]))
    with pytest.raises(ValueError, match="not an id"):
        position_of(text[:at] + other + text[at + 1 :])
    with pytest.raises(ValueError, match="not an id"):
        position_of(text[:at])


@given(st.text())
@example("")
@example("AQ")
@example("\N{LATIN SMALL LETTER E WITH ACUTE}")
def test_no_other_text_is_an_id(text: str) -> None:
    with pytest.raises(ValueError, match="not an id"):
        position_of(text)


@given(_offsets, _offsets)
def test_a_reader_has_read_what_no_offset_of_it_is_before(one: list[int], other: list[int]) -> None:
    both = furthest(one, other)
    assert both == furthest(other, one)
    assert has_read(both, one)
    assert has_read(both, other)
    longer = one + [0] * len(other)
    assert has_read(longer, other) == all(
        after >= before for after, before in zip(longer, other, strict=False)
    )


def test_a_topic_of_the_same_name_is_another() -> None:
    first, second = (topic_identity("calls", UUID(int=n)) for n in (1, 2))
    assert first != second != topic_identity("calls", None) != topic_identity("others", None)
