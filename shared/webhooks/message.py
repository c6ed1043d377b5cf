"""A message to an endpoint: JSON with `type`, `timestamp` and `data`. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid5

from shared.encoding import encode
from shared.webhooks.call_change import TEST_TYPE, CallBefore, message_types

_IDS: Final = UUID("5c0f6b1e-7a1d-4a5e-9b5c-6a3d6a0f3c11")
_DELETED: Final = 0
"""The revision in the id of a deletion. No call has it."""


class Message(NamedTuple):
    id: str
    """For the header `webhook-id`. It contains no full stop, because the signed text separates by it."""
    type: str
    call_id: UUID | None
    body: bytes


def messages_of_call(
    before: CallBefore | None, call: Mapping[str, Any], revision: int, changed_at: datetime
) -> list[Message]:
    """The messages about the change of a call that exists. The same change always has the same ids."""
    return [
        _message(type_, call["organization_id"], call["id"], revision, changed_at, call)
        for type_ in message_types(before, call)
    ]


def message_of_deletion(
    before: CallBefore, organization_id: UUID, call_id: UUID, changed_at: datetime
) -> Message:
    """The message that a call was deleted. It has nothing of the call but its ids. Its own id is always the
    same, because a publisher may meet the deletion at an earlier change of the call, and again at its own."""
    data = {"id": call_id, "organization_id": organization_id, "livemode": before.livemode}
    return _message("call.deleted", organization_id, call_id, _DELETED, changed_at, data)


def message_of_test(test_id: UUID, webhook_id: UUID, organization_id: UUID, at: datetime) -> Message:
    """A message by which a client tries an endpoint."""
    data = {"webhook_id": webhook_id, "organization_id": organization_id}
    body = encode({"type": TEST_TYPE, "timestamp": at, "data": data})
    return Message(f"msg_{test_id.hex}", TEST_TYPE, None, body)


def _message(
    type_: str, organization_id: UUID, call_id: UUID, revision: int, at: datetime, data: object
) -> Message:
    id_ = uuid5(_IDS, f"{organization_id}:{call_id}:{revision}:{type_}")
    return Message(f"msg_{id_.hex}", type_, call_id, encode({"type": type_, "timestamp": at, "data": data}))
