"""Envelopes: finds the records in a delivery.

Systems, brokers and connectors wrap records: in batches, in CloudEvents, in Debezium's changes, in Amazon's
notifications. `records` unwraps until nothing is recognized, at most DEPTH_MAX deep. The dialect of the
source reads what is left. A batch's element that cannot be read is quarantined alone.
"""

import zlib
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, unquote

import msgspec

from shared.calls.event import number
from shared.sources.delivery import Delivery
from shared.sources.dialect import Decode
from shared.sources.instants import iso
from shared.sources.outcome import Ignored, Quarantined
from shared.sources.record import Record, text
from shared.sources.source import Source

DEPTH_MAX: Final = 4
BODY_BYTES_MAX: Final = 8 * 1024 * 1024
"""The most bytes of a body, also after decompression."""
RECORDS_MAX: Final = 10_000
FIELDS_MAX: Final = 1_000
"""The most fields of a form or a query."""
FORM: Final = "application/x-www-form-urlencoded"
_decode = msgspec.json.Decoder(float_hook=number).decode


class Element(NamedTuple):
    """A record and its place in the delivery, from 0; or the reason why there is none."""

    place: int
    record: Record | Ignored | Quarantined


class _Offer(NamedTuple):
    """The id and the time that the envelopes around a value offer."""

    id: str | None = None
    at: datetime | None = None


_NO_OFFER: Final = _Offer()


def records(delivery: Delivery, source: Source, decode: Decode | None = None) -> Iterator[Element]:
    """The records of a delivery, in order. `decode` replaces the usual reading of the body."""
    try:
        delivery = _inflated(delivery)
        offer = _binary_cloud_event(delivery)
        values = list(_values(delivery, source, decode))
    except (Ignored, Quarantined) as outcome:
        yield Element(0, outcome)
        return
    whole = len(values) == 1 and not isinstance(values[0], list)
    place = 0
    for value in values:
        for element in _unwrapped(value, source, offer, 0):
            if place >= RECORDS_MAX:
                yield Element(place, Quarantined(f"The delivery has more than {RECORDS_MAX:,} records."))
                return
            yield Element(place, _record(element, value if whole else None, delivery, source))
            place += 1


def _record(
    element: "_Inner | Ignored | Quarantined", value_of_body: Any, delivery: Delivery, source: Source
) -> Record | Ignored | Quarantined:
    if not isinstance(element, _Inner):
        return element
    content = delivery.body if element.value is value_of_body else None
    return Record(
        element.value,
        source,
        delivery.received_at,
        delivery.headers,
        delivery.url,
        delivery.key,
        element.offer.id,
        element.offer.at,
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
    return Delivery(body, delivery.received_at, delivery.headers, delivery.method, delivery.url, delivery.key)


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
    return inflated


def _values(delivery: Delivery, source: Source, decode: Decode | None) -> Iterable[Any]:
    if delivery.body is None and not delivery.is_request:
        raise Ignored("it has no value")
    if decode is not None:
        return decode(delivery, source)
    return usual_values(delivery)


def usual_values(delivery: Delivery) -> Iterable[Any]:
    """The values of a body: a form's or a query's fields, or JSON documents. Raises Quarantined."""
    if delivery.is_request and not delivery.body:
        return [form_fields(delivery.query)]
    body = delivery.body or b""
    if delivery.content_type == FORM:
        return [form_fields(_utf8(body))]
    return json_values(body)


def form_fields(encoded: str) -> dict[str, str]:
    """The fields of a form or a query. Of a field that is given twice, the first counts."""
    try:
        pairs = parse_qsl(encoded, keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="replace")
    except ValueError:
        raise Quarantined(f"The form has more than {FIELDS_MAX:,} fields.") from None
    fields: dict[str, str] = {}
    for name, value in pairs:
        fields.setdefault(name, value)
    return fields


def json_values(body: bytes) -> list[Any]:
    """The JSON documents in a body: one, one per line, or one after the other. Raises Quarantined."""
    try:
        return [_decode(body)]
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        fault = error
    content = _utf8(body.removeprefix(b"\xef\xbb\xbf"))
    values: list[Any] = []
    try:
        for document in _documents(content):
            values.append(_decode(document))
            if len(values) > RECORDS_MAX:
                break
    except (msgspec.DecodeError, RecursionError):
        raise Quarantined(f"The body is not JSON: {_fault(fault)}.") from None
    if not values:
        raise Quarantined("The body is empty.")
    return values


def json_value(content: str | bytes, what: str) -> Any:
    """One JSON document. Raises Quarantined and names `what` in it."""
    try:
        return _decode(content)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, UnicodeEncodeError) as error:
        raise Quarantined(f"{what} is not JSON: {_fault(error)}.") from None


