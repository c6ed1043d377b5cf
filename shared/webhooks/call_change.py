"""A change of a call: the call before, and the messages that follow from what it is now. Pure."""

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, get_args

from shared.calls.event import Status
from shared.calls.fold import FINAL, is_answered

MessageType = Literal[
    "call.initiated",
    "call.ringing",
    "call.answered",
    "call.completed",
    "call.failed",
    "call.updated",
    "call.deleted",
    "recording.ready",
    "transcript.ready",
]
"""The types of messages about calls."""
MESSAGE_TYPES: Final[tuple[MessageType, ...]] = get_args(MessageType)
TEST_TYPE: Final = "webhook.test"
"""The type of the message that a client sends to try an endpoint."""

_STATUSES: Final[tuple[Status | None, ...]] = (None, *get_args(Status))
_LIVE, _ANSWERED, _RECORDING, _TRANSCRIPT = 16, 32, 64, 128


class CallBefore(NamedTuple):
    """A call before a change."""

    revision: int
    livemode: bool
    status: Status | None
    """None: a status that this version does not know."""
    is_answered: bool
    has_recording: bool
    has_transcript: bool


def call_before(revision: int, marks: int) -> CallBefore:
    """The call before a change, from the outbox: `callfold_calls_changed` writes the marks."""
    number = marks % _LIVE
    status = _STATUSES[number] if number < len(_STATUSES) else None
    answered = bool(marks & _ANSWERED) or status in ("in_progress", "completed")
    return CallBefore(
        revision,
        bool(marks & _LIVE),
        status,
        answered,
        bool(marks & _RECORDING),
        bool(marks & _TRANSCRIPT),
    )


def as_before(call: Mapping[str, Any], revision: int) -> CallBefore:
    """A call that exists, as what it is before its next change."""
    return CallBefore(
        revision,
        call["livemode"],
        call["status"],
        _is_answered(call),
        bool(call["recording_url"]),
        bool(call["transcript"]),
    )


def _is_answered(call: Mapping[str, Any]) -> bool:
    return call["status"] == "in_progress" or is_answered(call["status"], call["answered_at"])


def message_types(before: CallBefore | None, call: Mapping[str, Any]) -> list[MessageType]:
    """The messages about a call that exists, in the order in which they happened. `before` is None for a new
    call. A change that fits no other type is `call.updated`.

    Several changes that were committed quickly may come as one. Then a message still reports the call's
    answer, but none that it rang: the call's row does not keep that."""
    status: Status = call["status"]
    types: list[MessageType] = []
    if before is None:
        types.append("call.initiated")
    if status == "ringing" and (before is None or before.status != "ringing"):
        types.append("call.ringing")
    if _is_answered(call) and not (before is not None and before.is_answered):
        types.append("call.answered")
    if status in FINAL and (before is None or before.status != status):
        types.append("call.completed" if status == "completed" else "call.failed")
    if call["recording_url"] and not (before is not None and before.has_recording):
        types.append("recording.ready")
    if call["transcript"] and not (before is not None and before.has_transcript):
        types.append("transcript.ready")
    return types or ["call.updated"]
