"""Envelopes: finds the records in a delivery.

Systems, brokers and connectors wrap records: in batches, in CloudEvents, in Debezium's changes, in Amazon's
notifications. `records` unwraps until nothing is recognized, at most DEPTH_MAX deep. The dialect of the
source reads what is left. A batch's element that cannot be read is quarantined alone.
"""

import zlib
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from json import JSONDecoder
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import msgspec

from shared.calls.event import number
from shared.sources.delivery import Delivery
from shared.sources.dialect import Decode
from shared.sources.instants import iso
from shared.sources.outcome import Ignored, Quarantined
from shared.sources.record import Record, needed, text
from shared.sources.source import Source

DEPTH_MAX: Final = 4
OFFERED_ID: Final = "callfold-offered-id"
"""The header with the id that an envelope offered for an element that is kept alone."""
BODY_BYTES_MAX: Final = 8 * 1024 * 1024
"""The most bytes of a body, also after decompression."""
RECORDS_MAX: Final = 10_000
CACHED_LENGTH_MAX: Final = 100
FIELDS_MAX: Final = 1_000
"""The most fields of a form or a query."""
NOT_JSON: Final = "The body is not JSON:"
"""The begin of the reason for a body that is not JSON."""
FORM: Final = "application/x-www-form-urlencoded"
CLOUD_EVENTS: Final = "application/cloudevents"
"""The begin of the media types of CloudEvents in structured mode, alone and in batches."""
_CLOUD_EVENT: Final = ("specversion", "id", "source", "type")
_CHANGES_OF_NO_ROW: Final = ("t", "m")
_MARKS: Final = frozenset(
    (
        *("specversion", "schema", "op", "__deleted", "__op", "__ts_ms"),
        *("MessageId", "messageId", "records", "Records"),
    )
)
"""Each envelope has at least one of these fields, but a log shipper's."""
_decode = msgspec.json.Decoder(float_hook=number).decode
_scan: Final = JSONDecoder(parse_float=str, parse_int=str, parse_constant=str, strict=False).raw_decode


class Element(NamedTuple):
    """A record and its place in the delivery, from 0; or the reason why there is none."""

    place: int
    record: Record | Ignored | Quarantined


class _Offer(NamedTuple):
    """The id and the time that the envelopes around a value offer."""

    id: str | None = None
    at: datetime | None = None


_NO_OFFER: Final = _Offer()


def records(delivery: Delivery, source: Source, decode: Decode | None = None) -> list[Element]:
    """The records of a delivery, in order. `decode` replaces the usual reading of the body."""
    try:
        delivery = _inflated(delivery)
        offer = _offer_of_headers(delivery)
        values = list(_values(delivery, source, decode))
    except (Ignored, Quarantined) as outcome:
        return [Element(0, outcome)]
    if delivery.content_type.startswith(CLOUD_EVENTS):
        values = _cloud_events(values)
    whole = len(values) == 1 and not isinstance(values[0], list)
    if not whole:
        offer = _NO_OFFER
    elements: list[Element] = []
    for value in values:
        for inner in _unwrapped(value, source, offer, 0):
            if len(elements) == RECORDS_MAX:
                too_many = Quarantined(f"The delivery has more than {RECORDS_MAX:,} records.")
                return [*elements, Element(RECORDS_MAX, too_many)]
            found = _record(inner, value if whole else None, delivery, source)
            elements.append(Element(len(elements), found))
    return elements or [Element(0, Ignored("it is an empty batch"))]


def _record(
    element: "_Inner | Ignored | Quarantined", value_of_body: Any, delivery: Delivery, source: Source
) -> Record | Ignored | Quarantined:
    if not isinstance(element, _Inner):
        return element
    content = (delivery.body or None) if element.value is value_of_body else None
    offered_id, offered_at = element.offer
    return Record(
        element.value,
        source,
        delivery.received_at,
        delivery.headers,
        delivery.url,
        delivery.key,
        offered_id,
        offered_at,
        content,
    )


class _Inner(NamedTuple):
    value: Any
    offer: _Offer


def _inflated(delivery: Delivery) -> Delivery:
    """The delivery with its body decompressed, and without the frame of a schema registry."""
    body = delivery.body
    if body and delivery.headers.get("content-encoding", "").strip().lower() in ("gzip", "x-gzip", "deflate"):
        body = _decompressed(body)
    if body and body[0] == 0:
        if len(body) < 6 or body[5:].lstrip()[:1] not in (b"{", b"["):
            raise Quarantined("The value is in a schema registry's frame and is not JSON.")
        body = body[5:]
    if body is delivery.body:
        return delivery
    return delivery._replace(body=body)


