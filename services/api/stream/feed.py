"""The feed: how far this process has read the topic, and the streams that hear of each change."""

from collections.abc import Sequence

from services.api.stream.change import Change
from services.api.stream.position import Position, event_id, furthest
from services.api.stream.subscription import Subscription
from services.api.stream.tail import Tail
from shared.settings.streams import StreamSettings


class Feed:
    """Empty until `begin`."""

    def __init__(self, settings: StreamSettings) -> None:
        self._records_max = settings.api_stream_tail_records
        self._bytes_max = int(settings.api_stream_tail_mib * 2**20)
        self._topic = b""
        self._complete_at = 0
        self._offsets: list[int] = []
        self._tail = self._empty_tail()
        self._subscriptions: dict[bytes, set[Subscription]] = {}
        self._id: str | None = None

    def begin(self, topic: bytes, offsets: Sequence[int]) -> None:
        """Begins to follow this topic from these offsets on."""
        self._topic, self._offsets, self._complete_at = topic, list(offsets), 0
        self._tail = self._empty_tail()
        self._id = None

    def add_partitions(self, count: int) -> None:
        """Notes that the topic has this many partitions."""
        self._offsets += [0] * (count - len(self._offsets))
        self._tail.add_partitions(count)
        self._id = None

    def take(self, change: Change) -> None:
        """Passes a change on to its streams. They share one event."""
        self.read_to(change.partition, change.offset + 1)
        self._tail.add(change)
        event = b""
        for each in [*self._subscriptions.get(change.channel, ())]:
            if each.wanted.includes(change):
                event = event or change.event(self.id)
                each.offer(change, event)

    def read_to(self, partition: int, offset: int) -> None:
        """Notes that everything before this offset was read."""
        if self._offsets[partition] != offset:
            self._offsets[partition] = offset
            self._id = None

    def complete(self, at: int) -> None:
        """Notes that every record was read that was committed before this moment."""
        self._complete_at = at
        self._id = None

    @property
    def position(self) -> Position:
        return Position(self._topic, self._complete_at, tuple(self._offsets))

    @property
    def id(self) -> str:
        """The id of an event at the present position."""
        self._id = self._id or event_id(self.position)
        return self._id

    def reaches_back_to(self, offsets: Sequence[int]) -> bool:
        """Whether a stream can resume at these offsets from memory."""
        return self._tail.begins_before(offsets)

    def subscribe(self, subscription: Subscription, offsets: Sequence[int]) -> tuple[list[Change], bool]:
        """The changes from these offsets on that the process has read before, up to the limits of the
        stream's queue, and whether these are all. If so, the stream hears of each further change from now
        on. Between both there is no gap, because nothing else runs during this call."""
        changes, are_all = self._tail.after(
            subscription.channel, offsets, subscription.events_max, subscription.bytes_max
        )
        if are_all:
            self._subscriptions.setdefault(subscription.channel, set()).add(subscription)
        return changes, are_all

    def unsubscribe(self, subscription: Subscription) -> None:
        """Lets a stream hear of no further change."""
        of_channel = self._subscriptions.get(subscription.channel, set())
        of_channel.discard(subscription)
        if not of_channel:
            self._subscriptions.pop(subscription.channel, None)

    def distance(self, offsets: Sequence[int]) -> int:
        """The number of offsets between these and the present ones."""
        return sum(furthest(self._offsets, offsets)) - sum(offsets)

    def _empty_tail(self) -> Tail:
        return Tail(self._offsets, self._records_max, self._bytes_max)
