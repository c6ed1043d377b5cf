"""The JSON Schema of an event: the reader accepts what conforms, and refused events do not conform."""

import json
import random
import runpy
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator

from services.ops.demo.simulated_fault import FAULTS
from services.ops.demo.simulator import backlog, organizations
from shared.calls.event import (
    AHEAD_MAX,
    CALL_ID_LENGTH_MAX,
    COST_CENTS_MAX,
    COUNT_MAX,
    ID_LENGTH_MAX,
    MISSING_HANGUP,
    NUMBER_LENGTH_MAX,
    URL_LENGTH_MAX,
    Event,
    EventData,
    EventType,
    read,
)
from shared.calls.event_schema import SCHEMA_ID, event_examples, event_schema
from tests.calls.test_event import BAD, LEFT_OUT
from tests.support.events import NOON, ORGANIZATION, events_of_a_call, value
from tests.support.ingesting import call
from tests.support.repository import ROOT

SCHEMA: Final = event_schema()
PUBLISHED: Final[dict[str, Any]] = json.loads(
    (ROOT / "tests" / "calls" / f"event-schema-{SCHEMA_ID.rpartition(':')[2]}.json").read_text()
)
"""The schema as it was when its version was published. A later schema may accept more."""
VALIDATOR: Final = Draft202012Validator(SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER)
REQUIRED: Final = set(SCHEMA["required"])
DATA: Final[dict[str, Any]] = SCHEMA["properties"]["data"]["properties"]
LATEST: Final = datetime(9999, 1, 1, tzinfo=UTC)
"""The clock of a reader to which nearly every timestamp of the schema lies in the past."""

_characters = st.characters(exclude_categories=["Cs"])
_unknown = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(_characters, max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(_characters, max_size=5), inner, max_size=2)
    ),
    max_leaves=4,
)


def conforming(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that conform to a schema, made from its keywords alone."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    types = schema["type"]
    return st.one_of(*(_of_type(type_, schema) for type_ in ([types] if isinstance(types, str) else types)))


def _of_type(type_: str, schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    if type_ == "null":
        return st.none()
    if type_ == "boolean":
        return st.booleans()
    if type_ == "integer":
        whole = st.integers(schema["minimum"], schema["maximum"])
        return whole | whole.map(float)
    if type_ == "number":
        return st.floats(schema["minimum"], schema["maximum"]) | st.integers(0, int(schema["maximum"]))
    if type_ == "string":
        text = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
        if schema["pattern"].startswith("^[^"):
            length = st.integers(schema["minLength"], schema.get("maxLength", 2 * URL_LENGTH_MAX))
            long = length.map(lambda length: "\u00fc" * length)
            return (st.text(_characters, min_size=1, max_size=20) | long).filter(text.is_valid)
        return st.from_regex(schema["pattern"]).filter(text.is_valid)
    assert type_ == "object"
    properties = {name: conforming(each) for name, each in schema["properties"].items()}
    required = set(schema.get("required", ()))
    known = st.fixed_dictionaries(
        {name: each for name, each in properties.items() if name in required},
        optional={name: each for name, each in properties.items() if name not in required},
    )
    unknown = st.dictionaries(
        st.text(_characters, max_size=5).filter(lambda name: name not in properties), _unknown, max_size=2
    )
    return st.builds(lambda known, unknown: {**unknown, **known}, known, unknown)


@settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
)
@given(conforming(SCHEMA), st.booleans())
def test_what_conforms_is_read_whole_and_without_a_note(event: dict[str, Any], ascii_only: bool) -> None:
    VALIDATOR.validate(event)
    timestamp = _instant(event["timestamp"])
    assume(timestamp <= LATEST)
    data = event.get("data") or {}
    for field in ("answered_at", "completed_at"):  # no schema can say that these are near the timestamp
        if data.get(field) and _instant(data[field]) - timestamp >= AHEAD_MAX:
            del data[field]

    found = read(json.dumps(event, ensure_ascii=ascii_only).encode(), LATEST)

    assert found.notes == ()
    assert (found.id, found.type, found.livemode) == (event["id"], event["type"], event.get("livemode"))
    assert set(found.data) == {name for name in DATA if data.get(name) is not None}


@settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
)
@given(conforming(PUBLISHED))
def test_an_event_that_conformed_still_does(event: dict[str, Any]) -> None:
    VALIDATOR.validate(event)