def _decompressed(body: bytes) -> bytes:
    unpack = zlib.decompressobj(wbits=32 + zlib.MAX_WBITS)  # gzip or zlib, by its header
    try:
        inflated = unpack.decompress(body, BODY_BYTES_MAX + 1)
    except zlib.error:
        raise Quarantined("The body is not compressed as its Content-Encoding says.") from None
    if len(inflated) > BODY_BYTES_MAX:
        raise Quarantined(f"The decompressed body has more than {BODY_BYTES_MAX:,} bytes.")
    if not unpack.eof:
        raise Quarantined("The compressed body ends too early.")
    if unpack.unused_data:
        raise Quarantined("The compressed body is followed by other bytes.")
    return inflated


def _values(delivery: Delivery, source: Source, decode: Decode | None) -> Iterable[Any]:
    if delivery.body is None and not delivery.is_request:
        raise Ignored("it has no value")
    if decode is not None:
        return decode(delivery, source)
    return usual_values(delivery)


def usual_values(delivery: Delivery) -> Iterable[Any]:
    """The values of a body: a form's or a query's fields, or JSON documents. A value of the type Quarantined
    is a line that is not JSON. Raises Quarantined."""
    if delivery.is_request and not delivery.body:
        return [form_fields(delivery.query)]
    body = delivery.body or b""
    # HTTP clients name the type of a form by default. No form begins with a bracket.
    if delivery.content_type == FORM and body.lstrip()[:1] not in (b"{", b"["):
        return [form_fields(_utf8(body))]
    return json_values(body)


def form_fields(encoded: str) -> dict[str, str]:
    """The fields of a form or a query. Of a field that is given twice, the first counts."""
    if encoded.count("&") >= FIELDS_MAX:
        raise Quarantined(f"The form has more than {FIELDS_MAX:,} fields.")
    fields: dict[str, str] = {}
    for pair in encoded.split("&"):
        name, _, value = pair.partition("=")
        if "%" in name or "+" in name:
            name = _decoded(name)
        if "%" in value or "+" in value:
            value = _decoded(value)
        if pair and name not in fields:
            fields[name] = value
    return fields


def _decoded(encoded: str) -> str:
    """A name or a value of a form. urllib's `parse_qsl` does the same and takes five times as long."""
    plain = encoded.replace("+", " ")
    return _unquoted(plain) if len(plain) <= CACHED_LENGTH_MAX else unquote(plain, errors="replace")


@lru_cache(maxsize=10_000)
def _unquoted(encoded: str) -> str:
    """Numbers, names and addresses come again and again."""
    return unquote(encoded, errors="replace")


def json_values(body: bytes) -> list[Any]:
    """The JSON documents in a body: one, one per line, or one after the other. Of several lines, one that is
    not JSON becomes a value of the type Quarantined. Raises Quarantined if no document is JSON."""
    try:
        return [_decode(body)]
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        fault = f"{NOT_JSON} {_fault(error)}."
    content = _utf8(body.removeprefix(b"\xef\xbb\xbf"))
    lines = [line for each in content.split("\n") if (line := each.strip())]
    if not lines:
        raise Quarantined("The body is empty.")
    if any(line[0] not in "{[" for line in lines):
        lines = [content]
    values: list[Any] = []
    for line in lines:
        try:
            values += _documents(line)
        except (ValueError, RecursionError) as error:
            values.append(Quarantined(f"The line is not JSON: {_fault(error)}."))
        if len(values) > RECORDS_MAX:
            break
    if all(isinstance(value, Quarantined) for value in values):
        raise Quarantined(fault)
    return values


def json_value(content: str | bytes, what: str) -> Any:
    """One JSON document. Raises Quarantined and names `what` in it."""
    try:
        return _decode(content)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, UnicodeEncodeError) as error:
        raise Quarantined(f"{what} is not JSON: {_fault(error)}.") from None


def _documents(content: str) -> list[Any]:
    """The documents in a text, with or without spaces between them. Raises ValueError and RecursionError."""
    try:
        return [_decode(content)]
    except msgspec.DecodeError:
        values: list[Any] = []
    position = 0
    while len(values) <= RECORDS_MAX:
        while content[position : position + 1].isspace():
            position += 1
        if position == len(content):
            break
        _, end = _scan(content, position)
        values.append(_decode(content[position:end]))
        position = end
    return values


