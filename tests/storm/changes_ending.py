"""The checks of published changes after the storm: the topic, each stream and each endpoint agree with the
calls."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from shared.calls.fold import FINAL
from shared.calls.shown_call import SHOWN_FIELDS, shown_call
from shared.encoding import encode
from tests.storm.ending import DELETED, none
from tests.storm.endpoints import Endpoint
from tests.storm.followed import Followed
from tests.storm.stage import Stage, connected
from tests.storm.topic_history import History, fault_of, history_of
from tests.storm.workload import CallKey


class Message(msgspec.Struct):
    """The body of a message."""

    type: str
    timestamp: datetime
    data: msgspec.Raw


class Subject(msgspec.Struct):
    """What a message is about."""

    id: UUID
    organization_id: UUID
    livemode: bool
    status: str | None = None


@dataclass(frozen=True)
class Calls:
    """The calls at the end."""

    stored: Mapping[CallKey, bytes]
    """As clients see them."""
    statuses: Mapping[CallKey, str]
    modes: Mapping[CallKey, bool]
    """Whether a call is live, also of deleted calls."""
    gone: frozenset[CallKey]


async def check_changes(stage: Stage) -> None:
    """Compares the topic, the streams and the endpoints with the calls. Raises StormBroke."""
    history = await history_of(stage)
    async with connected(stage) as connection:
        rows = await connection.fetch(STORED)
        gone = frozenset(tuple(row) for row in await connection.fetch(DELETED))
        deliveries = await connection.fetch(DELIVERIES)
        none("webhooks that callfold has disabled", await connection.fetch(DISABLED))
        none("messages that keep a deleted call", await connection.fetch(NOT_ERASED))
    outcomes = stage.workload.outcomes
    keys = [(row["organization_id"], row["id"]) for row in rows]
    calls = Calls(
        {key: encode(shown_call(row)) for key, row in zip(keys, rows, strict=True)},
        {key: row["status"] for key, row in zip(keys, rows, strict=True)},
        {key: row["livemode"] for key, row in zip(keys, rows, strict=True)}
        | {key: outcomes[key].livemode for key in gone},
        gone,
    )
    _check_topic(stage, history, calls)
    for followed in stage.followed:
        _check_followed(stage, followed, history, calls)
    for endpoint in stage.endpoints:
        _check_endpoint(stage, endpoint, history, calls)
        _check_deliveries(endpoint, [row for row in deliveries if row["webhook_id"] == endpoint.webhook_id])
    _check_distrusted(stage, [row for row in deliveries if row["webhook_id"] == stage.distrusted.webhook_id])


def _check_topic(stage: Stage, history: History, calls: Calls) -> None:
    """The newest record of each call is its state, and the records before it are its states in order."""
    last = {key: records[-1].value for key, records in history.items() if records[-1].value is not None}
    none(
        "calls whose newest record is not their state",
        [key for key in last.keys() | calls.stored.keys() if last.get(key) != calls.stored.get(key)],
    )
    faults = {key: fault_of(records) for key, records in history.items()}
    none("calls with impossible records", [f"{key}: {fault}" for key, fault in faults.items() if fault])
    stage.checked["records of the topic in order"] += sum(map(len, history.values()))


def _check_followed(stage: Stage, followed: Followed, history: History, calls: Calls) -> None:
    """A client heard of each record of its organization and mode once, in the order of the topic."""
    mode = "live" if followed.livemode else "test"
    due: dict[UUID, list[bytes | None]] = {}
    for (organization_id, call_id), records in history.items():
        values = [
            record.value
            for record in records
            if record.mode == mode and record.offset >= followed.begins[record.partition]
        ]
        if organization_id == followed.organization_id and values:
            due[call_id] = values
    off = [
        f"{call_id}: {len(followed.heard.get(call_id, ()))} events for {len(due.get(call_id, ()))} records"
        for call_id in followed.heard.keys() | due.keys()
        if followed.heard.get(call_id) != due.get(call_id)
    ]
    none(f"calls of which {followed} differs from the topic", off)
    wrong = [
        key
        for call_id, values in followed.heard.items()
        if values[-1] != calls.stored.get(key := (followed.organization_id, call_id))
    ]
    none(f"calls whose last event of {followed} is not their state", wrong)
    stage.checked["events of streams, each once"] += sum(map(len, followed.heard.values()))
    stage.checked["calls in the copies of streams"] += len(followed.heard)


def _check_endpoint(stage: Stage, endpoint: Endpoint, history: History, calls: Calls) -> None:
    """Every subscribed change has arrived."""
    none("faults of requests", endpoint.wrong)
    messages: defaultdict[CallKey, list[tuple[Message, Subject]]] = defaultdict(list)
    for body in endpoint.accepted.values():
        message = msgspec.json.decode(body, type=Message)
        subject = msgspec.json.decode(message.data, type=Subject)
        messages[subject.organization_id, subject.id].append((message, subject))
    of_endpoint = {
        key
        for key, livemode in calls.modes.items()
        if (key[0], livemode) == (endpoint.organization_id, endpoint.livemode)
    }
    none("calls of others in messages", messages.keys() - of_endpoint)
    off: list[str] = []
    for key in of_endpoint:
        counted = Counter(message.type for message, _ in messages[key])
        stage.checked["messages of a type that its call had before"] += sum(
            counted[type_] - 1 for type_ in USUALLY_ONCE if counted[type_]
        )
        off += [f"{key}: {fault}" for fault in _faults(endpoint, key, messages[key], history, calls)]
    none(f"faults in the messages to {endpoint.organization_id}, live: {endpoint.livemode}", off)
    stage.checked["messages, each verified"] += len(endpoint.accepted)
    stage.checked["calls with all of their messages"] += len(of_endpoint)
    stage.checked["repeats of messages"] += endpoint.repeats
    for way, count in endpoint.ends.items():
        stage.checked[f"attempts: {way}"] += count


def _faults(
    endpoint: Endpoint,
    key: CallKey,
    messages: Sequence[tuple[Message, Subject]],
    history: History,
    calls: Calls,
) -> list[str]:
    """The faults in the messages about one call."""
    types = [message.type for message, _ in messages]
    faults = [f"{type_} is not subscribed" for type_ in set(types) if not endpoint.wants(type_)]
    faults += [f"{type_}: {types.count(type_)} times" for type_ in ONCE if types.count(type_) > 1]
    if any(subject.livemode != endpoint.livemode for _, subject in messages):
        faults.append("a message is of the other mode")
    written = {record.value for record in history.get(key, ())}
    if any(message.type != GONE and bytes(message.data) not in written for message, _ in messages):
        faults.append("a message has a state that was not published")
    last_at = max((message.timestamp for message, _ in messages), default=None)
    last = [message for message, _ in messages if message.timestamp == last_at]
    if key in calls.gone:
        # The messages about a deleted call are removed. One that arrived was followed by its deletion.
        if messages and GONE not in {message.type for message in last}:
            faults.append(f"the newest of {types} does not report the deletion")
        return faults
    if GONE in types:
        faults.append("a deletion is reported of a call that exists")
    if not endpoint.types:
        faults += [f"{type_} is missing" for type_ in ("call.initiated",) if type_ not in types]
        if calls.stored[key] not in [bytes(message.data) for message in last]:
            faults.append(f"the newest of {types} is not the call's state")
    status = calls.statuses[key]
    ended_as = "call.completed" if status == "completed" else "call.failed"
    ends = [(message.type, subject.status) for message, subject in messages]
    if status in FINAL and endpoint.wants(ended_as) and (ended_as, status) not in ends:
        faults.append(f"no {ended_as} with the status {status} among {types}")
    return faults


def _check_deliveries(endpoint: Endpoint, deliveries: Sequence[Any]) -> None:
    """Each delivery was accepted, and callfold gave none up."""
    undelivered = [dict(row) for row in deliveries if row["delivered_at"] is None]
    none("deliveries that were given up", undelivered)
    lost = [row["message_id"] for row in deliveries if row["message_id"] not in endpoint.accepted]
    none("messages that are noted as delivered and were not accepted", lost)


def _check_distrusted(stage: Stage, deliveries: Sequence[Any]) -> None:
    """The endpoint with an unknown certificate has got no request, and callfold notes none as delivered. An
    attempt may also have timed out, because its process was suspended."""
    none("requests to the distrusted endpoint", [*stage.distrusted.bodies, *stage.distrusted.wrong])
    attempted = [row for row in deliveries if row["attempts"]]
    off = [dict(row) for row in attempted if row["delivered_at"] is not None or row["error"] is None]
    none("attempts that did not refuse the certificate", off)
    refused = [row for row in attempted if row["error"].startswith(CERTIFICATE_REFUSED)]
    stage.checked["deliveries with a refused certificate"] += len(refused)


GONE: Final = "call.deleted"
CERTIFICATE_REFUSED: Final = "Its certificate is not accepted: "
ONCE: Final = ("call.initiated", GONE)
USUALLY_ONCE: Final = ("call.answered", "call.completed", "recording.ready", "transcript.ready")
"""Types that a call may get again, because a publisher may read a newer state than that of the change."""
STORED: Final = f"SELECT {', '.join(SHOWN_FIELDS)} FROM calls"  # noqa: S608
DISABLED: Final = "SELECT id, disabled_reason FROM webhooks WHERE NOT enabled"
NOT_ERASED: Final = f"""
SELECT id, type FROM webhook_messages
WHERE type <> '{GONE}' AND (organization_id, call_id) IN (SELECT organization_id, call_id FROM deleted_calls)
"""  # noqa: S608
DELIVERIES: Final = "SELECT webhook_id, message_id, delivered_at, attempts, error FROM webhook_deliveries"
