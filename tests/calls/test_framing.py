"""A record's value that is not an event: its format is named with the rule and the remedy, and never
guessed."""

import base64
import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.calls.event import VALUE_BYTES_MAX, InvalidEvent, read
from shared.calls.framing import framing
from tests.support.events import NOON, value

EVENT = value("call.initiated")
FRAMES: dict[str, tuple[bytes, str]] = {
    "a schema registry's frame before JSON": (
        b"\0\0\0\0\x07" + EVENT,
        "the value begins with the 5 bytes of a schema registry's frame (schema id 7), before JSON; ",
    ),
    "a schema registry's frame before Avro": (
        b"\0\0\0\x01\x02\x02\x06abc",
        "(schema id 258), before data that is not JSON (perhaps Avro or Protobuf); publish without",
    ),
    "a schema registry's long frame": (
        b"\0" * 8 + b"\x07" + EVENT,
        "the 9 bytes of a schema registry's frame",
    ),
    "an AWS Glue frame": (b"\x03\0" + b"i" * 16 + EVENT, "18 bytes of an AWS Glue Schema Registry frame"),
    "JSON in a JSON text": (json.dumps(EVENT.decode()).encode(), "JSON within a JSON text, encoded twice"),
    "Kafka Connect's envelope": (
        json.dumps({"schema": {"type": "struct"}, "payload": json.loads(EVENT)}).encode(),
        "a Kafka Connect envelope of schema and payload; an event is a JSON object of its own: "
        "set value.converter.schemas.enable=false in the connector",
    ),
    "Debezium's": (b'{"before": null, "after": {}, "op": "c"}', "a Debezium change event"),
    "CloudEvents": (
        b'{"specversion": "1.0", "source": "/", "type": "t", "id": "1"}',
        "a CloudEvents envelope",
    ),
    "an array": (b"[" + EVENT + b"]", "a JSON array; an event is a JSON object: publish each"),
    "several documents": (EVENT + b"\n" + EVENT, "the value has several JSON documents"),
    "gzip": (gzip.compress(EVENT), "the value is gzip-compressed"),
    "zstd": (b"\x28\xb5\x2f\xfd" + EVENT, "the value is zstd-compressed"),
    "UTF-16": (EVENT.decode().encode("utf-16"), "the value is UTF-16; an event is UTF-8"),
    "UTF-16 without a mark": (EVENT.decode().encode("utf-16-le"), "the value is UTF-16LE"),
    "UTF-32": (EVENT.decode().encode("utf-32-be"), "the value is UTF-32BE"),
    "an Avro container": (b"Obj\x01\x04", "an Avro object container"),
    "Java": (b"\xac\xed\0\x05sr", "a serialized Java object"),
    "XML": (b"<event/>", "the value is XML"),
    "MessagePack": (b"\x81\xa2id\xa1x", "looks like MessagePack"),
    "CBOR": (b"\xa1\x62id\x61x", "looks like CBOR"),
    "Protobuf": (b"\x0a\x03abc\x12\x02\xff\xfe", "looks like Protobuf"),
    "base64": (base64.b64encode(EVENT), "looks like JSON in base64"),
    "nothing": (b"", "the value is empty; an event is a JSON object"),
    "blanks": (b" \n", "the value is blank; an event is a JSON object"),
    "a byte-order mark before an array": (b"\xef\xbb\xbf[" + EVENT + b"]", "the value is a JSON array"),
}


@pytest.mark.parametrize("frame", FRAMES)
def test_what_a_value_is_is_named(frame: str) -> None:
    written, sentence = FRAMES[frame]
    with pytest.raises(InvalidEvent) as refused:
        read(written, NOON)
    assert sentence in str(refused.value)


def test_a_schema_id_is_for_the_quarantine_and_not_for_the_log() -> None:
    with pytest.raises(InvalidEvent) as refused:
        read(b"\0\0\0\0\x07" + EVENT, NOON)
    assert refused.value.rule == str(refused.value).replace(" (schema id 7)", "")


def test_a_byte_order_mark_is_no_part_of_the_value() -> None:
    event = read(b"\xef\xbb\xbf" + EVENT, NOON)
    assert event == read(EVENT, NOON)
    assert event.payload == EVENT.decode()
    with pytest.raises(InvalidEvent, match="the value is not JSON"):
        read(b"\xef\xbb\xbf" * 300_000, NOON)


RULES = {
    b'{"id": 7}': "id: expected str, got int",
    b"no event": "the value is not JSON: invalid character",
    b'{"id": "\xff"}': "the value is not UTF-8 at byte 8",
    b'{"id": "\0"}': "the value contains a null byte",
    b"\n[\xff]": "the value is not UTF-8 at byte 2",
    b"7": "the value: expected object, got int",
    b'"text"': "the value: expected object, got str",
    EVENT.replace(b'"type"', b'"schema": 1, "payload": 2, "kind"'): "type: is missing",
    b"x" * (VALUE_BYTES_MAX + 1): "the value has 1,048,577 bytes; the limit is 1,048,576",
}


@pytest.mark.parametrize(("written", "sentence"), RULES.items())
def test_what_is_nearly_an_event_keeps_the_rule_that_it_breaks(written: bytes, sentence: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        read(written, NOON)
    assert str(refused.value).startswith(sentence)


@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_any_bytes_are_an_event_or_refused_with_a_sentence(written: Any) -> None:
    found = framing(written)
    assert found is None or found.sentence.startswith("the value ")
    with pytest.raises(InvalidEvent, match=r".+"):
        read(written, NOON)