def _fault(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return str(error).removeprefix("JSON is malformed: ")


def _utf8(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise Quarantined(f"The body is not UTF-8 at byte {error.start}.") from None


def _unwrapped(
    value: Any, source: Source, offer: _Offer, depth: int
) -> Iterator[_Inner | Ignored | Quarantined]:
    if isinstance(value, Ignored | Quarantined):
        yield value
        return
    try:
        inner = _opened(value, source, offer) if isinstance(value, dict | list) else None
    except (Ignored, Quarantined) as outcome:
        yield outcome
        return
    if inner is None:
        yield _Inner(value, offer)
    elif depth >= DEPTH_MAX:
        yield Quarantined(f"The record is in more than {DEPTH_MAX} envelopes.")
    else:
        for each in inner:
            yield from _unwrapped(each.value, source, each.offer, depth + 1)


def _opened(value: Any, source: Source, offer: _Offer) -> Iterable[_Inner] | None:
    """The content of the outermost envelope; None if no envelope is recognized."""
    if isinstance(value, list):
        return [_Inner(each, _NO_OFFER) for each in value]
    if _MARKS.isdisjoint(value):
        return _of_shipper(value, source, offer)
    if _is_cloud_event(value):
        return [_cloud_event(value)]
    if len(value) == 2 and "schema" in value and "payload" in value:
        if value["payload"] is None:
            raise Ignored("it has no payload")
        return [_Inner(value["payload"], offer)]
    # A change's id and time are those of its commit, so the row has neither.
    if "op" in value and "source" in value and ("after" in value or value["op"] in _CHANGES_OF_NO_ROW):
        return [_Inner(_changed_row(value), _NO_OFFER)]
    if "__deleted" in value or "__op" in value or "__ts_ms" in value:
        if value.get("__deleted") in (True, "true", "True") or value.get("__op") == "d":
            raise Ignored("it is a removed row")
        return [_Inner(_without_marks(value), _NO_OFFER)]
    found = _of_amazon(value)
    return found if found is not None else _of_shipper(value, source, offer)


def _is_cloud_event(value: Mapping[str, Any]) -> bool:
    return "specversion" in value and all(name in value for name in _CLOUD_EVENT)


def _cloud_events(values: list[Any]) -> list[Any]:
    """The values that the delivery's media type declares CloudEvents; a fault in place of any other."""
    return [
        _cloud_events(value)
        if isinstance(value, list)
        else value
        if isinstance(value, dict) and _is_cloud_event(value)
        else Quarantined(f"The CloudEvent has not all of {', '.join(_CLOUD_EVENT)}.")
        for value in values
    ]


def _cloud_event(value: Mapping[str, Any]) -> _Inner:
    offer = _cloud_offer(needed(value["source"], "source"), needed(value["id"], "id"), value.get("time"))
    media_type = (text(value.get("datacontenttype")) or "application/json").lower()
    if value.get("data_base64") is not None:
        decoded = _base64(value["data_base64"], "data_base64")
        return _Inner(_if_json(decoded, media_type, "data_base64"), offer)
    data = value.get("data")
    if data is None:
        raise Ignored("the CloudEvent has no data")
    return _Inner(_if_json(data, media_type, "data") if isinstance(data, str) else data, offer)


def _cloud_offer(source: str, id_: str, time: Any) -> _Offer:
    digest = sha256(f"{source}\n{id_}".encode(errors="surrogatepass")).hexdigest()
    try:
        at = iso(time, "time")
    except Quarantined:
        at = None
    return _Offer(f"ce_{digest[:32]}", at)


def _offer_of_headers(delivery: Delivery) -> _Offer:
    """The offer of an element that was kept alone, or of a CloudEvent in binary mode."""
    if (offered := delivery.headers.get(OFFERED_ID)) is not None:
        return _Offer(offered)
    return _binary_cloud_event(delivery)


def _binary_cloud_event(delivery: Delivery) -> _Offer:
    """The id and the time in the headers of a CloudEvent in binary mode. HTTP encodes them by percent."""
    prefix, plain = ("ce-", unquote) if delivery.is_request else ("ce_", str)
    if f"{prefix}specversion" not in delivery.headers:
        return _NO_OFFER
    given = {name: plain(delivery.headers.get(prefix + name, "")) for name in (*_CLOUD_EVENT, "time")}
    if not all(given[name] for name in _CLOUD_EVENT):
        return _NO_OFFER
    if not delivery.body:
        raise Ignored("the CloudEvent has no data")
    return _cloud_offer(given["source"], given["id"], given["time"])


def _if_json(content: str | bytes, media_type: str, what: str) -> Any:
    if "json" in media_type:
        return json_value(content, what)
    return _utf8(content) if isinstance(content, bytes) else content


def _changed_row(value: Mapping[str, Any]) -> Any:
    """The row of a Debezium change."""
    if value["op"] in ("c", "r", "u"):
        if not isinstance(value["after"], dict):
            raise Quarantined(f"after: the change of kind {value['op']} has no row.")
        return value["after"]
    if value["op"] == "d":
        raise Ignored("it is a removed row")
    if value["op"] in ("t", "m"):
        raise Ignored("it is a change of no row")
    raise Quarantined(f"op: {str(value['op'])[:20]!r} is not a kind of change.")


def _without_marks(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: each for name, each in value.items() if not name.startswith("__")}


def _of_amazon(value: Mapping[str, Any]) -> Iterable[_Inner] | None:
    if "TopicArn" in value and "MessageId" in value and "Type" in value:
        return [_notification(value)]
    if "detail-type" in value and "detail" in value:
        return None  # an EventBridge event is read whole: the dialects need its id and source
    if "requestId" in value and isinstance(value.get("records"), list):
        return _each(value["records"], _firehose_record)
    if isinstance(value.get("Records"), list):
        return _each(value["Records"], _lambda_record)
    body = value.get("body", value.get("Body"))
    if isinstance(body, str) and ("messageId" in value or "MessageId" in value):
        return [_Inner(json_value(body, "body"), _NO_OFFER)]
    return None


def _each(elements: Iterable[Any], opened: Callable[[Any], Iterable[_Inner]]) -> Iterator[_Inner]:
    """The content of a batch's elements; of one that cannot be opened, the reason."""
    for element in elements:
        try:
            yield from opened(element)
        except (Ignored, Quarantined) as outcome:
            yield _Inner(outcome, _NO_OFFER)


def _notification(value: Mapping[str, Any]) -> _Inner:
    """The message of an Amazon SNS notification."""
    if value["Type"] != "Notification":
        raise Ignored(f"it is a message of SNS of the type {str(value['Type'])[:40]}")
    message = value.get("Message")
    if not isinstance(message, str):
        raise Quarantined("Message: the notification has no text.")
    return _Inner(json_value(message, "Message"), _Offer(text(value["MessageId"])))


def _firehose_record(value: Any) -> Iterable[_Inner]:
    documents = json_values(_base64(_member(value, "data"), "records.data"))
    return [_Inner(document, _NO_OFFER) for document in documents]


def _lambda_record(value: Any) -> Iterable[_Inner]:
    """A record of Kinesis, SNS or SQS in the form in which Lambda passes it."""
    kinesis = _member(value, "kinesis")
    if isinstance(kinesis, dict):
        content = _base64(kinesis.get("data"), "Records.kinesis.data")
        offer = _Offer(text(kinesis.get("sequenceNumber")))
        return [_Inner(json_value(content, "Records.kinesis.data"), offer)]
    notification = _member(value, "Sns")
    if isinstance(notification, dict) and "Type" in notification and "MessageId" in notification:
        return [_notification(notification)]
    body = _member(value, "body")
    if isinstance(body, str):
        return [_Inner(json_value(body, "Records.body"), _NO_OFFER)]
    return [_Inner(value, _NO_OFFER)]


def _of_shipper(value: Mapping[str, Any], source: Source, offer: _Offer) -> list[_Inner] | None:
    """The record that a log shipper puts into a text field, which the setting `field` names. It is JSON, or a
    text that the dialect reads."""
    name = source.settings.get("field")
    inner = value.get(name) if isinstance(name, str) else None
    if inner is None:
        return None
    is_json = isinstance(inner, str) and inner.lstrip()[:1] in ("{", "[")
    return [_Inner(json_value(inner, str(name)) if is_json else inner, offer)]


def _member(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _base64(value: Any, what: str) -> bytes:
    try:
        return b64decode(value, validate=True)
    except (NotBase64, ValueError, TypeError):
        raise Quarantined(f"{what}: is not base64.") from None
