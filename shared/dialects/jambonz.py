"""jambonz: call status hooks as JSON.

A call is jambonz's call leg. A leg that `dial` creates is a call of its own. The hooks carry no time.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from shared.calls.event import EventType
from shared.sources.causes import sip_cause, sip_code
from shared.sources.delivery import Delivery
from shared.sources.dialect import Dialect, Secret
from shared.sources.instants import epoch_seconds
from shared.sources.outcome import Fact, Ignored, Quarantined
from shared.sources.parties import direction, number
from shared.sources.record import Record, needed, text, whole
from shared.sources.signatures import (
    check_age,
    check_basic_credentials,
    check_equal,
    header,
    hmac_sha256,
    secret,
)
from shared.sources.source import Source

STATUSES: Final[Mapping[str, tuple[int, EventType, str | None]]] = {
    "trying": (0, "call.initiated", None),
    "queued": (0, "call.initiated", None),
    "ringing": (1, "call.ringing", None),
    "early-media": (1, "call.ringing", None),
    "in-progress": (2, "call.answered", None),
    "completed": (3, "call.completed", None),
    "busy": (3, "call.failed", "busy"),
    "no-answer": (3, "call.failed", "no_answer"),
    "failed": (3, "call.failed", "failed"),
}
"""call_status: the step's rank in the event's id, the event's type, and the status of a failed call."""
RESULTS: Final = frozenset(
    {"speech", "digits", "reason", "dial_call_status", "dial_call_sid", "queue_result"}
)
"""Fields of a verb's action hook. It repeats the call's status, which it does not change."""
KEPT: Final = ("sip_status", "sip_reason", "call_termination_by", "parent_call_sid", "trace_id")
TOLERANCE_SECONDS: Final = 300


def read(record: Record) -> Sequence[Fact]:
    """The fact of a call status hook."""
    fields = record.fields()
    if not RESULTS.isdisjoint(fields):
        raise Ignored("it is the result of a verb")
    call_id, word = (
        needed(fields.get("call_sid"), "call_sid"),
        needed(fields.get("call_status"), "call_status"),
    )
    if word not in STATUSES:
        raise Quarantined(f"call_status: {word[:60]!r} is not a status that jambonz documents.")
    rank, type_, failure = STATUSES[word]
    data: dict[str, Any] = {name: text(fields.get(name)) for name in KEPT}
    data |= {
        "from_number": number(fields.get("from")),
        "to_number": number(fields.get("to")),
        "direction": direction(fields.get("direction")),
    }
    if rank == 3:
        # jambonz ends an inbound call with 487 only when the caller cancels it.
        if (
            word == "no-answer"
            and data["direction"] == "inbound"
            and sip_code(fields.get("sip_status")) == 487
        ):
            failure = "canceled"
        data |= {
            "status": failure,
            "duration": whole(fields.get("duration")) if type_ == "call.completed" else None,
            "hangup_cause": sip_cause(fields.get("sip_status")),
        }
    return [Fact(f"{call_id}:{rank}:{word}", type_, call_id, record.received_at, data)]


def verify(delivery: Delivery, source: Source) -> None:
    """Checks Jambonz-Signature over its time and the body. A source with only the secrets `username` and
    `password` checks basic credentials."""
    if "webhook_secret" not in source.secrets and "password" in source.secrets:
        check_basic_credentials(delivery, source)
        return
    key = secret(source, "webhook_secret")
    given = dict(
        part.strip().partition("=")[::2] for part in header(delivery, "jambonz-signature").split(",")
    )
    signed_at = given.get("t", "")
    signed = f"{signed_at}.".encode(errors="replace") + (delivery.body or b"")
    check_equal(hmac_sha256(key, signed).hex(), given.get("v1", ""))
    check_age(epoch_seconds(whole(signed_at), "t"), delivery.received_at, TOLERANCE_SECONDS)


JAMBONZ: Final = Dialect(
    name="jambonz",
    title="jambonz",
    ways=("http",),
    read=read,
    verify=verify,
    one_of_secrets=("webhook_secret", "password"),
    organizations_by="account_sid",
    secrets=(
        Secret(
            "webhook_secret",
            "The account's webhook secret, on the portal's page Account. Without it, give `username` and "
            "`password`.",
            required=False,
        ),
        Secret("username", "The user name of the hook's basic authentication.", required=False),
        Secret("password", "The password of the hook's basic authentication.", required=False),
    ),
    setup="""\
1. In the portal, open *Applications*, and your application.
2. Set *Call status webhook* to the source's address, with the method POST.
3. Append `#rc=5` to the address, so that jambonz repeats a request that fails. By default it does not.
4. Give the account's *webhook secret* as the secret `webhook_secret`. Instead of it, you can switch on basic
   authentication for the hook, and give `username` and `password`.
5. Let the clock of the machine that receives the hooks follow NTP.

With `--map-by application_sid`, each application can belong to another organization.""",
    gives="""\
Status, direction, both numbers, SIP causes, and the duration of a completed call in whole seconds.""",
    lacks="""\
The hooks carry no time: every time is that of the receipt. They carry no price, recording or transcript. A
call whose application ends without answering sends no end; callfold ends such a call after its time
limit. A hook by GET cannot be signed over a body, so use POST.""",
    from_memory="That 487 on an inbound call always means that the caller canceled it.",
)
