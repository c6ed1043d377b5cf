"""Events: valid records, fields that are left out, and records that are refused."""

import contextlib
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.calls.event import InvalidEvent, call_uuid, read, read_stored
from tests.support.events import CALL, NOON, ORGANIZATION, events_of_a_call, value


def test_an_event_is_read_as_it_was_written() -> None:
    written = value(
        "call.completed",
        id="evt_7",
        duration=61,
        cost=Decimal("12.3456"),
        direction="inbound",
        phone_number_id=UUID(int=7),
        answered_at=NOON - timedelta(seconds=61),
        vendor={"leg": [1, 2]},
    )
    event = read(written, NOON)
    assert (event.organization_id, event.call_id, event.id) == (ORGANIZATION, CALL, "evt_7")
    assert (event.type, event.timestamp, event.livemode) == ("call.completed", NOON, True)
    assert event.external_id is None
    assert event.data == {
        "duration": 61,
        "cost": Decimal("12.3456"),
        "direction": "inbound",
        "phone_number_id": UUID(int=7),
        "answered_at": NOON - timedelta(seconds=61),
    }
    assert json.loads(event.payload)["data"]["vendor"] == {"leg": [1, 2]}, "unknown fields are kept"


@given(events_of_a_call)
def test_what_is_stored_is_read_again(events: list[Any]) -> None:
    assert [read_stored(event.payload) for event in events] == events


@pytest.mark.parametrize(
    ("written", "id", "external_id"),
    [
        ("6f1c1f0e-93a5-4f4f-9a53-0d2f0a0a8a02", CALL, None),
        ("6F1C1F0E-93A5-4F4F-9A53-0D2F0A0A8A02", CALL, None),
        ("a84b4c76e66710@pc33.example", uuid5(ORGANIZATION, "a84b4c76e66710@pc33.example"), "same"),
        ("6f1c1f0e93a54f4f9a530d2f0a0a8a02", uuid5(ORGANIZATION, "6f1c1f0e93a54f4f9a530d2f0a0a8a02"), "same"),
        ("CA0123", uuid5(ORGANIZATION, "CA0123"), "same"),
    ],
)
def test_a_call_id_is_a_uuid_or_becomes_one(written: str, id: UUID, external_id: str | None) -> None:
    event = read(value("call.ringing", call_id=written), NOON)
    assert event.call_id == call_uuid(ORGANIZATION, written) == id
    assert event.external_id == (written if external_id else None)


def test_null_says_nothing_and_neither_does_an_absent_livemode() -> None:
    written = json.loads(value("call.updated", duration=None, from_number="+4930123"))
    del written["livemode"]
    event = read(json.dumps(written).encode(), NOON)
    assert event.data == {"from_number": "+4930123"}
    assert event.livemode is None
    assert event.notes == ()


@pytest.mark.parametrize("written", ["1.5", "1.5" + "0" * 17_000, "15e-1", "0.15E1"])
def test_a_cost_is_the_same_however_it_is_written(written: str) -> None:
    event = read(value("call.completed", cost="?").replace(b'"?"', written.encode()), NOON)
    assert str(event.data["cost"]) == "1.5000"
    assert read_stored(event.payload) == event


@pytest.mark.parametrize("written", ["0", "-0", "0E-20000", "0e999999999999999999"])
def test_nothing_is_nothing_however_it_is_written(written: str) -> None:
    event = read(value("call.completed", cost="?").replace(b'"?"', written.encode()), NOON)
    assert abs(event.data["cost"]).as_tuple() == Decimal("0.0000").as_tuple()


def _changed(**fields: Any) -> bytes:
    written = json.loads(value("call.completed", duration=1))
    for name, said in fields.items():
        if said is ...:
            del written[name]
        else:
            written[name] = said
    return json.dumps(written).encode()


def _said(**data: Any) -> bytes:
    return value("call.completed", **data)


