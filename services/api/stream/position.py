"""A position in the topic of calls, and the id of an event, which encodes it. Pure.

The position does not depend on the process that read up to it: a client resumes on any process.
"""

import base64
import binascii
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final
from uuid import UUID

_FORM: Final = 1
_TOPIC_BYTES: Final = 8
_CHECK_BYTES: Final = 4
_NUMBER_MAX: Final = 2**63 - 1
PARTITIONS_MAX: Final = 4096
"""An id of more partitions would not fit into a request's head."""


@dataclass(frozen=True)
class Position:
    """Everything before these offsets was read."""

    topic: bytes
    """Identifies the topic, as `topic_identity` returns it."""
    complete_at: int
    """Every record that was committed before this moment, in seconds since 1970, is before the offsets."""
    offsets: tuple[int, ...]
    """The next offset of each partition."""


def topic_identity(name: str, topic_id: UUID | None) -> bytes:
    """Distinguishes a topic from others, also from earlier ones of its name. Brokers before Kafka 2.8 give no
    `topic_id`."""
    return blake2b((topic_id or UUID(int=0)).bytes + name.encode(), digest_size=_TOPIC_BYTES).digest()


def event_id(position: Position) -> str:
    """The position as an opaque text of letters, digits, `-` and `_`."""
    content = bytearray([_FORM])
    content += position.topic
    for number in (position.complete_at, len(position.offsets), *position.offsets):
        _append(content, number)
    content += blake2b(content, digest_size=_CHECK_BYTES).digest()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def position_of(text: str) -> Position:
    """The position that an id encodes. Raises ValueError for any other text."""
    try:
        content = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError("not an id") from error
    read, check = content[:-_CHECK_BYTES], content[-_CHECK_BYTES:]
    if blake2b(read, digest_size=_CHECK_BYTES).digest() != check or read[:1] != bytes([_FORM]):
        raise ValueError("not an id")
    numbers = list(_numbers(read[1 + _TOPIC_BYTES :]))
    position = Position(read[1 : 1 + _TOPIC_BYTES], numbers[0] if numbers else 0, tuple(numbers[2:]))
    # An id that this form would write otherwise is of another form.
    if not 0 < len(position.offsets) <= PARTITIONS_MAX or event_id(position) != text:
        raise ValueError("not an id")
    return position


def furthest(one: Sequence[int], other: Sequence[int]) -> tuple[int, ...]:
    """The higher offset of each partition. A partition that one of both lacks begins at 0."""
    some, more = sorted((one, other), key=len)
    return (*map(max, some, more), *more[len(some) :])


def has_read(reader: Sequence[int], offsets: Sequence[int]) -> bool:
    """Whether a reader at the first offsets has read up to the second ones."""
    return furthest(reader, offsets) == tuple(reader)


def _append(content: bytearray, number: int) -> None:
    """Writes 7 bits in each byte, the lowest first."""
    while number > 0x7F:
        content.append(number & 0x7F | 0x80)
        number >>= 7
    content.append(number)


def _numbers(content: bytes) -> Iterator[int]:
    """Reads what `_append` wrote. Raises ValueError."""
    number = shift = 0
    for byte in content:
        number |= (byte & 0x7F) << shift
        if number > _NUMBER_MAX:
            raise ValueError("not an id")
        shift += 7
        if byte <= 0x7F:
            yield number
            number = shift = 0
    if shift:
        raise ValueError("not an id")
