"""Amazon Connect: contact events of EventBridge, and contact records of Kinesis or Firehose.

A contact is a segment of a call. A transfer makes a further contact. The call is the first contact of the
chain. A callback is a call of its own.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from shared.calls.event import EventType
from shared.sources.causes import Unanswered
from shared.sources.delivery import Delivery
from shared.sources.dialect import Dialect, Secret, Setting, named_at
from shared.sources.instants import iso, needed_instant
from shared.sources.outcome import Fact, Ignored, Quarantined, Response
from shared.sources.parties import sip_user
from shared.sources.record import Record, at, needed, shortened, text
from shared.sources.signatures import (
    check_basic_credentials,
    check_equal,
    has_basic_credentials,
    header,
    secret,
)
from shared.sources.source import Source

CONTACT_EVENT: Final = "Amazon Connect Contact Event"
DIRECTIONS: Final[Mapping[str, str]] = {
    "INBOUND": "inbound",
    "WEBRTC_API": "inbound",
    "OUTBOUND": "outbound",
    "CALLBACK": "outbound",
    "CALLBACK_CUSTOMER_FIRST_DIALED": "outbound",
    "API": "outbound",
    "CAMPAIGN_PREVIEW": "outbound",
}
"""InitiationMethod. The contacts of all other methods belong to a call that has a direction."""
CALLBACKS: Final = frozenset({"CALLBACK", "CALLBACK_CUSTOMER_FIRST_DIALED"})
"""Methods whose InitialContactId is the contact that requested the callback: another call."""
NO_CALLS: Final[Mapping[str, str]] = {
    "MONITOR": "it is a supervisor's contact",
    "CALLBACK_CUSTOMER_FIRST_QUEUED": "the callback is not dialed yet",
}
UNANSWERED: Final[Mapping[str, Unanswered]] = {
    "TELECOM_BUSY": "busy",
    "TELECOM_UNANSWERED": "no_answer",
    "TELECOM_TIMEOUT": "no_answer",
    "CUSTOMER_NEVER_ARRIVED": "no_answer",
    "TELECOM_ORIGINATOR_CANCEL": "canceled",
}
"""DisconnectReason of a call without an answer. Every other reason means `failed`."""
CANCELED_INBOUND: Final = frozenset({"CUSTOMER_DISCONNECT"})
CANCELED_OUTBOUND: Final = frozenset({"AGENT_DISCONNECT", "API"})
"""Reasons by which the calling side ended a call without an answer."""
UNANSWERED_BY_DETECTION: Final[Mapping[str, Unanswered]] = {
    "AMD_UNANSWERED": "no_answer",
    "SIT_TONE_BUSY": "busy",
}
"""AnsweringMachineDetectionStatus of such a call without a DisconnectReason."""
FIREHOSE_KEY: Final = "x-amz-firehose-access-key"
FIREHOSE_REQUEST: Final = "x-amz-firehose-request-id"


class _Contact(NamedTuple):
    """A voice contact. `fields` has names in lower case: the documentation shows several spellings.
    `begins` is whether the call begins with it. `sent_at` is the time of the EventBridge event."""

    fields: Mapping[str, Any]
    id: str
    call_id: str
    begins: bool
    method: str
    by_agent: bool
    sent_at: Any = None

    @property
    def direction(self) -> str | None:
        return DIRECTIONS.get(self.method)

    def at(self, name: str) -> datetime | None:
        return iso(self.fields.get(name.lower()), name)

    def at_or_sent(self, name: str) -> datetime:
        return self.at(name) or needed_instant(iso(self.sent_at, "time"), name)

    def agent_at(self) -> datetime | None:
        """The time at which an agent took the contact."""
        agent = _lower(self.fields.get("agentinfo") or self.fields.get("agent"))
        return iso(agent.get("connectedtoagenttimestamp"), "connectedToAgentTimestamp")

    def answered_at(self) -> datetime | None:
        return self.agent_at() if self.by_agent else self.at("connectedToSystemTimestamp")


_Told = tuple[EventType, datetime, Mapping[str, Any]]
"""An event's type, time and data."""