BAD = [
    (None, "the record has no value"),
    (b"", "the value is empty; an event is a JSON object"),
    (b"{", "the value is not JSON: it ends too early"),
    (b"hello", "the value is not JSON: invalid character (byte 0)"),
    (b"7", "the value: expected object, got int"),
    (b"null", "the value: expected object, got null"),
    (b"\xff\xfd", "the value is not UTF-8 at byte 0"),
    (b'{"id":"' + b"x" * 1024 * 1024 + b'"}', "the value has 1,048,585 bytes; the limit is 1,048,576"),
    (_changed(id=...), "id: is missing"),
    (_changed(type=...), "type: is missing"),
    (_changed(organization_id=...), "organization_id: is missing"),
    (_changed(call_id=...), "call_id: is missing"),
    (_changed(timestamp=...), "timestamp: is missing"),
    (_changed(id=""), "id: expected str of length >= 1"),
    (_changed(id="x" * 129), "id: expected str of length <= 128"),
    (_changed(id=7), "id: expected str, got int"),
    (
        _changed(type="call.exploded"),
        "type: 'call.exploded' is not one of call.initiated, call.ringing, call.answered, call.completed, "
        "call.failed, call.updated, recording.ready, transcript.ready",
    ),
    (
        _changed(type="callfold.missing_hangup"),
        "type: 'callfold.missing_hangup' is not one of call.initiated, call.ringing, call.answered, "
        "call.completed, call.failed, call.updated, recording.ready, transcript.ready",
    ),
    (_changed(organization_id="acme"), "organization_id: invalid UUID"),
    (_changed(call_id=""), "call_id: expected str of length >= 1"),
    (_changed(call_id="x" * 257), "call_id: expected str of length <= 256"),
    (_changed(timestamp="2026-11-24T10:00:00"), "timestamp: expected an offset after the date and time"),
    (_changed(timestamp="yesterday"), "timestamp: expected a date and time with an offset (RFC 3339)"),
    (_changed(timestamp="2026-02-30T10:00:00Z"), "timestamp: expected a date and time that exists"),
    (
        _changed(timestamp="2026-11-24T10:00:61Z"),
        "timestamp: expected seconds from 0 to 59, or a leap second",
    ),
    (_changed(timestamp=1764000000), "timestamp: expected datetime, got int"),
    (_changed(timestamp=""), "timestamp: expected datetime, got null"),
    (_changed(timestamp="1969-12-31T23:59:59Z"), "timestamp: 1969-12-31T23:59:59+00:00 is before 1970"),
    (
        _changed(timestamp="0001-01-01T00:00:00+14:00"),
        "timestamp: 0001-01-01T00:00:00+14:00 is before 1970",
    ),
    (
        _changed(timestamp="2026-11-25T12:00:01Z"),
        "timestamp: 2026-11-25T12:00:01+00:00 is more than a day in the future",
    ),
    (
        value("call.completed", timestamp="9999-12-31T23:59:59Z", completed_at=NOON.isoformat()),
        "timestamp: 9999-12-31T23:59:59+00:00 is more than a day in the future",
    ),
    (_changed(id="a\0b"), "id: contains a null byte"),
    (_changed(call_id="a\0b"), "call_id: contains a null byte"),
    (_said(deep=json.loads("[" * 600 + "]" * 600)), "the value is nested deeper than 100 levels"),
    (b"[" * 100_000, "the value is nested deeper than 100 levels"),
    (b'{"x":1e400,"y":' + b"[" * 5000 + b"]" * 5000 + b"}", "the value is nested deeper than 100 levels"),
    (b'{"x":"\\u0000",}', "the value is not JSON: trailing comma in object (byte 14)"),
]


