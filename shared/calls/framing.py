"""Recognizes a record's value that is not an event's JSON: a frame, another encoding, an envelope. Pure.

Only values that are not events are examined here.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
"""The byte-order mark of UTF-8."""
GZIP: Final = "gzip"
_COMPRESSIONS: Final = {
    b"\x1f\x8b": GZIP,
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x04\x22\x4d\x18": "LZ4",
    b"\xff\x06\0\0sNaPpY": "Snappy",
    b"PK\x03\x04": "zip",
}
_ENCODINGS: Final = {
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"{\0\0\0": "UTF-32LE",
    b"[\0\0\0": "UTF-32LE",
    b"\0\0\0{": "UTF-32BE",
    b"\0\0\0[": "UTF-32BE",
    b"{\0": "UTF-16LE",
    b"[\0": "UTF-16LE",
    b"\0{\0": "UTF-16BE",
    b"\0[\0": "UTF-16BE",
}
_FORMATS: Final = {
    b"Obj\x01": "an Avro object container",
    b"PAR1": "a Parquet file",
    b"\xac\xed\0\x05": "a serialized Java object",
    b"<": "XML",
}
_ENVELOPES: Final = {
    "a Kafka Connect envelope of schema and payload": (
        {"schema", "payload"},
        "set value.converter.schemas.enable=false in the connector",
    ),
    "a Debezium change event": ({"before", "after", "op"}, "publish the event alone"),
    "a CloudEvents envelope": ({"specversion", "source", "type"}, "publish its data alone"),
}
_REGISTRY_FRAME_BYTES: Final = 5
_LONG_REGISTRY_FRAME_BYTES: Final = 9
_GLUE_FRAME_BYTES: Final = 18
_JSON_ONLY: Final = "publish the JSON alone, as UTF-8"


@dataclass(frozen=True)
class Framing:
    """The format of a value, in a sentence for its publisher: the format, the rule and the remedy. `rule` is
    the same without any content of the record."""

    sentence: str
    rule: str


def framing(value: bytes) -> Framing | None:
    """The format of a value that is not an event; None for a JSON object or an unknown format."""
    if not value.strip():
        what = "empty" if not value else "blank"
        return _one(f"the value is {what}; an event is a JSON object")
    if (encoded := encoding(value)) is not None:
        return _one(f"the value is {encoded}; an event is UTF-8: publish it as UTF-8")
    if (packed := compression(value)) is not None:
        return _one(
            f"the value is {packed}-compressed; an event is JSON: publish it uncompressed, and let the "
            "producer compress batches (compression.type)"
        )
    for magic, name in _FORMATS.items():
        if value.startswith(magic):
            return _one(f"the value is {name}; an event is JSON: {_JSON_ONLY}")
    return _registry_frame(value) or _binary(value) or _json(value)


def compression(head: bytes) -> str | None:
    """The name of the compression format that begins with these bytes."""
    return next((name for magic, name in _COMPRESSIONS.items() if head.startswith(magic)), None)


def encoding(head: bytes) -> str | None:
    """The name of the text encoding, other than UTF-8, of JSON that begins with these bytes."""
    return next((name for magic, name in _ENCODINGS.items() if head.startswith(magic)), None)


def _one(sentence: str, rule: str | None = None) -> Framing:
    return Framing(sentence, rule or sentence)


def _registry_frame(value: bytes) -> Framing | None:
    what = "publish without a schema registry's serializer: the JSON alone"
    if value[:2] in (b"\x03\0", b"\x03\x05") and len(value) > _GLUE_FRAME_BYTES:
        return _one(f"the value begins with the 18 bytes of an AWS Glue Schema Registry frame; {what}")
    if value[0] != 0 or len(value) <= _REGISTRY_FRAME_BYTES:
        return None
    frame = _REGISTRY_FRAME_BYTES
    if not _begins_object(value[frame:]) and _begins_object(value[_LONG_REGISTRY_FRAME_BYTES:]):
        frame = _LONG_REGISTRY_FRAME_BYTES
    behind = "JSON" if _begins_object(value[frame:]) else "data that is not JSON (perhaps Avro or Protobuf)"
    sentence = (
        f"the value begins with the {frame} bytes of a schema registry's frame{{}}, before {behind}; {what}"
    )
    schema = f" (schema id {int.from_bytes(value[1:frame], 'big')})"
    return _one(sentence.format(schema), sentence.format(""))


def _begins_object(text: bytes) -> bool:
    return text.lstrip().startswith(b"{")


def _binary(value: bytes) -> Framing | None:
    """Formats without a magic number, recognized by the first bytes of a map with short names."""
    first, second = value[0], value[1] if len(value) > 1 else 0
    if 0x81 <= first <= 0x8F and 0xA1 <= second <= 0xBF:
        return _one(f"the value looks like MessagePack; an event is JSON: {_JSON_ONLY}")
    if (0xA1 <= first <= 0xB7 or first == 0xBF) and 0x61 <= second <= 0x77:
        return _one(f"the value looks like CBOR; an event is JSON: {_JSON_ONLY}")
    if value.lstrip(b'"').startswith(b"eyJ"):  # {" in base64
        return _one(f"the value looks like JSON in base64; an event is JSON: {_JSON_ONLY}")
    if first == 0x0A and value.lstrip()[:1] not in b'{["' and not _is_text(value):
        return _one(f"the value looks like Protobuf; an event is JSON: {_JSON_ONLY}")
    return None


def _is_text(value: bytes) -> bool:
    try:
        return value.decode().replace("\n", " ").replace("\r", " ").replace("\t", " ").isprintable()
    except UnicodeDecodeError:
        return False


def _json(value: bytes) -> Framing | None:
    found = _parsed(value)
    if isinstance(found, str) and isinstance(_parsed(found), dict):
        return _one(
            "the value is JSON within a JSON text, encoded twice; an event is a JSON object: publish the "
            "object itself"
        )
    if isinstance(found, list):
        return _one(
            "the value is a JSON array; an event is a JSON object: publish each in a record of its own"
        )
    if isinstance(found, dict) and "organization_id" not in found:
        for name, (fields, remedy) in _ENVELOPES.items():
            if fields <= found.keys():
                return _one(f"the value is {name}; an event is a JSON object of its own: {remedy}")
    if found is None and _is_several(value):
        return _one("the value has several JSON documents: publish each event in a record of its own")
    return None


def _is_several(value: bytes) -> bool:
    try:
        text = value.decode().lstrip()
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return False
    return text[end:].lstrip().startswith("{")


def _parsed(text: bytes | str) -> Any:
    """The content of a JSON document; None if the text is not valid JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
