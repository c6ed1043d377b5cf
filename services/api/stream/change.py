"""A change of a call: a record of the topic, and the event that a client gets. Pure."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final
from uuid import UUID

import msgspec
from aiokafka import ConsumerRecord

_MODES: Final = (b"live", b"test")
_LINE_BREAKS: Final = b"\r\n"
_KEY_PARTS: Final = 2


class State(msgspec.Struct):
    """The fields of a call that a stream can be filtered by."""

    status: str | None = None
    direction: str | None = None
    phone_number_id: UUID | None = None


_state = msgspec.json.Decoder(State).decode


@dataclass(frozen=True)
class Change:
    """A new state of a call, or its deletion."""

    channel: bytes
    """The organization and mode whose streams get it, as `channel_of` returns it."""
    partition: int
    offset: int
    is_deletion: bool
    data: bytes
    """The JSON of the event, in one line."""

    @cached_property
    def state(self) -> State:
        """The call's new state. A value that is no call has no field."""
        try:
            return _state(self.data)
        except msgspec.DecodeError:
            return State()

    def event(self, id: str) -> bytes:
        """The event with this id, as a stream sends it."""
        name = b"call.deleted" if self.is_deletion else b"call.changed"
        return b"id: %b\nevent: %b\ndata: %b\n\n" % (id.encode(), name, self.data)


def channel_of(organization_id: UUID, *, livemode: bool) -> bytes:
    """Names the streams of one organization and mode."""
    return f"{organization_id}:{'live' if livemode else 'test'}".encode()


def change_of(record: ConsumerRecord) -> Change | None:
    """The change that a record has. None if it lacks the key or the mode: no stream may get it."""
    organization_id, *rest = (record.key or b"").split(b":")
    mode = next((value for name, value in record.headers if name == "mode"), None)
    if len(rest) != _KEY_PARTS - 1 or mode not in _MODES:
        return None
    deletion = b'{"id":"%b","organization_id":"%b"}' % (rest[0], organization_id)
    return Change(
        channel=organization_id + b":" + mode,
        partition=record.partition,
        offset=record.offset,
        is_deletion=record.value is None,
        # A line break would end the event's data. In JSON it can only stand between values.
        data=(deletion if record.value is None else record.value).translate(None, _LINE_BREAKS),
    )
