"""The record of a delivery in the topic of deliveries: the request's body, and the rest of it as headers.

The receiver writes it, ingest reads it. Credentials are not kept: only headers that a body needs to be read,
and those that a dialect names.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple
from uuid import UUID

from shared.calls.lenient import is_uuid
from shared.sources.delivery import Delivery
from shared.sources.envelopes import OFFERED_ID
from shared.sources.outcome import Quarantined
from shared.sources.record import Record

SOURCE: Final = "callfold-source"
METHOD: Final = "callfold-method"
URL: Final = "callfold-url"
RECEIVED_AT: Final = "callfold-received-at"
_OWN: Final = frozenset({SOURCE, METHOD, URL, RECEIVED_AT})
_KEPT: Final = frozenset(
    {"content-type", "content-encoding", "x-amz-sns-message-type", "x-amz-sns-rawdelivery"}
)
_KEPT_PREFIX: Final = "ce-"

Headers = Sequence[tuple[str, bytes]]


class DeliveryRecord(NamedTuple):
    """A Kafka record's headers and value. It has no key."""

    headers: Headers
    value: bytes


def record_of(delivery: Delivery, source_id: UUID, kept_headers: Iterable[str] = ()) -> DeliveryRecord:
    """The record of a request. `kept_headers` are further headers to keep, in lower case."""
    kept = _KEPT.union(kept_headers)
    headers = [
        (SOURCE, str(source_id)),
        (METHOD, delivery.method),
        (URL, delivery.url),
        (RECEIVED_AT, delivery.received_at.isoformat()),
        *(
            (name, value)
            for name, value in delivery.headers.items()
            if name in kept or name.startswith(_KEPT_PREFIX)
        ),
    ]
    return DeliveryRecord([(name, _bytes(value)) for name, value in headers], delivery.body or b"")


def _bytes(value: str) -> bytes:
    """A header's bytes as they came. The server passes bytes that are not UTF-8 as surrogates."""
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return value.encode(errors="replace")


def element_of(headers: Headers, record: Record) -> DeliveryRecord:
    """The record that keeps one element of a delivery alone. It reads as the element does within the
    delivery. `headers` are the delivery's."""
    kept = [
        (name, value)
        for name, value in headers
        if name.lower() not in ("content-type", "content-encoding")
        and not name.lower().startswith(("ce-", "ce_"))
    ]
    if record.offered_id is not None:
        kept.append((OFFERED_ID, record.offered_id.encode(errors="replace")))
    return DeliveryRecord([*kept, ("content-type", b"application/json")], record.serialized())


def source_of(headers: Headers) -> UUID:
    """The source that a record's headers name. Raises Quarantined."""
    for name, value in headers:
        if name == SOURCE and value is not None:
            written = value.decode(errors="replace")
            if is_uuid(written):
                return UUID(written)
            break
    raise Quarantined(f"The header {SOURCE} is missing or no UUID; the record is not a delivery.")


def request_of(headers: Headers, value: bytes | None) -> Delivery:
    """The request of a record in the topic of deliveries. Raises Quarantined."""
    texts = texts_of(headers)
    try:
        received_at = datetime.fromisoformat(texts[RECEIVED_AT])
        method, url = texts[METHOD], texts[URL]
    except (KeyError, ValueError):
        raise Quarantined("The record lacks the headers of a delivery.") from None
    if received_at.tzinfo is None or not method:
        raise Quarantined("The record lacks the headers of a delivery.")
    others = {name: text for name, text in texts.items() if name not in _OWN}
    return Delivery(value or b"", received_at, others, method, url)


def delivery_of(headers: Headers, key: bytes | None, value: bytes | None, timestamp: datetime) -> Delivery:
    """The delivery that a record of a source's own topic is. `timestamp` (aware) is the record's."""
    return Delivery(value, timestamp.astimezone(UTC), texts_of(headers), key=key)


def texts_of(headers: Headers) -> dict[str, str]:
    """Headers by their names in lower case. Bytes that are not UTF-8 are replaced."""
    return {name.lower(): value.decode(errors="replace") for name, value in headers if value is not None}
