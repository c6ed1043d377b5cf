"""An attempt: translates a delivery, or all deliveries of a call, without a database."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from services.ops.sources.sample import Sample
from shared.calls.event import Event, InvalidEvent, read
from shared.calls.fold import Call, distinct, fold
from shared.dialects.registry import DIALECTS
from shared.sources.delivery import Delivery
from shared.sources.delivery_record import record_of, request_of
from shared.sources.dialect import Dialect
from shared.sources.outcome import Refused, Response
from shared.sources.signatures import check_request
from shared.sources.source import Source
from shared.sources.translate import Fault, Placed, Translation, event_json, translate

Key = tuple[UUID, UUID]


@dataclass(frozen=True)
class Attempt:
    """`outcome` is `events`, `ignored`, `quarantined`, `refused` or `answered`. `reason` is None where every
    element became events."""

    outcome: str
    events: Sequence[Placed] = ()
    quarantined: Sequence[Fault] = ()
    reason: str | None = None
    response: Response | None = None


def attempt(sample: Sample, *, verify: bool = True) -> Attempt:
    """Verifies and translates a delivery. Without `verify`, a request's signature is not checked."""
    source, delivery = sample
    dialect = DIALECTS[source.dialect]
    if verify and delivery.is_request:
        try:
            response = check_request(delivery, source, dialect.verify)
        except Refused as refused:
            return Attempt("refused", reason=str(refused))
        if response is not None:
            return Attempt("answered", reason="it is a handshake", response=response)
    if delivery.is_request:  # ingest reads only what the receiver keeps
        delivery = request_of(*record_of(delivery, source.id, dialect.kept_headers))
    return _attempt_of(translated(delivery, source, dialect))


def translated(delivery: Delivery, source: Source, dialect: Dialect) -> Translation:
    """The translation of a delivery. A fact that breaks the contract of events counts as a fault."""
    translation = translate(delivery, source, dialect)
    facts, faults = [], list(translation.quarantined)
    for placed in translation.facts:
        try:
            read(event_json(placed.fact, placed.organization or source.id), delivery.received_at)
            facts.append(placed)
        except InvalidEvent as error:
            faults.append(Fault(placed.element, str(error)))
    return translation._replace(facts=tuple(facts), quarantined=tuple(faults))


def _attempt_of(translation: Translation) -> Attempt:
    reasons = [fault.reason for fault in translation.quarantined] or list(translation.ignored)
    return Attempt(
        translation.outcome,
        translation.facts,
        translation.quarantined,
        "; ".join(reasons) or None,
    )


def calls_of(samples: Sequence[Sample]) -> list[Call]:
    """Feeds deliveries in their order through dialects and fold, and returns the calls.

    A record that cannot name its organization waits until another record of its call, in the same source,
    has named exactly one."""
    named: defaultdict[tuple[UUID, str], set[UUID]] = defaultdict(set)
    told: list[tuple[Source, Placed]] = []
    for source, delivery in samples:
        for placed in translated(delivery, source, DIALECTS[source.dialect]).facts:
            told.append((source, placed))
            if placed.organization is not None:
                named[source.id, placed.fact.call_id].add(placed.organization)
    events: defaultdict[Key, list[Event]] = defaultdict(list)
    latest = max((delivery.received_at for _, delivery in samples), default=None)
    for source, placed in told:
        organization = placed.organization or _only(named[source.id, placed.fact.call_id])
        if organization is not None and latest is not None:
            event = read(event_json(placed.fact, organization), latest)
            events[event.organization_id, event.call_id].append(event)
    return [fold(distinct(each)) for each in events.values()]


def _only(organizations: set[UUID]) -> UUID | None:
    return next(iter(organizations)) if len(organizations) == 1 else None


def placed_json(placed: Placed) -> Mapping[str, object]:
    """An event for people and programs to read; `organization_id` is None where only the call can tell it."""
    fact = placed.fact
    return {
        "id": fact.id,
        "type": fact.type,
        "organization_id": placed.organization,
        "call_id": fact.call_id,
        "timestamp": fact.timestamp,
        **({} if fact.livemode is None else {"livemode": fact.livemode}),
        "data": {name: value for name, value in fact.data.items() if value is not None},
    }
