"""Aircall: webhooks of calls.

Aircall signs nothing: the body has the token of the webhook. A transfer keeps the id of the call.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from shared.calls.event import EventType
from shared.sources.delivery import Delivery
from shared.sources.dialect import Dialect, Secret, named_at
from shared.sources.envelopes import json_value
from shared.sources.instants import epoch_seconds, needed_instant, seconds_between
from shared.sources.money import cents
from shared.sources.outcome import Fact, Ignored, Quarantined, Refused
from shared.sources.parties import sip_user
from shared.sources.record import Record, at, needed, shortened, text
from shared.sources.signatures import same, secret
from shared.sources.source import Source

STEPS: Final[Mapping[str, tuple[int, EventType, str | None]]] = {
    "call.created": (0, "call.initiated", "started_at"),
    "call.ringing_on_agent": (1, "call.ringing", None),
    "call.answered": (2, "call.answered", "answered_at"),
}
"""The step's rank in the event's id, the event's type, and the field of its time; None is the request's."""
ENDS: Final[Mapping[str, int]] = {"call.hungup": 3, "call.ended": 4}
"""The rank of an end. The second request has the cost and the recording, so its id sorts last."""
VOICEMAIL: Final = "call.voicemail_left"
OTHERS: Final = frozenset(
    {
        *("call.hold", "call.unhold", "call.transferred", "call.unsuccessful_transfer"),
        *("call.external_transferred", "call.agent_declined", "call.assigned", "call.archived"),
        *("call.unarchived", "call.tagged", "call.untagged", "call.commented", "call.ivr_option_selected"),
        "call.comm_assets_generated",
    }
)
"""The events that neither begin, answer nor end a call."""
MISSED: Final[Mapping[str, str]] = {
    "short_abandoned": "canceled",
    "abandoned_in_ivr": "canceled",
    "abandoned_in_classic": "canceled",
    "agents_did_not_answer": "no_answer",
    "no_available_agent": "no_answer",
    "out_of_opening_hours": "no_answer",
}
"""missed_call_reason: the status of the call."""
DIRECTIONS: Final = frozenset({"inbound", "outbound"})


def read(record: Record) -> Sequence[Fact]:
    """The fact of an event of a call."""
    fields = record.fields()
    name = needed(fields.get("event"), "event")
    if text(fields.get("resource")) not in ("call", None) or not name.startswith("call."):
        raise Ignored("it is not an event of a call")
    if name in OTHERS:
        raise Ignored(f"{name} does not change the call's state")
    data = fields.get("data")
    if not isinstance(data, dict):
        raise Quarantined("data: is missing.")
    call_id, sent_at = needed(data.get("id"), "data.id"), epoch_seconds(fields.get("timestamp"), "timestamp")
    if name in STEPS:
        rank, type_, field = STEPS[name]
        instant = _time(data, field) or sent_at
        return [Fact(_id(call_id, rank, record), type_, call_id, _needed(instant), _parties(data))]
    if name in ENDS:
        return [_end(data, call_id, _id(call_id, ENDS[name], record), sent_at)]
    if name == VOICEMAIL:
        return [_voicemail(data, call_id, _id(call_id, 4, record), sent_at)]
    raise Quarantined(f"event: {name[:60]!r} is not an event of a call that Aircall documents.")


def _end(data: Mapping[str, Any], call_id: str, id_: str, sent_at: datetime | None) -> Fact:
    answered_at, ended_at = _time(data, "answered_at"), _needed(_time(data, "ended_at") or sent_at)
    reason, parties = text(data.get("missed_call_reason")), _parties(data)
    type_: EventType = "call.failed" if answered_at is None else "call.completed"
    end: dict[str, Any] = {
        "hangup_cause": shortened(text(data.get("hangup_cause"))),
        "missed_call_reason": reason,
        "cost": cents(data.get("cost")) or None,  # Aircall writes 0.0 before it knows the cost
    }
    if answered_at is not None:
        end |= {
            "answered_at": answered_at,
            "duration": seconds_between(answered_at, ended_at),
            "recording_url": text(data.get("recording")) or text(data.get("asset")),
        }
    elif text(data.get("voicemail")):
        end["status"] = "no_answer"
    elif reason is not None:
        end["status"] = MISSED.get(reason, "failed")
    else:
        end["status"] = "canceled" if parties["direction"] == "inbound" else "no_answer"
    return Fact(id_, type_, call_id, ended_at, parties | end)


def _voicemail(data: Mapping[str, Any], call_id: str, id_: str, sent_at: datetime | None) -> Fact:
    url = text(data.get("voicemail"))
    if url is None or not url.startswith(("https://", "http://")):
        raise Ignored("it has no link to the voicemail")
    return Fact(id_, "recording.ready", call_id, _needed(sent_at), _parties(data) | {"recording_url": url})


def _parties(data: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers and the direction: raw_digits is the other side, number is the organization's."""
    direction = text(data.get("direction"))
    other, own = _number(data.get("raw_digits")), _number(at(data, "number.digits"))
    caller, callee = (own, other) if direction == "outbound" else (other, own)
    return {
        "from_number": caller,
        "to_number": callee,
        "direction": direction if direction in DIRECTIONS else None,
    }


