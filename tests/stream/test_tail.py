"""The changes that a process keeps in memory: a stream resumes from them, or learns that it cannot."""

from hypothesis import given
from hypothesis import strategies as st

from services.api.stream.change import Change
from services.api.stream.tail import CHANGE_OVERHEAD_BYTES, Tail

PARTITIONS = 3
_read = st.lists(
    st.tuples(st.integers(0, PARTITIONS - 1), st.sampled_from([b"a:live", b"b:live"])), max_size=60
)


def changes(read: list[tuple[int, bytes]]) -> list[Change]:
    """Changes of these partitions and channels, with the offsets that a topic gives them."""
    next_offsets = [0] * PARTITIONS
    made = []
    for partition, channel in read:
        made.append(Change(channel, partition, next_offsets[partition], False, b"{}"))
        next_offsets[partition] += 1
    return made


@given(_read, st.integers(0, 60), st.lists(st.integers(0, 60), min_size=PARTITIONS, max_size=PARTITIONS))
def test_what_a_tail_reaches_back_to_it_has_without_a_gap(
    read: list[tuple[int, bytes]], records_max: int, offsets: list[int]
) -> None:
    tail = Tail([0] * PARTITIONS, records_max, 2**20)
    made = changes(read)
    for change in made:
        tail.add(change)
    if len(made) <= records_max:
        assert tail.begins_before(offsets)
    if tail.begins_before(offsets):
        found, are_all = tail.after(b"a:live", offsets, 1000, 2**20)
        assert are_all
        assert found == [
            change
            for change in made
            if change.channel == b"a:live" and change.offset >= offsets[change.partition]
        ]


def test_memory_is_bounded_by_bytes() -> None:
    tail = Tail([0] * PARTITIONS, 1000, 3 * (CHANGE_OVERHEAD_BYTES + 2))
    for change in changes([(0, b"a:live")] * 10):
        tail.add(change)
    assert not tail.begins_before([6, 0, 0])
    assert tail.begins_before([7, 0, 0])
    assert [change.offset for change in tail.after(b"a:live", [7, 0, 0], 1000, 2**20)[0]] == [7, 8, 9]


def test_a_long_answer_comes_in_parts_of_at_least_one_change() -> None:
    tail = Tail([0] * PARTITIONS, 1000, 2**20)
    for change in changes([(0, b"a:live"), (1, b"a:live"), (0, b"a:live")]):
        tail.add(change)
    assert [change.offset for change in tail.after(b"a:live", [0, 0, 0], 2, 2**20)[0]] == [0, 0]
    some, are_all = tail.after(b"a:live", [1, 1, 0], 2, 1)
    assert ([change.offset for change in some], are_all) == ([1], True)
    assert len(tail.after(b"a:live", [0, 0, 0], 2, 1)[0]) == 1
