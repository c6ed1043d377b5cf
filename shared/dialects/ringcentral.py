"""RingCentral: notifications of telephony sessions.

A call is a telephony session. Each notification has the parties of the own account that changed.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from shared.calls.event import EventType
from shared.sources.causes import Unanswered
from shared.sources.delivery import Delivery
from shared.sources.dialect import Dialect, Secret, named_at
from shared.sources.instants import iso, needed_instant
from shared.sources.outcome import Fact, Ignored, Quarantined, Refused, Response
from shared.sources.parties import sip_user
from shared.sources.record import Record, at, needed, shortened, text
from shared.sources.signatures import check_equal
from shared.sources.source import Source

FILTER: Final = "/telephony/sessions"
STATUSES: Final[Mapping[str, EventType | Literal["end"] | None]] = {
    "Setup": "call.initiated",
    "Proceeding": "call.ringing",
    "Answered": "call.answered",
    "VoiceMail": "call.updated",
    "VoiceMailScreening": "call.updated",
    "FaxReceive": "call.updated",
    "Disconnected": "end",
    "Gone": "end",
    "Hold": None,
    "Parked": None,
}
"""status.code of a party. `call.updated` means that the system answered."""
COMPLETED: Final = frozenset({"CallFinished", "CallDropped", "AgentAnswered", "AgentDropped"})
UNANSWERED: Final[Mapping[str, Unanswered]] = {
    "TargetBusy": "busy",
    "NoAnswer": "no_answer",
    "Timeout": "no_answer",
    "Cancelled": "canceled",
}
"""status.reason of an end without an answer. Every other one means `failed`."""
CONTINUES: Final = frozenset(
    {
        *("Pickup", "Supervising", "TakeOver", "BlindTransfer", "RccTransfer", "AttendedTransfer"),
        *("CallerInputRedirect", "CallFlip", "ParkLocation", "DtmfTransfer", "CallPark", "CallRedirected"),
        "CallSwitch",
    }
)
"""status.reason of a party whose end is not the session's."""
FIRST_PARTIES: Final = ("-1", "-2")
"""The ends of the ids of the two parties with which a session begins."""


def read(record: Record) -> Sequence[Fact]:
    """The facts of a notification: at most one for each party."""
    fields = record.fields()
    body = fields.get("body")
    if FILTER not in (text(fields.get("event")) or FILTER):
        raise Ignored("it is not a notification of a telephony session")
    call_id = needed(at(body, "telephonySessionId"), "body.telephonySessionId")
    at_ = needed_instant(
        iso(at(body, "eventTime"), "body.eventTime") or iso(fields.get("timestamp"), "timestamp"),
        "body.eventTime",
    )
    parties = at(body, "parties")
    if not isinstance(parties, list):
        raise Quarantined("body.parties: is not a list.")
    notification = text(fields.get("uuid")) or record.derived_id()
    facts = {}
    reason = "it has no party"
    for party in parties:
        party_id = needed(at(party, "id"), "body.parties.id")
        try:
            type_, data = _party_event(party, party_id)
            facts[party_id] = Fact(f"{notification}:{party_id}", type_, call_id, at_, data)
        except Ignored as ignored:
            reason = str(ignored)
    if not facts:
        raise Ignored(reason)
    return list(facts.values())


_Told = tuple[EventType, Mapping[str, Any]]


def _party_event(party: Mapping[str, Any], party_id: str) -> _Told:
    code = needed(at(party, "status.code"), "body.parties.status.code")
    if code not in STATUSES:
        raise Quarantined(f"status.code: {code[:60]!r} is not a status that RingCentral documents.")
    type_ = STATUSES[code]
    if type_ is None:
        raise Ignored(f"the party's status is {code}")
    if type_ == "end":
        return _end(party)
    if type_ == "call.updated":
        return type_, {"status": "in_progress"}
    if type_ != "call.initiated":
        return type_, {}
    if not party_id.endswith(FIRST_PARTIES):
        raise Ignored("a party that joins later begins no call")
    return type_, _parties(party)