def read(record: Record) -> Sequence[Fact]:
    """The facts of a contact event, in EventBridge's envelope or without it, or of a contact record."""
    fields = _lower(record.fields())
    if "detail-type" in fields:
        if fields["detail-type"] != CONTACT_EVENT:
            raise Ignored("it is not a contact event")
        id_ = text(fields.get("id")) or record.derived_id()
        return [_event(_lower(fields.get("detail")), id_, fields.get("time"), record)]
    if "eventtype" in fields:
        return [_event(fields, record.derived_id(), None, record)]
    if "contactid" in fields:
        return _contact_record(fields, record)
    raise Quarantined("The record is neither a contact event nor a contact record.")


def _contact(fields: Mapping[str, Any], record: Record, sent_at: Any = None) -> _Contact:
    if needed(fields.get("channel"), "channel").upper() != "VOICE":
        raise Ignored("it is not a voice contact")
    method = (text(fields.get("initiationmethod")) or "").upper()
    if method in NO_CALLS:
        raise Ignored(NO_CALLS[method])
    own = needed(fields.get("contactid"), "contactId")
    initial = text(fields.get("initialcontactid"))
    call_id = own if initial is None or method in CALLBACKS else initial
    by_agent = record.source.settings.get("answered_by") == "agent" and DIRECTIONS.get(method) != "outbound"
    return _Contact(fields, own, call_id, call_id == own, method, by_agent, sent_at)


def _event(fields: Mapping[str, Any], id_: str, sent_at: Any, record: Record) -> Fact:
    kind = needed(fields.get("eventtype"), "eventType").upper()
    if kind not in EVENTS:
        raise Ignored(f"it is the event {kind[:40]}")
    contact = _contact(fields, record, sent_at)
    type_, at_, data = EVENTS[kind](contact)
    return Fact(id_, type_, contact.call_id, at_, data)


def _initiated(contact: _Contact) -> _Told:
    if not contact.begins:
        raise Ignored("a later contact of a call begins no call")
    return "call.initiated", contact.at_or_sent("initiationTimestamp"), _parties(contact)


def _connected_to_system(contact: _Contact) -> _Told:
    if contact.by_agent:
        raise Ignored("no agent has taken the contact yet")
    return "call.answered", contact.at_or_sent("connectedToSystemTimestamp"), {}


def _connected_to_agent(contact: _Contact) -> _Told:
    at_ = contact.agent_at() or contact.at_or_sent("connectedToAgentTimestamp")
    answered_at = at_ if contact.by_agent else contact.answered_at()
    return "call.updated", at_, {"status": "in_progress", "answered_at": answered_at}


def _disconnected(contact: _Contact) -> _Told:
    """The end. COMPLETED repeats it after the agent's work, at another event time."""
    answered_at = contact.answered_at()
    if answered_at is None and contact.method == "INBOUND" and contact.begins and not contact.by_agent:
        answered_at = contact.at("initiationTimestamp")
    type_, at_, data = _end(contact, contact.at_or_sent("disconnectTimestamp"), answered_at)
    return type_, at_, {**data, "answered_at": answered_at if contact.begins else None}


EVENTS: Final[Mapping[str, Callable[[_Contact], _Told]]] = {
    "INITIATED": _initiated,
    "CONNECTED_TO_SYSTEM": _connected_to_system,
    "CONNECTED_TO_AGENT": _connected_to_agent,
    "DISCONNECTED": _disconnected,
    "COMPLETED": _disconnected,
}
"""eventType. All others are ignored."""


