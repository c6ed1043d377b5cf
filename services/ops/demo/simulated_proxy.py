"""One simulated call of a SIP proxy, in the reports of Kamailio's recommended configuration. Pure.

A report that Kamailio makes on a message of its own has the fields of that message, and here no name of the
organization: it waits until another report of its call has named it.
"""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from services.ops.demo.simulated_call import Organization, Outcome, SimulatedCall, SimulatedEvent
from shared.calls.event import Status
from shared.calls.zones import time_zone

NO_VALUE: Final = "<null>"
"""Kamailio's text for a variable without a value."""
_OWN_MESSAGE: Final = {"callid": "123", "method": "OPTIONS"}
_TRUNK: Final = "trunk.example.net"
_TALK_SECONDS_MAX: Final = 3_000
_UNANSWERED: Final[dict[str, tuple[Status, int]]] = {
    "busy": ("busy", 486),
    "canceled": ("canceled", 487),
    "failed": ("failed", 503),
    "timed out": ("no_answer", 408),
}
"""The status and the SIP code of calls that are not answered."""
_SCENARIOS: Final = {
    "completed": 60,
    "vanished": 8,  # both ends are gone, and Kamailio ends the call
    "forwarded": 8,  # the first phone is busy, the second one answers
    "busy": 8,
    "canceled": 6,
    "failed": 5,
    "timed out": 5,
}
_Step = tuple[timedelta, str, dict[str, Any]]
"""The time since the call's start, the event of the report, and its further fields."""


def tenant(organization: Organization) -> str:
    """The proxy's name of an organization."""
    return f"{_slug(organization)}-{organization.id.hex[:8]}"


def domain(organization: Organization) -> str:
    """The SIP domain of an organization's own users."""
    return f"{_slug(organization)}.example.com"


def names_organization(report: bytes) -> bool:
    """Whether a report names the organization of its call."""
    return bool(msgspec.json.decode(report)["org"] != NO_VALUE)


def simulate_proxy_call(
    rng: random.Random, organization: Organization, started: datetime, typical_talk_seconds: float
) -> SimulatedCall:
    """A call that starts at this (aware) time."""
    # As in reality, no two calls of the proxy share a Call-ID: not even those of two runs with one seed.
    call_id = f"{rng.getrandbits(48):012x}-{organization.id.hex[:12]}@192.0.2.{rng.randrange(1, 255)}"
    ours = rng.choice(organization.phone_numbers).number
    own, foreign = f"sip:{ours}@{domain(organization)}", f"sip:{ours[:-4]}{rng.randrange(10_000):04}@{_TRUNK}"
    inbound = rng.random() < 0.62
    (scenario,) = rng.choices(list(_SCENARIOS), list(_SCENARIOS.values()))
    talk = timedelta(
        seconds=round(min(rng.lognormvariate(0, 0.9) * typical_talk_seconds, _TALK_SECONDS_MAX), 6)
    )
    dialog = {
        "dlg_callid": call_id,
        "dlg_from": foreign if inbound else own,
        "dlg_to": own if inbound else foreign,
        "org": tenant(organization),
        "callid": call_id,
        "method": "INVITE",
    }
    events = tuple(
        SimulatedEvent(started + after, _report(rng, event, started + after, dialog | fields))
        for after, event, fields in _steps(rng, scenario, started, talk)
    )
    status = _UNANSWERED[scenario][0] if scenario in _UNANSWERED else "completed"
    answered = status == "completed"
    return SimulatedCall(
        call_id.encode(),
        events,
        Outcome(
            organization.id,
            True,
            started.astimezone(time_zone(organization.time_zone)).date(),
            "inbound" if inbound else "outbound",
            status,
            answered,
            int(talk.total_seconds()) if answered else 0,
        ),
    )


def _steps(rng: random.Random, scenario: str, started: datetime, talk: timedelta) -> Iterator[_Step]:
    rings = timedelta(seconds=round(rng.uniform(0.2, 2), 6))
    after = rings + timedelta(seconds=round(rng.uniform(1, 20), 6))
    yield timedelta(), "request", {}
    if scenario != "failed":
        yield rings, "reply", {"code": 180}
    if scenario in _UNANSWERED:
        code = _UNANSWERED[scenario][1]
        own = {**_OWN_MESSAGE, "org": NO_VALUE} if scenario == "timed out" else {"code": code}
        yield after, "dialog:failed", {"dlg_code": code, **own}
        return
    kept: dict[str, Any] = {}
    if scenario == "forwarded":
        kept = {"dlg_code": 486}
        yield after, "reply", {"code": 183, **kept}
        after += timedelta(seconds=round(rng.uniform(1, 20), 6))
    kept["answered"] = _epoch(started + after)
    yield after, "dialog:start", {"code": 200, **kept}
    if scenario == "vanished":
        yield after + talk, "dialog:end", {**kept, **_OWN_MESSAGE, "org": NO_VALUE}
    else:
        yield after + talk, "dialog:end", {**kept, "method": "BYE", "hdr_reason": "Q.850;cause=16"}


def _report(rng: random.Random, event: str, at: datetime, fields: dict[str, Any]) -> bytes:
    id_ = UUID(int=rng.getrandbits(128), version=4)
    return msgspec.json.encode({"id": str(id_), "event": event, "time": _epoch(at), **fields})


def _epoch(at: datetime) -> str:
    """Seconds since 1970 with six decimals."""
    return f"{int(at.astimezone(UTC).replace(microsecond=0).timestamp())}.{at.microsecond:06}"


def _slug(organization: Organization) -> str:
    return organization.name.lower().replace(" ", "-")
