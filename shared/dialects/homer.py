"""Homer: copies of SIP messages that HEP agents captured.

A call is known by its Call-ID. Each hop and each agent captures the same message: each copy is an event of
its own, and the earliest answer counts.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final, NamedTuple

from shared.dialects.sip import (
    DOMAIN,
    OWN_DOMAINS_SETTING,
    OWN_NUMBERS_SETTING,
    Ends,
    Party,
    cause_of_reason,
    named,
    of_reply,
    own_domain_of,
    parties,
    party,
)
from shared.sources.causes import sip_code
from shared.sources.dialect import Dialect
from shared.sources.envelopes import json_value
from shared.sources.instants import epoch_seconds, iso, needed_instant
from shared.sources.outcome import Fact, Ignored, Quarantined
from shared.sources.parties import sip_user
from shared.sources.record import Record, needed, text, whole

Fields = Mapping[str, Any]

SIP: Final = 1
"""The payload type of SIP. Others are reports of media, logs, and other protocols."""
HEADERS: Final[Mapping[str, str]] = {
    "from": "from",
    "f": "from",
    "to": "to",
    "t": "to",
    "call-id": "call-id",
    "i": "call-id",
    "cseq": "cseq",
    "reason": "reason",
}
"""The header fields that callfold reads, with their compact forms (RFC 3261, 7.3.3)."""


class Message(NamedTuple):
    """A SIP message. `code` is None for a request. `method` is that of a reply's request."""

    method: str
    code: int | None
    call_id: str | None
    caller: Party
    callee: Party
    has_to_tag: bool
    reason: str | None = None

    def ends(self) -> Ends:
        return Ends(self.caller, self.callee, self.method == "BYE")

    def begins(self) -> bool:
        return self.method == "INVITE" and self.code is None and not self.has_to_tag


def read(record: Record) -> Sequence[Fact]:
    """The fact of a captured message."""
    fields = record.fields()
    capture = _part(fields, "protocol_header")
    payload_type = capture.get("payloadType")
    if payload_type is not None and whole(payload_type) != SIP:
        raise Ignored("it is not a SIP message")
    message = _message(fields)
    call_id = message.call_id or needed(fields.get("sid"), "sid")
    return [_fact(message, call_id, _time(fields, capture, record), record)]


def _fact(message: Message, call_id: str, instant: datetime, record: Record) -> Fact:
    if message.code is not None:
        if message.method != "INVITE":
            raise Ignored("it is a reply to another request than INVITE")
        type_, data = of_reply(message.code, message.reason)
        return Fact(record.derived_id(), type_, call_id, instant, data)
    if message.method == "BYE":
        data = {"hangup_cause": cause_of_reason(message.reason)}
        return Fact(record.derived_id(), "call.completed", call_id, instant, data)
    if not message.begins():
        raise Ignored("it is a request that neither begins nor ends a call")
    data = parties(message.ends(), record.source)
    return Fact(record.derived_id(), "call.initiated", call_id, instant, data)


def _part(fields: Fields, name: str) -> Fields:
    """A part of the record: an object, or its JSON in a text, as a column of a table has it."""
    part = fields.get(name)
    if isinstance(part, str):
        part = json_value(part, name)
    return part if isinstance(part, dict) else {}


def _message(fields: Fields) -> Message:
    raw = fields.get("raw")
    if isinstance(raw, str) and (message := _parsed(raw)) is not None:
        return message
    return _described(_part(fields, "data_header"))


@lru_cache(maxsize=4)  # a record is read for its facts and for its organization
def _parsed(raw: str) -> Message | None:
    """The message in its own form (RFC 3261, 7); None for another text."""
    start, _, rest = raw.lstrip().partition("\n")
    first, _, second = start.strip().partition(" ")
    headers = _headers(rest)
    if first == "SIP/2.0":
        code = sip_code(second.partition(" ")[0])
        method = headers.get("cseq", "").rpartition(" ")[2]
        if code is None or not method:
            return None
    elif second.endswith("SIP/2.0"):
        code, method = None, first
    else:
        return None
    to = headers.get("to", "")
    return Message(
        method.upper(),
        code,
        text(headers.get("call-id")),
        party(headers.get("from")),
        party(to),
        ";tag=" in to.rpartition(">")[2].replace(" ", "").lower(),
        headers.get("reason"),
    )


def _headers(content: str) -> dict[str, str]:
    """The first of each header field that counts, until the empty line before the body."""
    headers: dict[str, str] = {}
    for line in content.split("\n"):
        line = line.rstrip("\r")
        if not line:
            break
        name, colon, value = line.partition(":")
        field = HEADERS.get(name.strip().lower()) if colon else None
        if field is not None:
            headers.setdefault(field, value.strip())
    return headers


def _described(header: Fields) -> Message:
    """The message as the agent describes it where there is no copy. A reply has its code as `method`."""
    method = needed(header.get("method"), "data_header.method")
    code = sip_code(method)
    if code is not None:
        method = needed(header.get("cseq"), "data_header.cseq").rpartition(" ")[2]
    return Message(
        method.upper(),
        code,
        text(header.get("callid")),
        _described_party(header, "from_user", "from_domain"),
        _described_party(header, "to_user", "to_domain"),
        text(header.get("to_tag")) is not None,
    )


def _described_party(header: Fields, user: str, domain: str) -> Party:
    host = text(header.get(domain))
    return Party(sip_user(header.get(user)), host and host.lower())


def _time(fields: Fields, capture: Fields, record: Record) -> datetime:
    seconds = epoch_seconds(capture.get("timeSeconds"), "timeSeconds")
    if seconds is None:
        created_at = iso(fields.get("create_date"), "create_date")
        return needed_instant(created_at or record.offered_at, "create_date")
    microseconds = whole(capture.get("timeUseconds")) or 0
    if microseconds >= 1_000_000:
        raise Quarantined("timeUseconds: is not below 1,000,000.")
    return seconds + timedelta(microseconds=microseconds)


def _named(record: Record, by: str) -> str | None:
    fields = record.fields()
    message = _message(fields)

    def domain() -> str | None:
        return own_domain_of(message.ends(), record.source, begins=message.begins())

    return named(fields, by, domain) or named(_part(fields, "protocol_header"), by, lambda: None)


HOMER: Final = Dialect(
    name="homer",
    title="Homer (HEP)",
    ways=("kafka",),
    read=read,
    named=_named,
    organizations_by=DOMAIN,
    settings=(OWN_DOMAINS_SETTING, OWN_NUMBERS_SETTING),
    setup="""\
Take this source only where the proxy or switch itself cannot report its calls.

1. Publish the SIP messages of Homer to the source's topic: the rows of `hep_proto_1_call` by Debezium, or
   the output to Kafka of paStash or hepop.
2. Keep the column or field `raw`: it has the SIP message.
3. Give the own domains with `--map`. Where each agent serves one organization, give `--map-by captureId`,
   and map the ids.""",
    gives="""\
Status, direction, both numbers, the begin, the ringing, the answer and the end in microseconds, SIP codes,
and the Q.850 cause in the header Reason of a BYE. The duration is the time from the answer to the end.""",
    lacks="""\
Prices and recordings. Each hop of a B2BUA has its own Call-ID and is a call of its own. The 200 of a
re-INVITE looks like an answer: the earliest counts. The refusal of one branch of a forked call looks like
the call's end, until the BYE. A call without a captured BYE does not end.""",
    from_memory="""\
The names in `data_header` depend on the agent, also that `method` has a reply's code. They count only
where `raw` is missing.""",
)
