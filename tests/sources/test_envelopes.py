"""Envelopes: the records in a delivery, with the ids and times that the envelopes offer."""

import gzip
import json
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import pytest

from shared.sources.delivery import Delivery
from shared.sources.envelopes import records
from shared.sources.outcome import Ignored, Quarantined
from shared.sources.record import Record
from shared.sources.source import Source

SOURCE: Final = Source(UUID(int=1), "proxy", "kamailio", settings={"field": "message"})
AT: Final = datetime(2026, 11, 24, 11, tzinfo=UTC)
CLOUD_EVENT: Final = {"specversion": "1.0", "id": "a-1", "source": "//proxy", "type": "report"}


def _read(
    body: Any, headers: Mapping[str, str] | None = None, method: str = "", url: str = ""
) -> list[Record | Ignored | Quarantined]:
    """The records of a delivery, in the order of their places. `body` is bytes, or a value for JSON."""
    content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    elements = list(records(Delivery(content, AT, headers or {}, method, url), SOURCE))
    assert [element.place for element in elements] == list(range(len(elements)))
    return [element.record for element in elements]


def _values(*arguments: Any) -> list[Any]:
    """The records' values; the outcome's type in place of a record that cannot be read."""
    return [one.value if isinstance(one, Record) else type(one) for one in _read(*arguments)]


def _record(*arguments: Any) -> Record:
    (record,) = _read(*arguments)
    assert isinstance(record, Record)
    return record


def _base64(value: Any) -> str:
    return b64encode(value if isinstance(value, bytes) else json.dumps(value).encode()).decode()


@pytest.mark.parametrize(
    ("body", "values"),
    [
        ([1, 2], [1, 2]),
        ([], [Ignored]),
        (b'{"a":1}\r\n\n{"b":2}\n', [{"a": 1}, {"b": 2}]),
        (b'{"a":1}{"b":2} [3]', [{"a": 1}, {"b": 2}, 3]),
        (b'{\n"a": 1}\n{\n"b": 2}', [{"a": 1}, {"b": 2}]),
        (b'{"a":1}\n{"b":\n{"c":3}', [{"a": 1}, Quarantined, {"c": 3}]),
        (b'{"a":1}]{"b":2}', [Quarantined]),
        (b'\xef\xbb\xbf{"a":1}', [{"a": 1}]),
        (b'\0\0\0\0\7{"a":1}', [{"a": 1}]),
        (b"\0\0\0\0\7\2a", [Quarantined]),
        (b"\xff", [Quarantined]),
        (b"", [Quarantined]),
        (None, [Ignored]),
        ({"schema": None, "payload": {"a": 1}}, [{"a": 1}]),
        ({"schema": None, "payload": None}, [Ignored]),
        ({"op": "u", "before": {"a": 1}, "after": {"a": 2}, "source": {}}, [{"a": 2}]),
        ({"op": "d", "before": {"a": 1}, "after": None, "source": {}}, [Ignored]),
        ({"op": "t", "source": {}, "ts_ms": 1}, [Ignored]),
        ({"op": "m", "source": {}, "message": {}}, [Ignored]),
        ({"op": "c", "after": None, "source": {}}, [Quarantined]),
        ({"a": 1, "__deleted": "false", "__op": "c"}, [{"a": 1}]),
        ({"a": 1, "__ts_ms": 1795514470000}, [{"a": 1}]),
        ({"a": 1, "__deleted": "true"}, [Ignored]),
        ({"Type": "Notification", "MessageId": "m", "TopicArn": "t", "Message": '{"a":1}'}, [{"a": 1}]),
        ({"Type": "Notification", "MessageId": "m", "TopicArn": "t", "Message": "a"}, [Quarantined]),
        ({"Type": "SubscriptionConfirmation", "MessageId": "m", "TopicArn": "t"}, [Ignored]),
        ({"messageId": "m", "body": '{"a":1}'}, [{"a": 1}]),
        ({"MessageId": "m", "Body": '{"a":1}'}, [{"a": 1}]),
        ({"message": '{"a":1}', "@timestamp": "2026-11-24T10:00:00Z"}, [{"a": 1}]),
        ({"message": "Call 00000017,00:00:10", "log": "x"}, ["Call 00000017,00:00:10"]),
    ],
)
def test_a_body_has_these_records(body: Any, values: list[Any]) -> None:
    assert _values(body) == values


def test_an_element_of_a_firehose_batch_is_quarantined_alone() -> None:
    data = [_base64(b'{"a":1}{"b":2}'), "not base64", _base64({"c": 3})]
    batch = {"requestId": "r", "timestamp": 1, "records": [{"data": each} for each in data]}
    assert _values(batch) == [{"a": 1}, {"b": 2}, Quarantined, {"c": 3}]


