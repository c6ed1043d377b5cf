"""The messages that changed calls cause, and one delivery for each webhook that gets a message."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from services.publisher.changed_calls import CallKey, Change, State
from shared.database.connection import Connection
from shared.webhooks.call_change import CallBefore, as_before
from shared.webhooks.message import Message, message_of_deletion, messages_of_call

BODY_BYTES_MAX: Final = 16 * 1024 * 1024
"""Bytes of messages that are kept before they are stored."""
REPORTED_MAX: Final = 100_000
"""Calls whose reported state is remembered."""


class Subscription(NamedTuple):
    webhook_id: UUID
    types: frozenset[str]
    """Empty: all types."""


Subscriptions = Mapping[tuple[UUID, bool], Sequence[Subscription]]
"""The enabled webhooks by organization and mode."""


async def subscriptions(connection: Connection, calls: Iterable[CallKey]) -> Subscriptions:
    """The enabled webhooks of these calls' organizations. Raises asyncpg's errors."""
    found: dict[tuple[UUID, bool], list[Subscription]] = {}
    owners = {organization_id for organization_id, _ in calls}
    for organization_id, livemode, webhook_id, types in await connection.fetch(_SUBSCRIPTIONS, owners):
        of = found.setdefault((organization_id, livemode), [])
        of.append(Subscription(webhook_id, frozenset(types)))
    return found


class Reported:
    """The states of calls that messages have reported, as far as this process remembers.

    A state may be newer than the rows of the outbox that were read with it. Their later rows would report a
    part of it again, in messages with other ids."""

    def __init__(self) -> None:
        self._calls: OrderedDict[CallKey, CallBefore] = OrderedDict()

    def before(self, key: CallKey, change: Change) -> CallBefore | None:
        """The call before the part of the change that was not reported; None: it is new."""
        known = self._calls.get(key)
        if known is not None and (change.before is None or known.revision > change.before.revision):
            return known
        return change.before

    def note(self, states: Iterable[State]) -> None:
        """Notes that these states were reported."""
        for state in states:
            self._calls.pop(state.key, None)
            if state.call is not None and state.revision is not None:
                self._calls[state.key] = as_before(state.call, state.revision)
        while len(self._calls) > REPORTED_MAX:
            self._calls.popitem(last=False)


class MessageOutbox:
    """Collects the messages about changed calls, and stores them."""

    def __init__(
        self, changes: Mapping[CallKey, Change], subscribed: Subscriptions, reported: Reported
    ) -> None:
        self._changes = changes
        self._reported = reported
        self._states: list[State] = []
        self._subscribed = subscribed
        self._has_webhooks = {organization_id for organization_id, _ in subscribed}
        self._messages: list[tuple[UUID, Message]] = []
        self._webhooks: list[Sequence[UUID]] = []
        self._deleted: list[CallKey] = []
        self._bytes = 0
        self.deliveries = 0
        """How many were collected."""

    @property
    def is_full(self) -> bool:
        """Whether the collected messages should be stored before more are added."""
        return self._bytes >= BODY_BYTES_MAX

    def add(self, states: Iterable[State]) -> None:
        """Adds the messages about these calls."""
        for state in states:
            organization_id, _ = state.key
            if state.call is None:
                self._deleted.append(state.key)
            if organization_id not in self._has_webhooks or state.livemode is None:
                continue
            subscribed = self._subscribed.get((organization_id, state.livemode), ())
            if subscribed:
                self._states.append(state._replace(call=state.call and _without_texts(state.call)))
            for message in self._messages_about(state) if subscribed else ():
                wanted = [
                    each.webhook_id for each in subscribed if message.type in each.types or not each.types
                ]
                if wanted:
                    self._messages.append((organization_id, message))
                    self._webhooks.append(wanted)
                    self._bytes += len(message.body)
                    self.deliveries += len(wanted)

    def _messages_about(self, state: State) -> Sequence[Message]:
        change = self._changes[state.key]
        before = self._reported.before(state.key, change)
        if state.call is None or state.revision is None:
            # No message has reported a call that came and went between two looks.
            if before is None:
                return ()
            return [message_of_deletion(before, *state.key, change.changed_at)]
        if before is not None and before.revision >= state.revision:
            return ()
        return messages_of_call(before, state.call, state.revision, change.changed_at)

    async def store(self, connection: Connection) -> None:
        """Stores the collected messages with their deliveries, and removes earlier messages of deleted calls,
        which would keep what was deleted. Raises asyncpg's errors."""
        if self._deleted:
            await connection.execute(_ERASE, *zip(*self._deleted, strict=True))
        if self._messages:
            owners, messages = zip(*self._messages, strict=True)
            ids, types, call_ids, bodies = zip(*messages, strict=True)
            await connection.execute(_STORE_MESSAGES, owners, ids, types, call_ids, bodies)
            webhooks = {webhook_id for each in self._webhooks for webhook_id in each}
            await connection.execute(_HOLD_WEBHOOKS, set(owners), webhooks)
            await connection.execute(_STORE_DELIVERIES, *zip(*self._each_delivery(), strict=True))
            await connection.execute(_NOTIFY)
        self._messages, self._webhooks, self._deleted, self._bytes = [], [], [], 0

    def note(self) -> None:
        """Notes what was reported, once it is committed."""
        self._reported.note(self._states)
        self._states = []

    def _each_delivery(self) -> Iterator[tuple[UUID, UUID, str]]:
        for (organization_id, message), webhook_ids in zip(self._messages, self._webhooks, strict=True):
            for webhook_id in webhook_ids:
                yield organization_id, webhook_id, message.id


def _without_texts(call: Mapping[str, object]) -> Mapping[str, object]:
    """The call without its long texts, of which only the presence matters later."""
    return {**call, "transcript": bool(call["transcript"])}


_SUBSCRIPTIONS: Final = """
SELECT organization_id, livemode, id, types FROM webhooks WHERE enabled AND organization_id = ANY($1::uuid[])
"""

_ERASE: Final = """
DELETE FROM webhook_messages USING unnest($1::uuid[], $2::uuid[]) AS gone(organization_id, call_id)
WHERE webhook_messages.organization_id = gone.organization_id
    AND webhook_messages.call_id = gone.call_id AND type <> 'call.deleted'
"""

_STORE_MESSAGES: Final = """
INSERT INTO webhook_messages (organization_id, id, type, call_id, body)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::bytea[])
ON CONFLICT DO NOTHING
"""

# The lock keeps a webhook that is being deleted from making the next statement fail.
_HOLD_WEBHOOKS: Final = """
SELECT id FROM webhooks WHERE organization_id = ANY($1::uuid[]) AND id = ANY($2::uuid[]) FOR KEY SHARE
"""

_STORE_DELIVERIES: Final = """
INSERT INTO webhook_deliveries (organization_id, webhook_id, message_id)
SELECT organization_id, webhooks.id, told.message_id
FROM unnest($1::uuid[], $2::uuid[], $3::text[]) WITH ORDINALITY
    AS told(organization_id, id, message_id, n)
JOIN webhooks USING (organization_id, id)
ORDER BY n
ON CONFLICT DO NOTHING
"""

_NOTIFY: Final = "NOTIFY callfold_webhooks"