@pytest.mark.parametrize("field", PUBLISHED["properties"]["data"]["properties"])
def test_a_value_of_a_field_that_conformed_still_does(field: str) -> None:
    @settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
    @given(conforming(PUBLISHED["properties"]["data"]["properties"][field]))
    def check(written: Any) -> None:
        later = Draft202012Validator(DATA[field], format_checker=Draft202012Validator.FORMAT_CHECKER)
        later.validate(written)

    check()


def test_the_published_schema_has_the_version_of_the_schema() -> None:
    assert PUBLISHED["$id"] == SCHEMA["$id"], "add the schema of the new version as a file"


def _instant(written: str) -> datetime:
    # Python's `$` lets a line break stand at the end, as the reader does.
    return datetime.fromisoformat(written.rstrip("\n"))


@given(events_of_a_call)
def test_events_of_the_tests_conform(events: list[Event]) -> None:
    for event in events:
        if event.type != MISSING_HANGUP:
            VALIDATOR.validate(json.loads(event.payload))


def test_what_the_simulator_publishes_conforms_unless_it_is_broken() -> None:
    published = list(backlog(7, organizations(random.Random(7)), 300, NOON, days=3))

    broken = {record.fault for record in published if record.value is None or not _conforms(record.value)}

    assert len(published) > 1000
    # Of the clock of the reader a schema knows nothing.
    assert broken == {*FAULTS} - {"far in the future"}
    for record in published:
        if record.fault is None:
            assert record.value is not None
            VALIDATOR.validate(json.loads(record.value))


def test_the_call_that_the_tests_of_ingest_publish_conforms() -> None:
    for event in call(0):
        VALIDATOR.validate(json.loads(event))


def test_what_the_example_in_python_publishes_conforms() -> None:
    example = runpy.run_path(str(ROOT / "examples" / "publish.py"))
    events = example["events_of_a_call"](str(ORGANIZATION), "CA0123")

    assert len(events) == 4
    for event in events:
        VALIDATOR.validate(json.loads(event))
        assert read(event, datetime.now(UTC)).notes == ()


@pytest.mark.processes
def test_what_the_example_in_shell_hands_to_kcat_conforms(tmp_path: Path) -> None:
    kcat = tmp_path / "kcat"
    kcat.write_text("#!/bin/sh\nexec cat\n")
    kcat.chmod(0o755)
    done = subprocess.run(
        ["sh", ROOT / "examples" / "publish.sh", "127.0.0.1:9092", str(ORGANIZATION)],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        check=True,
        text=True,
    )
    *records, call_id = done.stdout.splitlines()

    assert len(records) == 2
    for record in records:
        key, _, event = record.partition("|")
        assert key == call_id == json.loads(event)["call_id"]
        VALIDATOR.validate(json.loads(event))


def test_the_events_on_the_pages_conform() -> None:
    pages = [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]
    texts = [page.read_text().replace("$ORGANIZATION", str(ORGANIZATION)) for page in pages]
    found = [event for text in texts for event in _events_on(text)]

    assert found
    for event in found:
        VALIDATOR.validate(event)


def _events_on(text: str) -> Iterator[Any]:
    """The JSON objects in a text that have all that an event must have."""
    decoder = json.JSONDecoder()
    at = text.find("{")
    while at >= 0:
        try:
            found, end = decoder.raw_decode(text, at)
        except ValueError:
            end = at + 1
        else:
            if set(found) >= REQUIRED:
                yield found
        at = text.find("{", end)


# Rules of the record as bytes, and of several fields or the clock together: no schema can say them.
_BEYOND_A_SCHEMA: Final = (
    "more than a day",
    "bytes; at most",
    "nested deeper",
    "is not JSON",
    "is not UTF-8",
)
REFUSED: Final = [
    (written, rule)
    for written, rule in [*BAD, *LEFT_OUT]
    if written and not any(beyond in rule for beyond in _BEYOND_A_SCHEMA)
]