def _contact_record(fields: Mapping[str, Any], record: Record) -> Sequence[Fact]:
    """The facts of a contact record. Amazon sends a new version at each change, also months later; the ids
    sort by version."""
    contact = _contact(fields, record)
    version = needed(fields.get("lastupdatetimestamp"), "LastUpdateTimestamp")
    facts = []

    def add(word: str, type_: EventType, at_: datetime, data: Mapping[str, Any]) -> None:
        facts.append(Fact(f"{contact.id}:{version}:{word}", type_, contact.call_id, at_, data))

    if contact.begins:
        began_at = needed_instant(contact.at("InitiationTimestamp"), "InitiationTimestamp")
        add("initiated", "call.initiated", began_at, _parties(contact))
    answered_at = contact.answered_at()
    if answered_at is not None:
        if contact.begins or contact.by_agent:
            add("answered", "call.answered", answered_at, {})
        else:
            add("answered", "call.updated", answered_at, {"status": "in_progress"})
    if (ended_at := contact.at("DisconnectTimestamp")) is not None:
        if text(fields.get("nextcontactid")) is None:
            add("end", *_end(contact, ended_at, answered_at))
        else:
            add("end", "call.updated", ended_at, {})
    if (url := _recording_url(fields)) is not None:
        recorded_at = needed_instant(contact.at("LastUpdateTimestamp"), "LastUpdateTimestamp")
        add("recording", "recording.ready", recorded_at, {"recording_url": url})
    return facts


def _end(contact: _Contact, at_: datetime, answered_at: datetime | None) -> _Told:
    """The end of a contact. Only an answered call is transferred, so a later contact's end completes it."""
    reason = text(contact.fields.get("disconnectreason"))
    cause = {"hangup_cause": shortened(reason)}
    if answered_at is not None or not (contact.begins or contact.by_agent):
        return "call.completed", at_, {"status": "completed", **cause}
    return "call.failed", at_, {"status": _unanswered(contact, reason and reason.upper()), **cause}


def _unanswered(contact: _Contact, reason: str | None) -> Unanswered:
    if reason is None:
        detected = text(contact.fields.get("answeringmachinedetectionstatus")) or ""
        return UNANSWERED_BY_DETECTION.get(detected.upper(), "failed")
    canceled = CANCELED_OUTBOUND if contact.direction == "outbound" else CANCELED_INBOUND
    return "canceled" if reason in canceled else UNANSWERED.get(reason, "failed")


def _parties(contact: _Contact) -> Mapping[str, Any]:
    """The numbers. Contact events have the system's alone, in a tag or as an endpoint."""
    fields = contact.fields
    customer = sip_user(_lower(fields.get("customerendpoint")).get("address"))
    system = text(_lower(fields.get("systemendpoint")).get("address"))
    system = sip_user(system or text(_lower(fields.get("tags")).get("aws:connect:systemendpoint")))
    direction = contact.direction
    calling, called = (system, customer) if direction == "outbound" else (customer, system)
    return {"from_number": calling, "to_number": called, "direction": direction}


def _recording_url(fields: Mapping[str, Any]) -> str | None:
    """The address of the first recording of the voice that is available in S3."""
    several = fields.get("recordings")
    for each in (fields.get("recording"), *(several if isinstance(several, list) else ())):
        recording = _lower(each)
        location = text(recording.get("location"))
        if (
            location is not None
            and recording.get("status") == "AVAILABLE"
            and recording.get("storagetype") in (None, "S3")
            and recording.get("mediastreamtype") in (None, "AUDIO")
        ):
            return location if location.startswith("s3://") else f"s3://{location}"
    return None


def _lower(value: Any) -> Mapping[str, Any]:
    """An object's members by their names in lower case; none of any other value."""
    return {name.lower(): each for name, each in value.items()} if isinstance(value, dict) else {}


def _named(record: Record, by: str) -> str | None:
    """The id of the instance or of the queue, or its whole ARN where the source maps that."""
    if by not in ("instance", "queue"):
        return named_at(record, by)
    arn = _instance_arn(record.value) if by == "instance" else _queue_arn(record.value)
    if arn is None or arn in record.source.organizations:
        return arn
    # Documentation shows ARNs without a partition, so only the part after the kind is reliable.
    return arn.partition(f"{by}/")[2].partition("/")[0] or arn


