"""Expected outcomes: compares what callfold makes of a sample with what the sample's file expects."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from services.ops.sources.attempt import Attempt
from shared.calls.event import EventData
from shared.calls.hangup import SPELLINGS, spelled
from shared.sources.translate import Placed

_CONTRACT: Final = frozenset(EventData.__annotations__)
_FREE: Final = frozenset({"from_number", "to_number", "direction"})
_WHERE_GIVEN: Final = frozenset({"latency_ms", "phone_number_id", "endpoint_id"})
_STATUS_OF: Final = {
    "call.initiated": "initiated",
    "call.ringing": "ringing",
    "call.answered": "in_progress",
    "call.completed": "completed",
    "call.failed": "failed",
}
_INSTANTS: Final = ("timestamp", "answered_at", "completed_at", "created_at")


def faults(attempt: Attempt, expect: Mapping[str, Any], ids: str) -> list[str]:
    """What differs, one text each. `ids` is `own` where the ids' texts count."""
    found = []
    outcomes = {expect["outcome"], *expect.get("accept", [])}
    if attempt.outcome not in outcomes:
        return [f"outcome {attempt.outcome} ({attempt.reason}), not {expect['outcome']}"]
    if attempt.outcome != "events" and attempt.outcome != "answered" and not attempt.reason:
        found.append("no reason")
    if attempt.outcome == "events" and expect["outcome"] == "events":
        found += _event_faults(attempt.events, expect.get("events", []), expect.get("also", []), ids)
    if "quarantined_elements" in expect:
        places = sorted({fault.element for fault in attempt.quarantined})
        if places != sorted(each["element"] for each in expect["quarantined_elements"]):
            found.append(f"quarantined elements {places}")
    if "response" in expect:
        found += _response_faults(attempt, expect["response"])
    given = [placed.fact.id for placed in attempt.events]
    if len(set(given)) < len(given):
        found.append(f"one id twice: {given}")
    return found


def call_faults(call: Any, expected: Mapping[str, Any]) -> list[str]:
    """The fields of a call that differ from the expected ones."""
    return [
        f"{name}: {getattr(call, name)!r}, not {value!r}"
        for name, value in expected.items()
        if name not in ("call_id", "organization") and not _equal(name, getattr(call, name), value)
    ]


def _event_faults(
    told: Sequence[Placed], events: Sequence[Mapping[str, Any]], also: Sequence[Mapping[str, Any]], ids: str
) -> list[str]:
    left = list(told)
    found = []
    for event in events:
        reasons = [(_differences(placed, event, ids), placed) for placed in left]
        best = min(reasons, key=lambda one: len(one[0]), default=None)
        if best is None:
            found.append(f"no event {event['type']} {event.get('id')}")
        elif best[0]:
            found.append(f"{event['type']} {event.get('id')}: " + "; ".join(best[0]))
        if best is not None:
            left.remove(best[1])
    for event in also:
        if (same := next((one for one in left if not _differences(one, event, ids)), None)) is not None:
            left.remove(same)
    return found + [f"one event too many: {placed.fact}" for placed in left]


def _differences(placed: Placed, event: Mapping[str, Any], ids: str) -> list[str]:
    fact = placed.fact
    data = {name: value for name, value in fact.data.items() if value is not None}
    found = []
    if fact.type != event["type"]:
        found.append(f"type {fact.type}")
    if fact.call_id != event["call_id"]:
        found.append(f"call_id {fact.call_id}")
    if not _equal("timestamp", fact.timestamp, event["timestamp"]):
        found.append(f"timestamp {fact.timestamp}")
    if ids == "own" and "id" in event and fact.id != event["id"]:
        found.append(f"id {fact.id}")
    organization = event.get("organization")
    wanted = UUID(organization) if isinstance(organization, str) else None
    if "organization" in event and placed.organization != wanted:
        found.append(f"organization {placed.organization}, not {wanted}")
    if fact.livemode is not event.get("livemode") and event.get("livemode", True) is not (
        fact.livemode is not False
    ):
        found.append(f"livemode {fact.livemode}")
    listed = event.get("data", {})
    for name, value in listed.items():
        if name not in _CONTRACT:
            continue
        given = data.get(name)
        if name in _FREE and given is None:
            continue  # scenarios show whether they are right
        if name == "status" and given is None and value == _STATUS_OF.get(fact.type):
            continue
        if not _equal(name, given, value):
            found.append(f"data.{name} {given!r}, not {value!r}")
    for name, given in data.items():
        if name not in _CONTRACT or name in listed or name in _FREE or name in _WHERE_GIVEN:
            continue
        if name == "status" and given == _STATUS_OF.get(fact.type):
            continue
        if name in ("answered_at", "completed_at") and given == fact.timestamp:
            continue
        found.append(f"data.{name} {given!r}, which is not listed")
    return found


def _equal(name: str, given: Any, wanted: Any) -> bool:
    if given is None or wanted is None:
        return given is wanted
    if name in _INSTANTS:
        return bool(given == datetime.fromisoformat(wanted))
    if name == "cost":
        return bool(given == Decimal(str(wanted)))
    if name == "hangup_cause":
        one, other = spelled(given), spelled(wanted)
        return bool(one == other or SPELLINGS.get(one, one) == SPELLINGS.get(other, other))
    if isinstance(given, UUID):
        return bool(str(given) == wanted)
    return bool(given == wanted)


def _json(body: str) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _response_faults(attempt: Attempt, wanted: Mapping[str, Any]) -> list[str]:
    response = attempt.response
    if response is None:
        return []
    statuses = wanted["status"] if isinstance(wanted.get("status"), list) else [wanted.get("status", 200)]
    found = []
    if response.status not in statuses:
        found.append(f"status {response.status}")
    if "body" in wanted and response.body != wanted["body"] and _json(response.body) != wanted["body"]:
        found.append(f"body {response.body!r}")
    given = {name.lower(): value for name, value in response.headers.items()}
    for name, value in wanted.get("headers", {}).items():
        if given.get(name.lower()) != value:
            found.append(f"header {name}: {given.get(name.lower())!r}")
    return found
