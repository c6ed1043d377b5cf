"""The copy that a client of the stream of changes has. Pure."""

import operator
from collections.abc import Sequence
from uuid import UUID

from services.api.stream.position import position_of


class Followed:
    """The events of one organization and mode."""

    def __init__(self, organization_id: UUID, *, livemode: bool) -> None:
        self.organization_id = organization_id
        self.livemode = livemode
        self.heard: dict[UUID, list[bytes | None]] = {}
        """The events of each call in their order: the data, or None for its deletion."""
        self.begins: tuple[int, ...] = ()
        """The offsets from which on the stream must have each record."""
        self.last_id = ""

    def __str__(self) -> str:
        return f"the stream of {self.organization_id}, {'live' if self.livemode else 'test'}"

    @property
    def offsets(self) -> tuple[int, ...]:
        """The offsets that the client has reached."""
        return position_of(self.last_id).offsets if self.last_id else ()

    def has_reached(self, ends: Sequence[int]) -> bool:
        """Whether the client has reached these offsets."""
        return bool(self.offsets) and all(map(operator.ge, self.offsets, ends))

    def take(self, block: bytes) -> str | None:
        """Takes one complete event, or a block that only moves the position. Returns the fault of the stream,
        if there is one."""
        fields = dict(line.split(b": ", 1) for line in block.split(b"\n"))
        self.last_id = fields[b"id"].decode()
        self.begins = self.begins or self.offsets
        name = fields.get(b"event")
        if name == b"reset":
            return "it missed changes"
        if name is None:
            return None
        data = fields[b"data"]
        # The id is the first field of a call and of a deletion.
        events = self.heard.setdefault(UUID(data[7:43].decode()), [])
        if events and events[-1] is None and name != b"call.deleted":
            return f"a deleted call came back: {data.decode()}"
        events.append(None if name == b"call.deleted" else data)
        return None
