"""`callfold event`: the contract of an event, and a check of events, without any server or setting."""

import gzip
import json
import re
import runpy
import shlex
from pathlib import Path

import pytest

from shared.calls.event_schema import event_examples, event_schema
from tests.support.command_line import callfold, callfold_reading
from tests.support.events import value
from tests.support.repository import ROOT

GOOD = value("call.ringing", id="evt_good")
NOTED = value("call.completed", id="evt_noted", cost=-1, duration="long")
REFUSED = b'{"id": "evt_1", "type": "call.ringing"}'


def _file(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "events.ndjson"
    path.write_bytes(content)
    return str(path)


async def test_the_whole_schema_is_printed() -> None:
    done = await callfold("event", "schema", database_url="not a URL", topic="")

    assert done.status == 0
    assert done.json == event_schema()
    assert done.output.startswith("{\n  ")


async def test_each_event_is_accepted_noted_or_refused_with_the_reason(tmp_path: Path) -> None:
    path = _file(tmp_path, b"\n".join([GOOD, b"", NOTED, REFUSED]))

    done = await callfold("event", "check", path)

    assert done.status == 1
    assert done.output.splitlines() == [
        "1: accepted: call.ringing evt_good",
        "3: noted: call.completed evt_noted, left out data.duration: expected a number; "
        "data.cost: expected an amount from 0 to 9999999999.9999",
        "4: refused: organization_id: is missing",
        "3 records: 1 accepted, 1 noted, 1 refused.",
    ]


async def test_the_result_is_printed_as_json(tmp_path: Path) -> None:
    done = await callfold("event", "check", _file(tmp_path, b"\n".join([GOOD, NOTED, REFUSED])), "--json")

    assert done.status == 1
    assert done.json == {
        "accepted": 1,
        "noted": 1,
        "refused": 1,
        "records": [
            {
                "record": 1,
                "outcome": "accepted",
                "id": "evt_good",
                "type": "call.ringing",
                "notes": [],
                "reason": None,
            },
            {
                "record": 2,
                "outcome": "noted",
                "id": "evt_noted",
                "type": "call.completed",
                "notes": [
                    {"field": "data.duration", "rule": "expected a number"},
                    {"field": "data.cost", "rule": "expected an amount from 0 to 9999999999.9999"},
                ],
                "reason": None,
            },
            {
                "record": 3,
                "outcome": "refused",
                "id": None,
                "type": None,
                "notes": [],
                "reason": "organization_id: is missing",
            },
        ],
    }


@pytest.mark.parametrize(
    "content", [b"\n".join([GOOD, NOTED]), gzip.compress(b"[" + GOOD + b"," + NOTED + b"]")]
)
async def test_without_a_refused_event_it_succeeds(tmp_path: Path, content: bytes) -> None:
    done = await callfold("event", "check", _file(tmp_path, content))

    assert done.status == 0
    assert done.output.endswith("2 records: 1 accepted, 1 noted, 0 refused.\n")


async def test_standard_input_is_checked() -> None:
    examples = json.dumps(event_examples()).encode()

    done = await callfold_reading(examples, "event", "check", "-")

    assert (done.status, done.output.splitlines()[-1]) == (0, "8 records: 8 accepted, 0 noted, 0 refused.")


@pytest.mark.parametrize(
    ("content", "failure"),
    [
        (b"", "{path} has no event."),
        (b"\n \n", "{path} has no event."),
        (
            b"[" + GOOD + b",",
            "{path} ends within a JSON array or object: it is cut off. The records before that point are "
            "checked. Check the whole file when it is repaired.",
        ),
        (
            b"BZh91AY" + bytes(20),
            "{path} is bzip2-compressed: `bzip2 -dc {path} | callfold event check -` checks it.",
        ),
    ],
)
async def test_a_file_that_cannot_be_checked_is_named(tmp_path: Path, content: bytes, failure: str) -> None:
    path = _file(tmp_path, content)

    done = await callfold("event", "check", path)

    assert (done.status, done.failure) == (1, failure.replace("{path}", path))


async def test_a_file_that_does_not_exist_is_named(tmp_path: Path) -> None:
    done = await callfold("event", "check", str(tmp_path / "none"))

    assert (done.status, done.failure) == (1, f"{tmp_path}/none can't be read: no such file or directory.")


async def test_an_id_cannot_control_the_terminal(tmp_path: Path) -> None:
    done = await callfold("event", "check", _file(tmp_path, value("call.ringing", id="\x1b[2J\n")))

    assert done.output.splitlines()[0] == r"1: accepted: call.ringing '\x1b[2J\n'"


async def test_the_commands_and_the_code_of_the_page_work_as_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs" / "reference" / "event-schema.md").read_text()
    monkeypatch.chdir(tmp_path)
    Path("events.ndjson").write_bytes(GOOD)

    commands = re.findall(r"^    callfold (event .*)$", page, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        words, into, from_ = shlex.split(command), None, b""
        if words[-2] == ">":
            *words, _, into = words
        elif words[-2] == "<":
            *words, _, file = words
            from_ = Path(file).read_bytes()
        done = await callfold_reading(from_, *words)
        assert done.status == 0, command
        if into is not None:
            Path(into).write_text(done.output)

    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (printed,) = re.findall(r"It prints:\n\n    (.*)\n", page)
    Path("validate.py").write_text(code)
    runpy.run_path("validate.py")
    assert capsys.readouterr().out == f"{printed}\n"
