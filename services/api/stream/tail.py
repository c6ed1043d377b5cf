"""The last changes that a process has read, for streams that resume."""

from collections import deque
from collections.abc import Sequence
from typing import Final

from services.api.stream.change import Change

CHANGE_OVERHEAD_BYTES: Final = 500


class Tail:
    """The changes of a topic from some offsets on, within limits of records and bytes."""

    def __init__(self, offsets: Sequence[int], records_max: int, bytes_max: int) -> None:
        self._from = list(offsets)
        self._records_max = records_max
        self._bytes_max = bytes_max
        self._bytes = 0
        self._changes: deque[Change] = deque()
        self._by_channel: dict[bytes, deque[Change]] = {}

    def add(self, change: Change) -> None:
        """Adds a change, and drops the oldest ones beyond the limits."""
        self._changes.append(change)
        self._by_channel.setdefault(change.channel, deque()).append(change)
        self._bytes += _bytes_of(change)
        while len(self._changes) > self._records_max or self._bytes > self._bytes_max:
            self._drop_oldest()

    def add_partitions(self, count: int) -> None:
        """Notes that the topic has this many partitions. The new ones are read from their start."""
        self._from += [0] * (count - len(self._from))

    def begins_before(self, offsets: Sequence[int]) -> bool:
        """Whether the tail has every change from these offsets on."""
        given = [*offsets, *[0] * (len(self._from) - len(offsets))]
        return all(begins <= offset for begins, offset in zip(self._from, given, strict=True))

    def after(
        self, channel: bytes, offsets: Sequence[int], records_max: int, bytes_max: int
    ) -> tuple[list[Change], bool]:
        """The changes of this channel from these offsets on, in the order in which they were read, up to
        these limits; at least one if there are any. Also whether these are all."""
        found: list[Change] = []
        bytes_ = 0
        for change in self._by_channel.get(channel, ()):
            if change.partition < len(offsets) and change.offset < offsets[change.partition]:
                continue
            bytes_ += _bytes_of(change)
            if found and (len(found) >= records_max or bytes_ > bytes_max):
                return found, False
            found.append(change)
        return found, True

    def _drop_oldest(self) -> None:
        change = self._changes.popleft()
        of_channel = self._by_channel[change.channel]
        of_channel.popleft()
        if not of_channel:
            del self._by_channel[change.channel]
        self._bytes -= _bytes_of(change)
        self._from[change.partition] = change.offset + 1


def _bytes_of(change: Change) -> int:
    return len(change.data) + CHANGE_OVERHEAD_BYTES