def test_an_element_of_a_lambda_batch_is_quarantined_alone() -> None:
    notification = {"Type": "Notification", "MessageId": "m-1", "TopicArn": "t", "Message": '{"d":4}'}
    batch = [
        {"kinesis": {"data": _base64({"a": 1}), "sequenceNumber": "s-1"}},
        {"kinesis": {"data": "?"}},
        {"messageId": "q", "body": '{"c":3}'},
        {"Sns": notification},
    ]
    assert _values({"Records": batch}) == [{"a": 1}, Quarantined, {"c": 3}, {"d": 4}]
    ids = [one.offered_id for one in _read({"Records": batch}) if isinstance(one, Record)]
    assert ids == ["s-1", None, "m-1"]


@pytest.mark.parametrize(
    ("event", "values"),
    [
        ({"data": {"a": 1}}, [{"a": 1}]),
        ({"data": '{"a":1}', "datacontenttype": "Application/JSON"}, [{"a": 1}]),
        ({"data": '{"a":1}', "datacontenttype": None}, [{"a": 1}]),
        ({"data": "a", "datacontenttype": "text/plain"}, ["a"]),
        ({"data_base64": _base64({"a": 1})}, [{"a": 1}]),
        ({"data_base64": None, "data": {"a": 1}}, [{"a": 1}]),
        ({"data_base64": "?"}, [Quarantined]),
        ({}, [Ignored]),
        ({"id": None, "data": {"a": 1}}, [Quarantined]),
    ],
)
def test_a_cloud_event_has_this_record(event: dict[str, Any], values: list[Any]) -> None:
    assert _values(CLOUD_EVENT | event) == values


def test_a_media_type_of_cloud_events_needs_their_attributes() -> None:
    headers = {"content-type": "application/cloudevents-batch+json; charset=UTF-8"}
    assert _values([CLOUD_EVENT | {"data": 1}, {"data": 2}], headers) == [1, Quarantined]
    assert _values({"data": 2}, {"content-type": "Application/CloudEvents+JSON"}) == [Quarantined]


def test_a_cloud_event_offers_its_id_and_time_to_one_record() -> None:
    record = _record(CLOUD_EVENT | {"time": "2026-11-24T10:00:00.4Z", "data": {"a": 1}})
    assert record.offered_id is not None
    assert record.offered_id.startswith("ce_")
    assert record.offered_at == datetime(2026, 11, 24, 10, 0, 0, 400_000, UTC)
    batch = _read(CLOUD_EVENT | {"data": [{"a": 1}, {"a": 2}]})
    assert [one.offered_id for one in batch if isinstance(one, Record)] == [None, None]


def test_a_cloud_event_in_binary_mode_offers_its_id_to_one_record() -> None:
    headers = {f"ce_{name}": value for name, value in CLOUD_EVENT.items()}
    assert _record({"a": 1}, headers).offered_id == _record(CLOUD_EVENT | {"data": {"a": 1}}).offered_id
    lines = _read(b'{"a":1}\n{"a":2}', headers)
    assert [one.offered_id for one in lines if isinstance(one, Record)] == [None, None]
    assert _values(None, headers) == [Ignored]


def test_percent_signs_are_encoded_in_http_headers_alone() -> None:
    attributes = CLOUD_EVENT | {"source": "//proxy/50%25"}
    by_kafka = _record({"a": 1}, {f"ce_{name}": value for name, value in attributes.items()})
    by_http = _record({"a": 1}, {f"ce-{name}": value for name, value in attributes.items()}, "POST")
    assert by_kafka.offered_id == _record(attributes | {"data": {"a": 1}}).offered_id
    assert by_http.offered_id == _record(CLOUD_EVENT | {"source": "//proxy/50%", "data": {"a": 1}}).offered_id


def test_a_changed_row_takes_no_id_from_its_commit() -> None:
    row = {"callid": "x", "sip_code": "200"}
    change = {"op": "c", "source": {"lsn": 1}, "after": row, "ts_ms": 1}
    again = {"op": "r", "source": {"lsn": 2}, "after": row, "ts_ms": 2}
    ids = {
        _record(each).derived_id()
        for each in (change, again, CLOUD_EVENT | {"data": again}, row | {"__op": "r", "__ts_ms": 3})
    }
    assert len(ids) == 1


def test_requests_by_get_have_ids_of_their_own() -> None:
    ids = [_record(b"", {}, "GET", f"/kamailio?callid={call}").derived_id() for call in ("a", "b", "a")]
    assert ids[0] == ids[2] != ids[1]


def test_json_that_a_client_declares_a_form_is_read_as_json() -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert _values(b'{"a":"b=c&d"}', headers, "POST") == [{"a": "b=c&d"}]
    assert _values(b"a=b&c=%7B", headers, "POST") == [{"a": "b", "c": "{"}]


def test_a_compressed_body_is_read_whole_or_not_at_all() -> None:
    body, headers = gzip.compress(b'{"a":1}'), {"content-encoding": "gzip"}
    assert _values(body, headers) == [{"a": 1}]
    for broken in (body[:-9], body + body, b'{"a":1}', gzip.compress(b"1" * (8 * 1024 * 1024 + 1))):
        assert _values(broken, headers) == [Quarantined]


def test_four_envelopes_are_opened_and_a_fifth_is_quarantined() -> None:
    assert _values([[[["a"]]]]) == ["a"]
    assert _values([[[[["a"]]]]]) == [Quarantined]