@pytest.mark.parametrize(("written", "rule"), REFUSED, ids=[rule[:60] for _, rule in REFUSED])
def test_what_is_refused_or_noted_does_not_conform(written: bytes, rule: str) -> None:
    assert not _conforms(written), rule


def _conforms(written: bytes) -> bool:
    try:
        return VALIDATOR.is_valid(json.loads(written))
    except ValueError:
        return False


@pytest.mark.parametrize(
    ("field", "longest"),
    [
        ("id", ID_LENGTH_MAX),
        ("call_id", CALL_ID_LENGTH_MAX),
        ("from_number", NUMBER_LENGTH_MAX),
        ("recording_url", URL_LENGTH_MAX),
    ],
)
def test_a_text_has_the_same_limit_in_both(field: str, longest: int) -> None:
    for length, fits in ((longest, True), (longest + 1, False)):
        said: dict[str, Any] = {field: "\u00fc" * length}
        assert _conforms(value("call.updated", **said)) == fits


@pytest.mark.parametrize(
    ("field", "conforms", "breaks"),
    [
        ("duration", [0, COUNT_MAX, 60.0, None], [-1, COUNT_MAX + 1, 0.5, "60"]),
        (
            "cost",
            [0, 1.25, "1.25", float(COST_CENTS_MAX), str(COST_CENTS_MAX)],
            [-0.01, 10_000_000_000, "10000000000", "1.00001", "-1", "1e3", ""],
        ),
        (
            "answered_at",
            ["1971-01-01T00:00:00+23:59", "2024-02-29T23:59:59.999999999-08:00", "2000-01-01T00:00:00Z"],
            [
                "1970-12-31T23:59:59Z",
                "2026-02-29T10:00:00Z",
                "2026-11-24 10:00:00Z",
                "2026-11-24T10:00:60Z",
            ],
        ),
        (
            "endpoint_id",
            [str(ORGANIZATION), str(ORGANIZATION).upper()],
            [f"{ORGANIZATION}\n", ORGANIZATION.hex],
        ),
    ],
)
def test_the_borders_of_what_conforms(field: str, conforms: list[Any], breaks: list[Any]) -> None:
    for said in conforms:
        written = value("call.updated", **{field: said})
        assert _conforms(written), said
        assert read(written, NOON).notes == ()
    assert [said for said in breaks if _conforms(value("call.updated", **{field: said}))] == []


def test_without_formats_only_a_day_that_does_not_exist_is_overlooked() -> None:
    without_formats = Draft202012Validator(SCHEMA)
    overlooked = [rule for written, rule in REFUSED if without_formats.is_valid(json.loads(written))]

    assert overlooked == ["timestamp: expected a date and time that exists"]
    assert not without_formats.is_valid(
        json.loads(value("call.ringing", organization_id=f"{ORGANIZATION}\n"))
    )


def test_it_is_a_schema_and_says_the_same_in_draft_7() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    Draft7Validator.check_schema({**SCHEMA, "$schema": Draft7Validator.META_SCHEMA["$schema"]})
    as_draft_7 = Draft7Validator(SCHEMA, format_checker=Draft7Validator.FORMAT_CHECKER)
    assert all(as_draft_7.is_valid(event) for event in event_examples())
    assert set(_keywords(SCHEMA)) <= set(Draft7Validator.META_SCHEMA["properties"])


def _keywords(schema: dict[str, Any]) -> Iterator[str]:
    yield from schema
    for each in schema.get("properties", {}).values():
        yield from _keywords(each)


def test_every_field_is_described_with_examples_that_conform() -> None:
    assert set(DATA) == set(get_type_hints(EventData))
    fields = {**SCHEMA["properties"], **DATA}
    for name, schema in fields.items():
        assert schema["description"], name
        assert schema["examples"], name
        field = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
        assert [one for one in schema["examples"] if not field.is_valid(one)] == [], name


def test_there_is_an_example_of_each_type() -> None:
    assert sorted(one["type"] for one in SCHEMA["examples"]) == sorted(get_args(EventType))
    for one in SCHEMA["examples"]:
        VALIDATOR.validate(one)
        assert read(json.dumps(one).encode(), NOON + timedelta(days=1)).notes == ()
