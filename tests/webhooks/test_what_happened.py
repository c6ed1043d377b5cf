"""The messages that follow from a change, and their content."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from standardwebhooks.webhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from shared.webhooks.call_change import CallBefore, call_before, message_types
from shared.webhooks.message import message_of_deletion, messages_of_call
from shared.webhooks.retry_schedule import JITTER_SHARE, next_attempt
from shared.webhooks.signing import new_secret, signed_headers
from tests.support.events import CALL, NOON, ORGANIZATION

RINGING = call_before(3, 16 + 2)
ANSWERED = call_before(4, 16 + 32 + 3)
COMPLETED = call_before(5, 16 + 32 + 4)
WITH_RECORDING = call_before(6, 16 + 32 + 64 + 4)


def shown(status: str, *, answered: bool = False, **fields: object) -> dict[str, Any]:
    """A call as clients see it, as far as messages depend on it."""
    return {
        "id": CALL,
        "organization_id": ORGANIZATION,
        "status": status,
        "answered_at": NOON if answered else None,
        "recording_url": None,
        "transcript": None,
        **fields,
    }


@pytest.mark.parametrize(
    ("before", "call", "types"),
    [
        (None, shown("initiated"), ["call.initiated"]),
        (None, shown("ringing"), ["call.initiated", "call.ringing"]),
        (RINGING, shown("ringing"), ["call.updated"]),
        (RINGING, shown("in_progress", answered=True), ["call.answered"]),
        (RINGING, shown("completed", answered=True), ["call.answered", "call.completed"]),
        (ANSWERED, shown("completed", answered=True), ["call.completed"]),
        (RINGING, shown("busy"), ["call.failed"]),
        (RINGING, shown("canceled"), ["call.failed"]),
        (COMPLETED, shown("completed", answered=True), ["call.updated"]),
        (COMPLETED, shown("completed", answered=True, recording_url="https://r"), ["recording.ready"]),
        (WITH_RECORDING, shown("completed", answered=True, recording_url="https://r2"), ["call.updated"]),
        (COMPLETED, shown("completed", answered=True, transcript="Hello"), ["transcript.ready"]),
        (call_before(1, 16 + 5), shown("completed"), ["call.answered", "call.completed"]),
        (
            None,
            shown("completed", answered=True, recording_url="https://r", transcript="Hello"),
            ["call.initiated", "call.answered", "call.completed", "recording.ready", "transcript.ready"],
        ),
    ],
)
def test_what_a_change_tells(before: CallBefore | None, call: dict[str, Any], types: list[str]) -> None:
    assert message_types(before, call) == types


def test_a_status_of_a_later_version_is_none_that_is_known() -> None:
    assert call_before(1, 15).status is None
    assert call_before(7, 16 + 128 + 8) == CallBefore(7, True, "canceled", False, False, True)


def test_a_message_has_the_call_and_the_same_id_each_time() -> None:
    first, again = (messages_of_call(RINGING, shown("in_progress", answered=True), 4, NOON) for _ in range(2))
    later = messages_of_call(RINGING, shown("in_progress", answered=True), 5, NOON)
    assert first == again
    assert first[0].id != later[0].id
    body = json.loads(first[0].body)
    assert body["type"] == "call.answered"
    assert body["timestamp"] == "2026-11-24T12:00:00Z"
    assert (body["data"]["id"], body["data"]["status"]) == (str(CALL), "in_progress")


def test_a_deletion_tells_only_ids() -> None:
    message = message_of_deletion(COMPLETED, ORGANIZATION, CALL, NOON)
    assert json.loads(message.body)["data"] == {
        "id": str(CALL),
        "organization_id": str(ORGANIZATION),
        "livemode": True,
    }


def test_a_deletion_has_one_id_at_each_change_of_its_call() -> None:
    ids = {message_of_deletion(before, ORGANIZATION, CALL, NOON).id for before in (RINGING, COMPLETED)}
    assert RINGING.revision != COMPLETED.revision
    assert len(ids) == 1


def test_a_receiver_verifies_with_the_library_and_either_secret() -> None:
    old, new = new_secret(), new_secret()
    now = datetime.now(UTC)  # the library compares with the clock
    body = b'{"type":"call.answered","data":{"from_number":"+49"}}'
    headers = dict(signed_headers("msg_1", body, now, [new, old]))
    for secret in (old, new):
        assert Verifier(secret).verify(body, headers)["type"] == "call.answered"
    with pytest.raises(WebhookVerificationError):
        Verifier(new_secret()).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(new).verify(body.replace(b"49", b"43"), headers)


def test_the_schedule() -> None:
    waits = [next_attempt(attempts, NOON, 0) for attempts in range(1, 9)]
    assert [None if at is None else (at - NOON) for at in waits] == [
        timedelta(minutes=1),
        timedelta(minutes=5),
        timedelta(minutes=30),
        timedelta(hours=2),
        *3 * [timedelta(days=1)],
        None,
    ]
    spread = next_attempt(1, NOON, 1)
    assert spread == NOON + timedelta(minutes=1) * (1 + JITTER_SHARE)
    assert next_attempt(1, NOON, 0, timedelta(minutes=10)) == NOON + timedelta(minutes=10)
    assert next_attempt(1, NOON, 0, timedelta(days=9)) == NOON + timedelta(hours=2)


def test_each_message_of_a_call_has_another_id() -> None:
    ids = {message.id for message in messages_of_call(None, shown("completed", answered=True), 1, NOON)}
    ids.add(message_of_deletion(COMPLETED, ORGANIZATION, UUID(int=2), NOON).id)
    assert len(ids) == 4
    assert all("." not in id_ for id_ in ids), "the signed text separates by full stops"
