"""Translation: from a delivery to callfold's events."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from shared.calls.event import CALL_ID_LENGTH_MAX, ID_LENGTH_MAX
from shared.sources.delivery import Delivery
from shared.sources.dialect import Dialect
from shared.sources.envelopes import Element, records
from shared.sources.outcome import Fact, Ignored, Quarantined
from shared.sources.placement import organization_of
from shared.sources.record import Record
from shared.sources.source import Source

_encode = msgspec.json.Encoder(decimal_format="number").encode
_decode = msgspec.json.decode

BUG: Final = "The dialect cannot read it, by a bug of callfold: "


class Placed(NamedTuple):
    """A fact, its place in the delivery from 0, and its organization; None if only its call can tell it."""

    fact: Fact
    element: int
    organization: UUID | None


class Fault(NamedTuple):
    """Why an element of a delivery gave no event: one sentence."""

    element: int
    reason: str


class Translation(NamedTuple):
    """The outcome of a delivery: its facts, the elements to be quarantined, and why others are ignored."""

    facts: tuple[Placed, ...] = ()
    quarantined: tuple[Fault, ...] = ()
    ignored: tuple[str, ...] = ()
    records: Mapping[int, Record] = {}
    """The record of each element. A faulty element may have none."""

    @property
    def elements(self) -> int:
        """The number of elements of the delivery."""
        return len({*self.records, *(fault.element for fault in self.quarantined)})

    @property
    def outcome(self) -> str:
        """`events`, `quarantined` or `ignored`: what the delivery is counted as."""
        return "events" if self.facts else "quarantined" if self.quarantined else "ignored"


def translate(delivery: Delivery, source: Source, dialect: Dialect) -> Translation:
    """Reads a delivery. Never raises: every element gives facts, is ignored, or has a reason."""
    facts: list[Placed] = []
    quarantined: list[Fault] = []
    ignored: list[str] = []
    found: dict[int, Record] = {}
    for place, record in _elements(delivery, source, dialect):
        try:
            if isinstance(record, Ignored | Quarantined):
                raise record
            found[place] = record
            told = dialect.read(record)
            if not told:
                raise Ignored("it tells nothing of a call")
            organization = organization_of(record, dialect)
            facts.extend(Placed(_checked(fact), place, organization) for fact in told)
        except Ignored as reason:
            ignored.append(str(reason))
        except Quarantined as reason:
            quarantined.append(Fault(place, str(reason)))
        except Exception as bug:  # one delivery must not stop the partition
            quarantined.append(Fault(place, f"{BUG}{type(bug).__name__}."))
    return Translation(tuple(facts), tuple(quarantined), tuple(ignored), found)


def _elements(delivery: Delivery, source: Source, dialect: Dialect) -> Iterable[Element]:
    """The elements of a delivery. An exception of the dialect's own decoding is a fault."""
    try:
        return records(delivery, source, dialect.decode)
    except Exception as bug:
        return [Element(0, Quarantined(f"{BUG}{type(bug).__name__}."))]


def event_json(fact: Fact, organization_id: UUID, also: Mapping[str, Any] | None = None) -> bytes:
    """The event in callfold's own form, as JSON. `also` are further fields of its data, for those that it
    lacks."""
    data = {name: value for name, value in fact.data.items() if value is not None}
    if also:
        data = {**also, **data}
    event: dict[str, Any] = {
        "id": fact.id,
        "type": fact.type,
        "organization_id": str(organization_id),
        "call_id": fact.call_id,
        "timestamp": fact.timestamp,
        "data": data,
    }
    if fact.livemode is not None:
        event["livemode"] = fact.livemode
    encoded = _encode(event)
    return _encode(_without_null_bytes(_decode(encoded))) if b"\\u0000" in encoded else encoded


def _checked(fact: Fact) -> Fact:
    """The fact, whose ids have no null bytes and are short enough. Raises Quarantined."""
    if "\0" in fact.call_id or "\0" in fact.id:
        fact = fact._replace(id=fact.id.replace("\0", ""), call_id=fact.call_id.replace("\0", ""))
    if not 0 < len(fact.call_id) <= CALL_ID_LENGTH_MAX:
        raise Quarantined(
            f"The call's id has {len(fact.call_id):,} characters, not 1 to {CALL_ID_LENGTH_MAX}."
        )
    if not 0 < len(fact.id) <= ID_LENGTH_MAX:
        raise Quarantined(f"The event's id has {len(fact.id):,} characters, not 1 to {ID_LENGTH_MAX}.")
    return fact


def _without_null_bytes(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, dict):
        return {name.replace("\0", ""): _without_null_bytes(each) for name, each in value.items()}
    return [_without_null_bytes(each) for each in value] if isinstance(value, list) else value