@pytest.mark.parametrize(("written", "rule"), BAD, ids=[rule[:60] for _, rule in BAD])
def test_a_record_that_is_no_event_is_told_the_rule(written: bytes | None, rule: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        read(written, NOON)
    assert str(refused.value) == rule


LEFT_OUT = [
    (_changed(livemode="yes"), "livemode: expected true or false; left out"),
    (_changed(data=[]), "data: expected an object; left out"),
    (_changed(data="duration=60"), "data: expected an object; left out"),
    (_said(duration=-1), "data.duration: expected a number from 0 to 2,147,483,647; left out"),
    (_said(duration=2**31), "data.duration: expected a number from 0 to 2,147,483,647; left out"),
    (_said(duration=True), "data.duration: expected a number, got true or false; left out"),
    (_said(duration="a minute"), "data.duration: expected a number; left out"),
    (_said(duration=[60]), "data.duration: expected a number, got an array; left out"),
    (
        _said(duration="?").replace(b'"?"', b"1e9999999999999999999"),
        "data.duration: expected a finite number; left out",
    ),
    (_said(latency_ms="NaN"), "data.latency_ms: expected a finite number; left out"),
    (_said(cost=-0.01), "data.cost: expected cents from 0 to 9999999999.9999; left out"),
    (_said(cost="NaN"), "data.cost: expected cents from 0 to 9999999999.9999; left out"),
    (_said(cost="1e999999"), "data.cost: expected cents from 0 to 9999999999.9999; left out"),
    (_said(cost={"amount": 1}), "data.cost: expected a number, got an object; left out"),
    (_said(direction="sideways"), "data.direction: is not one of inbound, outbound; left out"),
    (
        _said(status="done"),
        "data.status: is not one of initiated, ringing, in_progress, completed, failed, busy, no_answer, "
        "canceled; left out",
    ),
    (_said(phone_number_id="+4930"), "data.phone_number_id: expected a UUID; left out"),
    (_said(from_number="0" * 257), "data.from_number: expected at most 256 characters; left out"),
    (_said(from_number=4.9), "data.from_number: expected text, got a number; left out"),
    (_said(from_number="a\0b"), "data.from_number: contains a null byte; left out"),
    (_said(recording_url="h" * 8193), "data.recording_url: expected at most 8,192 characters; left out"),
    (_said(transcript=[{"turn": 1}]), "data.transcript: expected text, got an array; left out"),
    (
        _said(answered_at="2027-01-01T00:00:00Z"),
        "data.answered_at: is more than a day after the event; left out",
    ),
    (_said(completed_at="1969-12-31T23:59:59Z"), "data.completed_at: is before 1970; left out"),
    (
        _said(answered_at="2026-11-24T10:00:00"),
        "data.answered_at: expected an offset after the date and time; left out",
    ),
]


@pytest.mark.parametrize(("written", "note"), LEFT_OUT, ids=[note[:60] for _, note in LEFT_OUT])
def test_an_optional_field_without_a_clear_meaning_is_left_out_of_the_event(
    written: bytes, note: str
) -> None:
    event = read(written, NOON)
    assert [str(one) for one in event.notes] == [note]
    field = note.partition(":")[0].removeprefix("data.")
    assert field not in event.data
    assert event.type == "call.completed"
    assert event.payload == written.decode(), "nothing of what was sent is lost"
    assert read_stored(event.payload) == event


READ = [
    ({"duration": 60.0}, {"duration": 60}),
    ({"duration": "60"}, {"duration": 60}),
    ({"duration": 60.9}, {"duration": 60}),
    ({"latency_ms": 412.7}, {"latency_ms": 413}),
    ({"cost": 0.30000000000000004}, {"cost": Decimal("0.3000")}),
    ({"cost": 0.00005}, {"cost": Decimal("0.0000")}),
    ({"cost": "1.25"}, {"cost": Decimal("1.2500")}),
    ({"cost": ""}, {}),
    ({"duration": "", "latency_ms": " ", "answered_at": ""}, {}),
    ({"from_number": "", "hangup_cause": "", "recording_url": "", "transcript": ""}, {}),
    ({"from_number": 441632960011}, {"from_number": "441632960011"}),
    ({"direction": "Inbound", "status": "no-answer"}, {"direction": "inbound", "status": "no_answer"}),
    ({"status": "cancelled"}, {"status": "canceled"}),
    ({"phone_number_id": ""}, {}),
    ({"hangup_cause": 16}, {"hangup_cause": "16"}),
    ({"hangup_cause": "Normal Clearing"}, {"hangup_cause": "NORMAL_CLEARING"}),
    ({"hangup_cause": "SIP/2.0 486 Busy Here"}, {"hangup_cause": "SIP 486"}),
    ({"hangup_cause": "AGENT_DISCONNECT"}, {"hangup_cause": "AGENT_DISCONNECT"}),
    (
        {"recording_url": "https://r.example/" + "x" * 3000},
        {"recording_url": "https://r.example/" + "x" * 3000},
    ),
    ({"vendor": "a\0b", "a\0b": 1}, {}),
]


@pytest.mark.parametrize(("written", "meant"), READ, ids=[str(written)[:60] for written, _ in READ])
def test_a_field_in_another_spelling_is_read_for_what_it_means(
    written: dict[str, Any], meant: dict[str, Any]
) -> None:
    event = read(value("call.completed", **written), NOON)
    assert event.data == meant
    assert event.notes == ()
    assert read_stored(event.payload) == event


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2026-11-24T10:00:00.251+0000", datetime(2026, 11, 24, 10, 0, 0, 251_000, UTC)),
        ("2026-11-24T12:00:00+02", datetime(2026, 11, 24, 10, tzinfo=UTC)),
        ("2026-11-24 10:00:00Z", datetime(2026, 11, 24, 10, tzinfo=UTC)),
        ("2026-11-24t10:00:00z", datetime(2026, 11, 24, 10, tzinfo=UTC)),
        ("2026-11-24T10:00:00,5 UTC", datetime(2026, 11, 24, 10, 0, 0, 500_000, UTC)),
        ("2026-11-24T10:00:00.123456789Z", datetime(2026, 11, 24, 10, 0, 0, 123_457, UTC)),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("2016-12-31T23:59:60.7Z", datetime(2017, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_timestamp_may_be_written_as_other_programs_do(written: str, meant: datetime) -> None:
    event = read(value("call.ringing", timestamp=written), NOON)
    assert event.timestamp == meant
    assert read_stored(event.payload) == event


@pytest.mark.parametrize("written", [True, "true", "True", 1])
def test_a_mode_may_be_a_text(written: Any) -> None:
    assert read(_changed(livemode=written), NOON).livemode is True
    assert read(_changed(livemode=""), NOON).livemode is None


def test_of_a_field_that_is_written_twice_the_last_counts() -> None:
    """As nearly all JSON parsers do (RFC 8259, 4)."""
    written = value("call.completed", duration=60).replace(
        b'"duration": 60', b'"duration": 60, "duration": 61'
    )
    assert read(written, NOON).data == {"duration": 61}


CONTENT = "4930123"


@pytest.mark.parametrize(
    "written",
    [
        _changed(type=f"call.{CONTENT}"),
        _changed(timestamp=f"{CONTENT[:4]}-01-01T00:00:00Z"),
        _changed(organization_id=CONTENT),
        _changed(id={CONTENT: CONTENT}),
        CONTENT.encode() + b"x",
    ],
)
def test_the_rule_alone_has_nothing_of_the_record(written: bytes) -> None:
    with pytest.raises(InvalidEvent) as refused:
        read(written, NOON)
    assert refused.value.rule
    assert CONTENT[:4] not in refused.value.rule


@pytest.mark.parametrize(
    "written",
    [
        _said(direction=CONTENT),
        _said(status=CONTENT),
        _said(duration=f"-{CONTENT}"),
        _said(cost=Decimal(f"-{CONTENT}")),
        _said(answered_at=f"{CONTENT[:4]}-01-01T00:00:00Z"),
        _said(from_number=[CONTENT]),
        _said(transcript=f"{CONTENT}\0"),
    ],
)
def test_a_note_has_nothing_of_the_record(written: bytes) -> None:
    (note,) = read(written, NOON).notes
    assert CONTENT[:4] not in str(note)


@given(st.binary(max_size=300))
def test_no_bytes_are_read_with_any_other_error(written: bytes) -> None:
    with pytest.raises(InvalidEvent):
        read(written, NOON)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("\0"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["id", "type", "organization_id", "call_id", "timestamp", "livemode", "data"]), _json
    )
)
def test_no_json_is_read_with_any_other_error(fields: dict[str, Any]) -> None:
    written = _changed(**fields)
    with contextlib.suppress(InvalidEvent):
        assert read(written, NOON).payload == written.decode()


_numbers = st.one_of(
    st.from_regex(r"-?(0|[1-9][0-9]{0,4})(\.[0-9]{1,5})?([eE][+-]?[0-9]{1,25})?", fullmatch=True),
    st.sampled_from(["1" + "0" * 5000, "1e9999999999999999999", "-1e-9999999999999999999", "1E400"]),
)
_instants = st.sampled_from(
    ["9999-12-31T23:59:59Z", "9999-12-31T23:59:60-23:59", "0001-01-01T00:00:00+23:59", NOON.isoformat(), "x"]
)


@given(
    _numbers, _numbers, _instants, _instants, st.sampled_from(["duration", "cost", "from_number", "vendor"])
)
def test_no_number_and_no_instant_is_read_with_any_other_error(
    said: str, other: str, timestamp: str, completed_at: str, field: str
) -> None:
    data: dict[str, Any] = {"completed_at": completed_at, field: "?"}
    written = value("call.completed", timestamp=timestamp, **data)
    written = written.replace(b'"?"', said.encode())[:-1] + f', "vendor": {other}}}'.encode()
    with contextlib.suppress(InvalidEvent):
        event = read(written, NOON)
        assert read_stored(event.payload) == event


def test_what_is_a_day_ahead_is_still_taken() -> None:
    event = read(value("call.ringing", timestamp=NOON + timedelta(days=1)), NOON)
    assert event.timestamp == datetime(2026, 11, 25, 12, tzinfo=UTC)
