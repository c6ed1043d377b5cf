"""The rules of the storm's checkers find what they must find."""

from uuid import UUID

import pytest

from services.api.stream.position import Position, event_id
from tests.storm.endpoints import WAYS, ways_of
from tests.storm.followed import Followed
from tests.storm.topic_history import Written, fault_of

CALL = UUID(int=7)
TOPIC = b"8 bytes."


def written(revision: int | None, value: bytes | None = b"{}") -> Written:
    """A record of a call; with the revision None, its deletion."""
    return Written(0, 0, "live", revision, None if revision is None else value)


@pytest.mark.parametrize(
    ("records", "fault"),
    [
        ([written(1), written(3)], None),
        ([written(1), written(1), written(None), written(None)], None),
        ([written(None)], None),
        ([written(3), written(2)], "revision 2 follows 3"),
        ([written(1, b"{}"), written(1, b"[]")], "revision 1 has two values"),
        ([written(1), written(None), written(2)], "a deleted call came back"),
    ],
)
def test_records_of_a_call_in_their_order(records: list[Written], fault: str | None) -> None:
    assert fault_of(records) == fault


def block(*offsets: int, event: str = "", data: str = "") -> bytes:
    """A block of a stream, as its parts come without the empty line at the end."""
    lines = [
        f"id: {event_id(Position(TOPIC, 0, offsets))}",
        *([f"event: {event}", f"data: {data}"] if event else ()),
    ]
    return "\n".join(lines).encode()


def test_a_client_notes_what_it_heard_and_where_it_is() -> None:
    followed = Followed(UUID(int=1), livemode=True)
    assert not followed.has_reached((0, 0))
    changed, deleted = f'{{"id":"{CALL}","status":"ringing"}}', f'{{"id":"{CALL}"}}'
    assert followed.take(b"retry: 2000\n" + block(4, 5)) is None
    assert followed.take(block(4, 6, event="call.changed", data=changed)) is None
    assert followed.take(block(5, 6, event="call.deleted", data=deleted)) is None
    assert (followed.begins, followed.offsets) == ((4, 5), (5, 6))
    assert (followed.has_reached((5, 6)), followed.has_reached((5, 7))) == (True, False)
    assert followed.heard == {CALL: [changed.encode(), None]}
    again = followed.take(block(5, 7, event="call.changed", data=changed))
    assert again is not None
    assert again.startswith("a deleted call came back")
    assert followed.take(block(9, 9, event="reset", data="{}")) == "it missed changes"


def test_the_seed_and_the_id_tell_how_a_message_fails() -> None:
    ids = [f"msg_{n}" for n in range(2_000)]
    ways = {id_: ways_of(1, id_) for id_ in ids}
    assert ways == {id_: ways_of(1, id_) for id_ in ids}
    assert ways != {id_: ways_of(2, id_) for id_ in ids}
    assert {way for each in ways.values() for way in each} == set(WAYS)
    assert 0.9 < sum(not each for each in ways.values()) / len(ids) < 0.95
    assert max(map(len, ways.values())) == 3