def _instance_arn(value: Any) -> str | None:
    arn = _text_at(_detail(value), "instanceArn", "InstanceARN", "InstanceArn")
    if arn is None and isinstance(resources := at(value, "resources"), list):
        return next((each for each in resources if isinstance(each, str) and "instance/" in each), None)
    return arn


def _queue_arn(value: Any) -> str | None:
    names = ("queueInfo.queueArn", "QueueInfo.QueueArn", "Queue.ARN", "queue.arn")
    return _text_at(_detail(value), *names)


def _detail(value: Any) -> Any:
    return value.get("detail", value) if isinstance(value, dict) else None


def _text_at(value: Any, *paths: str) -> str | None:
    return next((found for path in paths if (found := text(at(value, path))) is not None), None)


def verify(delivery: Delivery, source: Source) -> None:
    """Checks the access key of Firehose, or the basic credentials of an EventBridge connection. A source that
    has neither secret trusts its secret address."""
    secrets = source.secrets
    if "access_key" in secrets and (FIREHOSE_KEY in delivery.headers or "password" not in secrets):
        check_equal(secret(source, "access_key"), header(delivery, FIREHOSE_KEY), "the access key")
    elif has_basic_credentials(source):
        check_basic_credentials(delivery, source)


def answer(delivery: Delivery) -> Response:
    """The response that Firehose needs. It counts any other one as a failure, and repeats the request."""
    request_id = delivery.headers.get(FIREHOSE_REQUEST, "")
    if not request_id or not request_id.isascii():
        return Response()
    body = {"requestId": request_id, "timestamp": int(delivery.received_at.timestamp() * 1_000)}
    return Response(200, msgspec.json.encode(body).decode(), {"Content-Type": "application/json"})


AMAZON_CONNECT: Final = Dialect(
    name="amazon_connect",
    title="Amazon Connect",
    ways=("http", "kafka"),
    read=read,
    verify=verify,
    answer=answer,
    named=_named,
    organizations_by="instance",
    secrets=(
        Secret(
            "access_key",
            "The access key of the Firehose stream. Firehose sends it with each request.",
            required=False,
        ),
        Secret(
            "username",
            "The user name of the EventBridge connection, with basic authorization.",
            required=False,
        ),
        Secret("password", "The password of the same connection.", required=False),
    ),
    settings=(
        Setting(
            "answered_by",
            "`system` (the default): an inbound call is answered when Amazon Connect takes it. `agent`: when "
            "the first agent takes it. An outbound call is answered by the customer in either case.",
        ),
    ),
    setup="""\
Use both ways: events are fast and can be lost, and records have the customer's number.

1. Contact records: in the console of the instance, open *Data streaming*. Choose a Kinesis stream, or a
   Firehose stream whose destination is the *HTTP endpoint* of the source, with an access key. Kinesis records
   reach Kafka by a connector or by a function.
2. Contact events: in EventBridge, add a rule for the source `aws.connect` and the detail type
   `Amazon Connect Contact Event`. Its target is an API destination with the source's address and a connection
   with basic authorization, or a pipe to Kafka.
3. Map each instance's id, or its ARN, to an organization. With `--map-by queue`, map the ids of
   queues. Any other value is a dotted path, such as `detail.tags.tenant,Tags.tenant`.""",
    gives="""\
Status, direction, both numbers, the begin, the answer and the end, the reason of the end as `hangup_cause`,
and the recording's place in S3 as `s3://…`. All contacts of a chain are one call. Its duration is derived
from the first answer to the last end.""",
    lacks="""\
There is no price, and the transcripts of Contact Lens are elsewhere. Contact events do not have the
customer's number. Contact records have whole seconds.

A contact record with a next contact does not end the call. The next contact can be a callback, which is
another call. Then only the contact events end the first call. A callback that an agent transfers has the
first call's id.""",
    from_memory="""\
That `disconnectReason` is in the events of all contacts, and that an inbound contact with `NextContactId`
continues in that contact.""",
)