def _end(party: Mapping[str, Any]) -> _Told:
    """The end by its reason. Without a clear reason, `missedCall` tells unanswered from answered calls."""
    reason = text(at(party, "status.reason"))
    cause = {"hangup_cause": shortened(reason)}
    if reason in CONTINUES:
        raise Ignored("the session continues")
    if reason is not None and reason not in COMPLETED:
        return "call.failed", {"status": UNANSWERED.get(reason, "failed"), **cause}
    if party.get("missedCall") is True:
        return "call.failed", {"status": "no_answer", **cause}
    return "call.completed", {"status": "completed", **cause}


def _parties(party: Mapping[str, Any]) -> Mapping[str, Any]:
    """The numbers. Between two extensions of the account there is no direction."""
    internal = text(at(party, "from.extensionId")) and text(at(party, "to.extensionId"))
    direction = (text(party.get("direction")) or "").lower()
    return {
        "from_number": sip_user(at(party, "from.phoneNumber")),
        "to_number": sip_user(text(at(party, "to.phoneNumber"))),
        "direction": direction if direction in ("inbound", "outbound") and not internal else None,
    }


def _named(record: Record, by: str) -> str | None:
    """The account of the parties. Without it, the account in the event's name, else the owner."""
    if by != "accountId":
        return named_at(record, by)
    parties = at(record.value, "body.parties")
    for party in parties if isinstance(parties, list) else ():
        if (account := text(at(party, "accountId"))) is not None:
            return account
    if (account := text(at(record.value, "body.accountId"))) is not None:
        return account
    account = (text(at(record.value, "event")) or "").partition("/account/")[2].partition("/")[0]
    return account if account not in ("", "~") else text(at(record.value, "ownerId"))


def verify(delivery: Delivery, source: Source) -> Response | None:
    """Answers the request that creates a subscription. Checks the verification token of all others."""
    if not (delivery.body or b"").strip() and "validation-token" in delivery.headers:
        return answer(delivery)
    if (token := source.secrets.get("verification_token")) is not None:
        headers = delivery.headers
        # Newer documentation names the header Validation-Token.
        given = headers.get("verification-token") or headers.get("validation-token")
        if given is None:
            raise Refused("the header verification-token is missing")
        check_equal(token, given, "the verification token")
    return None


def answer(delivery: Delivery) -> Response:
    """The response with the Validation-Token of the request, if it has one."""
    token = delivery.headers.get("validation-token", "")
    return Response(headers={"Validation-Token": token}) if token.isascii() and token else Response()


RINGCENTRAL: Final = Dialect(
    name="ringcentral",
    title="RingCentral",
    ways=("http", "kafka"),
    read=read,
    verify=verify,
    answer=answer,
    named=_named,
    organizations_by="accountId",
    secrets=(
        Secret(
            "verification_token",
            "The text that you give to the subscription as `deliveryMode.verificationToken`. RingCentral "
            "sends it with each notification.",
            required=False,
        ),
    ),
    setup="""\
1. Give the app the permissions *Webhook Subscriptions* and *Call Control*.
2. Create a subscription by `POST /restapi/v1.0/subscription`. Its `eventFilters` has
   `/restapi/v1.0/account/~/telephony/sessions`. Its `deliveryMode` has `transportType` `WebHook`, the
   source's address as `address`, and a `verificationToken`. callfold answers RingCentral's check of the
   address.
3. Renew the subscription before it expires.

Do not add the filter of extensions: with both filters, everything comes twice.""",
    gives="""\
Status, direction, both numbers, the begin, ringing, the answer and the end with milliseconds, and the reason
of the end as `hangup_cause`. The duration is derived from the answer and the end.""",
    lacks="""\
There is no price, and a recording has only an id. A party that leaves unanswered, with neither a reason nor
`missedCall`, reads `completed`. Then RingCentral's call log is right. A transfer can move a party to another
session, which is another call.""",
    from_memory="""\
That a session begins with the parties whose ids end with `-1` and `-2`, the reasons of ordinary ends, the
names of the permissions, and that notifications repeat `Validation-Token`.""",
)