def _number(value: Any) -> str | None:
    given = text(value)
    return sip_user("".join(given.split())) if given is not None else None


def _time(data: Mapping[str, Any], field: str | None) -> datetime | None:
    return epoch_seconds(data.get(field), f"data.{field}") if field is not None else None


def _needed(instant: datetime | None) -> datetime:
    return needed_instant(instant, "timestamp")


def _id(call_id: str, rank: int, record: Record) -> str:
    """Aircall numbers no events. Several agents can ring in one second, so the record's own id follows."""
    return f"{call_id}:{rank}:{record.derived_id()}"


def _named(record: Record, by: str) -> str | None:
    return named_at(record, by) or text(at(record.value, f"data.{by}"))


def verify(delivery: Delivery, source: Source) -> None:
    """Checks that the body has the token of a webhook."""
    tokens = secret(source, "token").replace(",", " ").split()
    try:
        given = text(at(json_value(delivery.body or b"", "The body"), "token"))
    except Quarantined:
        raise Refused("the body is not JSON, so it has no token") from None
    if given is None:
        raise Refused("the body has no token")
    good = [same(token, given) for token in tokens]
    if not any(good):
        raise Refused("the token is wrong")


AIRCALL: Final = Dialect(
    name="aircall",
    title="Aircall",
    ways=("http",),
    read=read,
    verify=verify,
    named=_named,
    organizations_by="token",
    secrets=(
        Secret(
            "token",
            "The token of the webhook, which its page in the dashboard shows. Several webhooks may call one "
            "address: separate their tokens by commas.",
        ),
    ),
    setup="""\
1. In the dashboard, open *Integrations & API* and add a *Webhook* with the source's address.
2. Select these events of *Calls*: `call.created`, `call.ringing_on_agent`, `call.answered`, `call.hungup`,
   `call.ended` and `call.voicemail_left`.
3. Copy the webhook's token to the secret `token`.
4. For several organizations, create one webhook for each, and map its token to the organization. Instead,
   map the ids of numbers, with `number.id` as the field.

Aircall disables a webhook whose requests fail for long.""",
    gives="""\
Status, direction, both numbers, the answer and the end, in whole seconds. The duration is the time from the
answer to the end: Aircall's own `duration` also counts the ringing. The recording comes with `call.ended`,
about 30 seconds after the end, and the voicemail with its own event. Links to them expire. The status of a
missed call follows from `missed_call_reason`, which the event's data keep.""",
    lacks="""\
Aircall signs no requests: the token in the body is the only proof of their origin. There are no SIP codes.
The answer is that of an agent: a menu or a greeting that Aircall plays is no answer. A call whose caller left
a voicemail is `no_answer`.""",
    from_memory="""\
That the field `cost`, which Aircall has deprecated, is in U.S. cents. A cost of 0 counts as no cost.""",
)