def _documents(content: str) -> Iterator[str]:
    """Splits concatenated JSON objects and arrays, and lines, into documents."""
    depth, begin, quoted, escaped = 0, -1, False, False
    for position, character in enumerate(content):
        if quoted:
            quoted = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            quoted = True
            begin = position if begin < 0 else begin
        elif character in "{[":
            begin = position if begin < 0 else begin
            depth += 1
        elif character in "}]":
            depth -= 1
            if depth == 0:
                yield content[begin : position + 1]
                begin = -1
        elif begin < 0 and not character.isspace():
            begin = position
        elif character == "\n" and depth == 0 and begin >= 0:
            yield content[begin:position]
            begin = -1
    if begin >= 0:
        yield content[begin:]


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
    if "specversion" in value and "id" in value and "source" in value and "type" in value:
        return [_cloud_event(value)]
    if len(value) == 2 and "schema" in value and "payload" in value:
        if value["payload"] is None:
            raise Ignored("it has no payload")
        return [_Inner(value["payload"], offer)]
    if "op" in value and "source" in value and "after" in value:
        return [_Inner(_changed_row(value), offer)]
    if "__deleted" in value:
        if text(value["__deleted"]) in ("true", "True") or value["__deleted"] is True:
            raise Ignored("it is a removed row")
        return [_Inner(_without_marks(value), offer)]
    return _of_amazon(value, offer) or _of_shipper(value, source, offer)


def _cloud_event(value: Mapping[str, Any]) -> _Inner:
    offer = _cloud_offer(value["source"], value["id"], value.get("time"))
    if "data_base64" in value:
        decoded = _base64(value["data_base64"], "data_base64")
        media_type = str(value.get("datacontenttype", "application/json"))
        return _Inner(_if_json(decoded, media_type, "data_base64"), offer)
    data = value.get("data")
    if data is None:
        raise Ignored("the CloudEvent has no data")
    if isinstance(data, str):
        data = _if_json(data, str(value.get("datacontenttype", "application/json")), "data")
    return _Inner(data, offer)


def _cloud_offer(source: Any, id_: Any, time: Any) -> _Offer:
    digest = sha256(f"{source}\n{id_}".encode(errors="surrogatepass")).hexdigest()
    try:
        at = iso(time, "time")
    except Quarantined:
        at = None
    return _Offer(f"ce_{digest[:32]}", at)


def _binary_cloud_event(delivery: Delivery) -> _Offer:
    """The id and the time in the headers of a CloudEvent in binary mode."""
    prefix = "ce-" if delivery.is_request else "ce_"
    if f"{prefix}specversion" not in delivery.headers or f"{prefix}id" not in delivery.headers:
        return _NO_OFFER
    if not delivery.body:
        raise Ignored("the CloudEvent has no data")
    source, id_, time = (
        unquote(delivery.headers.get(prefix + name, "")) for name in ("source", "id", "time")
    )
    return _cloud_offer(source, id_, time)


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


def _of_amazon(value: Mapping[str, Any], offer: _Offer) -> list[_Inner] | None:
    if "TopicArn" in value and "MessageId" in value and "Type" in value:
        return [_notification(value)]
    if "detail-type" in value and "detail" in value:
        return None  # an EventBridge event is read whole: the dialects need its id and source
    if "requestId" in value and isinstance(value.get("records"), list):
        return [
            _Inner(document, _NO_OFFER)
            for each in value["records"]
            for document in json_values(_base64(_member(each, "data"), "records.data"))
        ]
    if isinstance(value.get("Records"), list) and value["Records"]:
        return [_lambda_record(each) for each in value["Records"]]
    body = value.get("body", value.get("Body"))
    if isinstance(body, str) and ("messageId" in value or "MessageId" in value):
        return [_Inner(json_value(body, "body"), _NO_OFFER)]
    return None


def _notification(value: Mapping[str, Any]) -> _Inner:
    """The message of an Amazon SNS notification."""
    if value["Type"] != "Notification":
        raise Ignored(f"it is a message of SNS of the type {str(value['Type'])[:40]}")
    message = value.get("Message")
    if not isinstance(message, str):
        raise Quarantined("Message: the notification has no text.")
    return _Inner(json_value(message, "Message"), _Offer(text(value["MessageId"])))


def _lambda_record(value: Any) -> _Inner:
    """A record of Kinesis, SQS or SNS in the form in which Lambda passes it."""
    kinesis = _member(value, "kinesis")
    if isinstance(kinesis, dict):
        content = _base64(kinesis.get("data"), "Records.kinesis.data")
        return _Inner(
            json_value(content, "Records.kinesis.data"), _Offer(text(kinesis.get("sequenceNumber")))
        )
    notification = _member(value, "Sns")
    if isinstance(notification, dict):
        return _Inner(json_value(str(notification.get("Message")), "Records.Sns.Message"), _NO_OFFER)
    body = _member(value, "body")
    if isinstance(body, str):
        return _Inner(json_value(body, "Records.body"), _NO_OFFER)
    return _Inner(value, _NO_OFFER)


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
