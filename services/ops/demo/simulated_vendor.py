"""One simulated call of a vendor, in the signed status callbacks of Twilio. Pure."""

import hmac
import random
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from services.ops.demo.simulated_call import Headers, Organization, Outcome, SimulatedCall, SimulatedEvent
from shared.calls.event import Direction, Status
from shared.calls.zones import time_zone

FORM: Final = b"application/x-www-form-urlencoded; charset=UTF-8"
_TALK_SECONDS_MAX: Final = 3_000
_UNANSWERED: Final[dict[str, tuple[Status, int | None]]] = {
    "busy": ("busy", 486),
    "no-answer": ("no_answer", 480),
    "failed": ("failed", 404),
    "canceled": ("canceled", None),
}
"""The status and the SIP code of CallStatus of calls that are not answered."""
_SCENARIOS: Final = {"completed": 70, "busy": 8, "no-answer": 10, "failed": 6, "canceled": 6}
_Step = tuple[datetime, str, dict[str, Any]]
"""The time of the callback, CallStatus, and further fields."""


def account_sid(organization: Organization) -> str:
    """The vendor's account of an organization."""
    return f"AC{organization.id.hex}"


@dataclass(frozen=True)
class SimulatedVendor:
    """The vendor, with the address that its customers have entered and the token that it signs with."""

    url: str
    auth_token: str

    def simulate_call(
        self, rng: random.Random, organization: Organization, started: datetime, typical_talk_seconds: float
    ) -> SimulatedCall:
        """A call that starts at the first whole second after this (aware) time. An inbound one is reported at
        its end."""
        started = started.astimezone(UTC).replace(microsecond=0) + timedelta(seconds=1)
        ours = rng.choice(organization.phone_numbers).number
        theirs = f"{ours[:-4]}{rng.randrange(10_000):04}"
        direction: Direction = "inbound" if rng.random() < 0.62 else "outbound"
        (scenario,) = rng.choices(list(_SCENARIOS), list(_SCENARIOS.values()))
        talk = 1 + int(min(rng.lognormvariate(0, 0.9) * typical_talk_seconds, _TALK_SECONDS_MAX))
        if direction == "inbound":
            scenario = "completed"
            steps: Iterator[_Step] = iter([_completed(started, talk)])
        else:
            steps = _outbound(rng, scenario, started, talk)
        about = {
            "CallSid": f"CA{rng.getrandbits(128) ^ organization.id.int:032x}",
            "AccountSid": account_sid(organization),
            "ApiVersion": "2010-04-01",
            "From": theirs if direction == "inbound" else ours,
            "To": ours if direction == "inbound" else theirs,
            "Direction": "inbound" if direction == "inbound" else "outbound-api",
            "CallbackSource": "call-progress-events",
        }
        events = tuple(
            self._callback(rng, at, {**about, "CallStatus": word, "SequenceNumber": n, **fields})
            for n, (at, word, fields) in enumerate(steps)
        )
        day = started.astimezone(time_zone(organization.time_zone)).date()
        status: Status = _UNANSWERED[scenario][0] if scenario in _UNANSWERED else "completed"
        answered = status == "completed"
        outcome = Outcome(organization.id, True, day, direction, status, answered, talk if answered else 0)
        return SimulatedCall(about["CallSid"].encode(), events, outcome)

    def _callback(self, rng: random.Random, at: datetime, fields: Mapping[str, Any]) -> SimulatedEvent:
        form = {name: str(value) for name, value in fields.items()} | {"Timestamp": format_datetime(at)}
        headers: Headers = (
            ("content-type", FORM),
            ("i-twilio-idempotency-token", str(UUID(int=rng.getrandbits(128), version=4)).encode()),
            ("x-twilio-signature", self._signature(form)),
        )
        # The end of an answered call also tells its answer, which is an event of its own.
        events = 2 if form["CallStatus"] == "completed" else 1
        return SimulatedEvent(at, urlencode(form).encode(), headers, events)

    def _signature(self, form: Mapping[str, str]) -> bytes:
        """The signature as the vendor documents it: of its address and all fields in their order."""
        signed = self.url + "".join(name + form[name] for name in sorted(form))
        return b64encode(hmac.digest(self.auth_token.encode(), signed.encode(), "sha1"))


def _outbound(rng: random.Random, scenario: str, started: datetime, talk: int) -> Iterator[_Step]:
    yield started, "initiated", {}
    rung = started + timedelta(seconds=rng.randrange(1, 4))
    if scenario != "failed":
        yield rung, "ringing", {}
    ended = rung + timedelta(seconds=rng.randrange(2, 20))
    if scenario not in _UNANSWERED:
        yield ended, "in-progress", {}
        yield _completed(ended, talk)
        return
    code = _UNANSWERED[scenario][1]
    yield ended, scenario, {"CallDuration": 0, "Duration": 0} | ({"SipResponseCode": code} if code else {})


def _completed(answered: datetime, talk: int) -> _Step:
    minutes = -(-talk // 60)
    fields = {"CallDuration": talk, "Duration": minutes, "SipResponseCode": 200}
    return answered + timedelta(seconds=talk), "completed", fields
