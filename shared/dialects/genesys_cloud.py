"""Genesys Cloud: conversation detail events, by EventBridge, the notification WebSocket or a trigger.

A call is a conversation. It keeps its id through transfers and consultations.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qs

from shared.calls.event import EventType
from shared.sources.causes import Unanswered
from shared.sources.dialect import Dialect, Secret, named_at
from shared.sources.instants import epoch_milliseconds, needed_instant
from shared.sources.outcome import Fact, Ignored, Quarantined
from shared.sources.parties import sip_user
from shared.sources.record import Record, at, needed, shortened, text, whole

TOPICS: Final = "v2.detail.events.conversation."
DIRECTIONS: Final[Mapping[str, str]] = {"INBOUND": "inbound", "OUTBOUND": "outbound"}
UNANSWERED: Final[Mapping[str, Unanswered]] = {
    "TIMEOUT": "no_answer",
    "NO_ANSWER_TRANSFER": "no_answer",
    "NOT_AVAILABLE_TRANSFER": "no_answer",
    "CLIENT": "canceled",
    "PEER": "canceled",
    "ENDPOINT": "canceled",
    "DND_ENDPOINT": "busy",
    "DND_TRANSFER": "busy",
}
"""disconnectType of a customer without any interaction. Every other one means `failed`."""
UNANSWERED_OUTBOUND: Final[Mapping[str, Unanswered]] = {"ENDPOINT": "no_answer", "PEER": "no_answer"}
TRANSFERS: Final = frozenset({"TRANSFER", "CONFERENCE_TRANSFER", "CONSULT_TRANSFER", "FORWARD_TRANSFER"})
"""disconnectType of a customer's session after which the conversation continues."""


def read(record: Record) -> Sequence[Fact]:
    """The fact of a detail event, with its topic around it or in the query of the request."""
    fields = record.fields()
    message = fields.get("detail") if "detail-type" in fields else fields
    topic = text(at(message, "topicName")) or text(fields.get("detail-type")) or _topic_of_query(record)
    if not topic.startswith(TOPICS):
        raise Ignored("it is not a detail event of a conversation")
    kind = topic[len(TOPICS) :].partition(".")[2]
    if kind not in EVENTS:
        raise Ignored(f"it is the event {kind[:40]}")
    body: Any = at(message, "eventBody") or message
    if needed(at(body, "mediaType"), "mediaType").upper() != "VOICE":
        raise Ignored("it is not a voice conversation")
    call_id = needed(body.get("conversationId"), "conversationId")
    at_ = needed_instant(epoch_milliseconds(body.get("eventTime"), "eventTime"), "eventTime")
    type_, data = EVENTS[kind](body, at_)
    id_ = text(fields.get("id")) if "detail-type" in fields else None
    return [Fact(id_ or record.derived_id(), type_, call_id, at_, data)]


def _topic_of_query(record: Record) -> str:
    """The topic of a trigger's request. Its body does not name the topic, so the address has to."""
    topics = parse_qs(record.url.partition("#")[0].partition("?")[2]).get("topic")
    if not topics:
        raise Quarantined("topicName: is missing.")
    return topics[0]


_Told = tuple[EventType, Mapping[str, Any]]


def _customer_start(body: Mapping[str, Any], _at: datetime) -> _Told:
    return "call.initiated", {
        "from_number": sip_user(_first(body, "ani", "addressFrom")),
        "to_number": sip_user(text(_first(body, "dnis", "addressTo"))),
        "direction": DIRECTIONS.get(_word(body, "direction")),
    }


def _user_start(_body: Mapping[str, Any], _at: datetime) -> _Told:
    return "call.ringing", {}


def _voicemail_start(_body: Mapping[str, Any], _at: datetime) -> _Told:
    return "call.updated", {"status": "in_progress"}


def _customer_end(body: Mapping[str, Any], at_: datetime) -> _Told:
    word = _word(body, "disconnectType")
    cause = {"hangup_cause": shortened(text(body.get("disconnectType")))}
    interacting = whole(body.get("interactingDurationMs"))
    if interacting:
        answered_at = at_ - timedelta(milliseconds=interacting)
        return "call.completed", {
            "status": "completed",
            "duration": interacting // 1_000,
            "answered_at": answered_at,
            **cause,
        }
    if word in TRANSFERS:
        raise Ignored("the conversation continues after a transfer")
    status = UNANSWERED.get(word, "failed")
    if DIRECTIONS.get(_word(body, "direction")) == "outbound":
        status = UNANSWERED_OUTBOUND.get(word, status)
    return "call.failed", {"status": status, **cause}


EVENTS: Final[Mapping[str, Callable[[Mapping[str, Any], datetime], _Told]]] = {
    "customer.start": _customer_start,
    "user.start": _user_start,
    "voicemail.start": _voicemail_start,
    "customer.end": _customer_end,
}
"""The topics that describe a call's course. All others are ignored."""


def _word(body: Mapping[str, Any], name: str) -> str:
    return (text(body.get(name)) or "").upper()


def _first(body: Mapping[str, Any], *names: str) -> Any:
    return next((body[name] for name in names if body.get(name) is not None), None)


def _named(record: Record, by: str) -> str | None:
    """The organization's id in the name of the event bus, the division, or the text at a path."""
    if by == "source":
        # aws.partner/genesys.com/cloud/<organization>/<suffix>
        parts = (text(at(record.value, "source")) or "").split("/")
        return parts[3] if len(parts) > 3 and parts[3] else None
    if by == "divisionId":
        return named_at(record, "detail.eventBody.divisionId,eventBody.divisionId,divisionId")
    return named_at(record, by)


GENESYS_CLOUD: Final = Dialect(
    name="genesys_cloud",
    title="Genesys Cloud",
    ways=("http", "kafka"),
    read=read,
    named=_named,
    organizations_by="source",
    secrets=(
        Secret("username", "The user name of basic credentials, if the sender uses them.", required=False),
        Secret("password", "The password of these credentials.", required=False),
    ),
    setup="""\
1. In the menu *Integrations* of *Admin*, add *Amazon EventBridge Source*. Give it the topics
   `v2.detail.events.conversation.{id}.customer.start`, `….customer.end`, `….user.start` and
   `….voicemail.start`.
2. In AWS, associate the partner event bus, and add a rule. Its target is an API destination with the source's
   address and a connection with basic authorization, or a pipe to Kafka.
3. Map the organization's id, which is in the name of the bus, to an organization. With
   `--map-by divisionId`, map the divisions.

Instead, a program can forward the messages of the notification WebSocket as they are. A trigger can call the
source's address with the event's body. Then the address needs the topic in its query, as
`?topic=v2.detail.events.conversation.{id}.customer.end`. Use one of these ways, not several.""",
    gives="""\
Status, direction, both numbers, the begin, the end, the time in which the customer interacted as the
duration, the answer derived from it, and `disconnectType` as `hangup_cause`. Times have milliseconds.""",
    lacks="""\
There is no price and no recording. No event reports the answer when it happens, so a running call is
`ringing`. A second external party in a conversation begins and ends like the customer, and its numbers
replace the first one's. Records of the analytics API have another form.""",
    from_memory="""\
The moments at which `customer.start` and `user.start` are sent, whether `interactingDurationMs` contains
holds, and the body of a trigger.""",
)
