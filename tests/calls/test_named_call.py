"""The call that a record names, also in a record with other faults."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.calls.event import call_uuid, read
from shared.calls.named_call import SEVERAL_CALLS, NamedCall, named_call
from tests.support.events import CALL, NOON, ORGANIZATION, value

OTHER = UUID(int=7)
TEXT_ID = 'anrufe/"Grün"\\1'
PLACE = {"organization_id": str(ORGANIZATION), "call_id": str(CALL), "timestamp": NOON.isoformat()}
ONE_CALL = NamedCall(frozenset({ORGANIZATION}), frozenset({CALL}), NOON)
DEEP = "[" * 2_000 + "]" * 2_000


@pytest.mark.parametrize(
    "broken",
    [
        value("call.paused"),
        json.dumps({**PLACE, "data": {"duration": -1}}).encode(),
        json.dumps({**PLACE, "data": "x" * 2_000_000}).encode(),
        b'{"deep": %s, %s' % (DEEP.encode(), json.dumps(PLACE).encode()[1:]),
        json.dumps(PLACE).encode()[:-1],
        json.dumps(PLACE).encode() + b'\xff "',
        json.dumps(PLACE).encode() + json.dumps(PLACE).encode(),
        json.dumps([PLACE, PLACE]).encode(),
        json.dumps({"payload": PLACE}).encode(),
        json.dumps({"payload": json.dumps(PLACE)}).encode(),
        json.dumps(json.dumps(json.dumps(PLACE))).encode(),
        b"\0\0\0\0\7" + json.dumps(PLACE).encode(),
        b"\xef\xbb\xbf" + json.dumps(PLACE).encode(),
        json.dumps(PLACE).encode("utf-16"),
        json.dumps(PLACE).replace("organization_id", "organizationId").replace("call_id", "callId").encode(),
    ],
    ids=[
        "unknown type",
        "wrong type",
        "too large",
        "nested too deeply",
        "cut off",
        "not UTF-8",
        "two in a row",
        "an array",
        "an envelope",
        "a text in an envelope",
        "a text of a text",
        "framed",
        "byte-order mark",
        "UTF-16",
        "camel case",
    ],
)
def test_a_broken_value_still_names_its_call(broken: bytes) -> None:
    assert named_call(b"key", broken) == ONE_CALL


@given(st.text(min_size=1, max_size=256), st.booleans())
def test_it_is_the_call_of_the_event(call_id: str, cut: bool) -> None:
    """Read from the top level of a complete value, and from a truncated value."""
    whole = value("call.ringing", call_id=call_id)
    named = named_call(None, whole.removesuffix(b"}") if cut else whole)
    assert named.keys == [(ORGANIZATION, call_uuid(ORGANIZATION, call_id))]
    if "\0" not in call_id:
        assert named.keys == [(ORGANIZATION, read(whole, NOON).call_id)]


@given(st.binary(max_size=200), st.binary(max_size=20))
def test_no_bytes_make_it_fail(key: bytes, some: bytes) -> None:
    assert named_call(key, some).call_id is None


def test_what_the_top_names_is_not_mistaken() -> None:
    """A vendor's own ids within the data are ignored."""
    inner = {"organization_id": str(OTHER), "call_id": "vendor-7", "timestamp": "1999-01-01T00:00:00Z"}
    assert named_call(b"key", json.dumps({**PLACE, "data": inner}).encode()) == ONE_CALL


def test_a_number_is_the_text_of_its_digits() -> None:
    for written in ({**PLACE, "call_id": 4711}, [{**PLACE, "call_id": 4711}]):
        named = named_call(None, json.dumps(written).encode())
        assert named.call_id == call_uuid(ORGANIZATION, "4711")


def test_the_key_is_the_call_where_the_value_names_an_organization_alone() -> None:
    without_call = json.dumps({"organization_id": str(ORGANIZATION)}).encode()
    assert named_call(b"call-1", without_call).call_id == call_uuid(ORGANIZATION, "call-1")
    assert named_call(None, without_call).call_id is None
    assert named_call(b"call-1", b"{").keys == []


@pytest.mark.parametrize(
    ("values", "organization_id", "call_id"),
    [
        ([PLACE, {**PLACE, "call_id": TEXT_ID}], ORGANIZATION, SEVERAL_CALLS),
        ([PLACE, {**PLACE, "organization_id": str(OTHER)}], None, None),
        ([{"organization_id": "acme", "call_id": "1"}], None, None),
    ],
)
def test_several_calls(values: list[Any], organization_id: UUID | None, call_id: UUID | None) -> None:
    named = named_call(None, json.dumps(values).encode())
    assert (named.organization_id, named.call_id) == (organization_id, call_id)
    if call_id is not None:
        assert set(named.keys) == {(ORGANIZATION, CALL), (ORGANIZATION, call_uuid(ORGANIZATION, TEXT_ID))}


@pytest.mark.parametrize(
    ("timestamps", "earliest"),
    [
        (["2026-11-24T13:00:00+0200"], datetime(2026, 11, 24, 11, tzinfo=UTC)),
        (
            ["2026-11-24T12:00:00Z", "2026-11-20T12:00:00Z", "yesterday"],
            datetime(2026, 11, 20, 12, tzinfo=UTC),
        ),
        (["0001-01-01T00:00:00Z"], None),
        ([1_700_000_000], None),
    ],
)
def test_the_time_is_the_earliest_that_can_be_read(timestamps: list[Any], earliest: datetime | None) -> None:
    values = [{**PLACE, "timestamp": one} for one in timestamps]
    assert named_call(None, json.dumps(values).encode()).timestamp == earliest
