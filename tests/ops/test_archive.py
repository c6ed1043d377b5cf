"""Archives in every common form: compressed, with a byte-order mark, as arrays, pretty-printed, cut off."""

import bz2
import gzip
import io
import json
import lzma
import tracemalloc
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ops.repair.archive import values
from services.ops.repair.replay_source import read_file
from services.ops.terminal.failure import Failure
from shared.calls.event import VALUE_BYTES_MAX
from shared.database.connection import Connection
from tests.support.command_line import callfold
from tests.support.ingesting import call

MARK = b"\xef\xbb\xbf"
EVENTS = [*call(0), *call(1)]
LINES = b"\n".join(EVENTS)


def found(content: bytes, path: str = "a.ndjson") -> list[bytes]:
    return [one for _, one in values(io.BytesIO(content), path)]


ARCHIVES = {
    "lines": LINES,
    "lines of Windows": b"\r\n".join([*EVENTS, b""]),
    "lines with blank ones between": b"\n \r\n\n" + b"\n\t\n".join(EVENTS),
    "a byte-order mark": MARK + LINES,
    "gzip": gzip.compress(LINES),
    "gzip of a byte-order mark": gzip.compress(MARK + LINES),
    "gzip in several members": b"".join(gzip.compress(event + b"\n") for event in EVENTS),
    "an array": b"[" + b",".join(EVENTS) + b"]",
    "an array with an element a line": b"\n[\n" + b",\r\n".join(EVENTS) + b",\n]\n",
    "a page of an array a line": b"[" + b",".join(EVENTS[:3]) + b"]\n[]\n[" + b",".join(EVENTS[3:]) + b"]",
    "an array behind a byte-order mark": MARK + b" [" + b",".join(EVENTS) + b"]",
    "gzip of an array": gzip.compress(b"[" + b",".join(EVENTS) + b"]"),
    "pretty-printed objects": b"\n".join(json.dumps(json.loads(one), indent=2).encode() for one in EVENTS),
    "objects over several lines": b"\n".join(one.replace(b', "t', b',\n "t', 1) for one in EVENTS),
    "a pretty-printed array": json.dumps([json.loads(one) for one in EVENTS], indent="\t").encode(),
}


@pytest.mark.parametrize("form", ARCHIVES)
def test_an_archive_of_any_form_gives_its_events(form: str) -> None:
    assert [json.loads(one) for one in found(ARCHIVES[form])] == [json.loads(one) for one in EVENTS]


def test_a_first_line_that_was_cut_off_is_a_record_of_its_own() -> None:
    assert found(b'{"id": "evt_1",\n' + LINES) == [b'{"id": "evt_1",', *EVENTS]


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('ab"\\[]{},\u00fc\n'),
    lambda nested: st.lists(nested, max_size=3) | st.dictionaries(st.text('k"\\}{'), nested, max_size=3),
)


@given(st.lists(documents, max_size=5), st.sampled_from([None, 2]), st.booleans(), st.integers(1, 40))
def test_an_array_is_split_wherever_its_chunks_end(
    elements: list[object], indent: int | None, ascii_only: bool, most: int
) -> None:
    class Slow(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            return super().read1(min(size or most, most))

    content = json.dumps(elements, indent=indent, ensure_ascii=ascii_only).encode()
    assert [json.loads(one) for _, one in values(Slow(content), "a.json")] == elements


def test_a_value_has_the_number_of_its_line_or_element() -> None:
    assert list(values(io.BytesIO(b"\n1\n\n2"), "a")) == [(2, b"1"), (4, b"2")]
    assert list(values(io.BytesIO(b"[1,\n\n2]"), "a")) == [(1, b"1"), (2, b"2")]


def test_a_value_too_long_for_an_event_is_still_recognizable() -> None:
    long = b'"' + b"x" * (3 * VALUE_BYTES_MAX) + b'"'
    for content in (long + b"\n{}", b"[" + long + b",{}]"):
        first, second = found(content)
        assert VALUE_BYTES_MAX < len(first) <= VALUE_BYTES_MAX + 2
        assert second == b"{}"


@pytest.mark.parametrize("content", [LINES + b"\n", b"[" + b",".join(EVENTS) + b",", b"x" * 100])
def test_memory_is_bounded_for_a_small_file_that_decompresses_to_a_large_one(content: bytes) -> None:
    times = 40 * 1024 * 1024 // len(content)
    packed = gzip.compress((b"[" if content[:1] == b"[" else b"") + content.lstrip(b"[") * times)
    assert len(packed) < 2 * 1024 * 1024
    tracemalloc.start()
    try:
        for _ in islice(values(io.BytesIO(packed), "a.gz"), 10_000):
            pass
        assert tracemalloc.get_traced_memory()[1] < 8 * VALUE_BYTES_MAX
    finally:
        tracemalloc.stop()


REFUSED = {
    "zstd": (
        b"\x28\xb5\x2f\xfd" + b"x" * 20,
        "a.x is zstd-compressed: `zstd -dc a.x | callfold replay --file -`",
    ),
    "bzip2": (bz2.compress(LINES), "a.x is bzip2-compressed: `bzip2 -dc a.x | "),
    "xz": (lzma.compress(LINES), "a.x is xz-compressed: `xz -dc a.x | "),
    "zip": (b"PK\x03\x04" + b"x" * 20, "a.x is zip-compressed: `unzip -p a.x | "),
    "gzip twice": (gzip.compress(gzip.compress(LINES)), "a.x is gzip-compressed twice: `gzip -dc a.x | "),
    "UTF-16 of Windows": (LINES.decode().encode("utf-16"), "a.x is UTF-16: `iconv -f UTF-16 -t UTF-8 a.x | "),
    "UTF-16 without a mark": (LINES.decode().encode("utf-16-be"), "a.x is UTF-16BE: `iconv -f UTF-16BE "),
    "UTF-32": (LINES.decode().encode("utf-32"), "a.x is UTF-32: `iconv -f UTF-32 "),
    "gzip of UTF-16": (gzip.compress(LINES.decode().encode("utf-16")), "a.x is UTF-16: "),
    "something behind an array": (b"[1] and more", "but other text follows"),
    "a bracket too many": (b"[1]]", "but other text follows"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_an_unreadable_archive_fails_with_the_command_that_converts_it(kind: str) -> None:
    content, sentence = REFUSED[kind]
    with pytest.raises(Failure) as refused:
        found(content, "a.x")
    assert sentence in str(refused.value)


CUT_OFF = {
    "gzip": (gzip.compress(LINES + b"\n", mtime=0)[:-6], 8),
    "gzip whose bytes were changed": (gzip.compress(LINES + b"\n", mtime=0)[:-6] + b"\0\0\0\0\0\0", 8),
    "an array": (b"[" + b",".join(EVENTS) + b",", 8),
    "an array in the middle of an element": (b"[" + b",".join(EVENTS)[:-20], 7),
    "an object": (json.dumps(json.loads(EVENTS[0]), indent=1).encode()[:-2], 0),
}


@pytest.mark.parametrize("kind", CUT_OFF)
async def test_a_cut_off_archive_gives_its_complete_values_and_then_fails(kind: str, tmp_path: Path) -> None:
    content, whole = CUT_OFF[kind]
    archive = tmp_path / "cut"
    archive.write_bytes(content)
    batches = read_file(str(archive))
    taken = [len(await anext(batches))] if whole else []
    with pytest.raises(Failure, match=r"cut off.* The records before that point are replayed"):
        await anext(batches)
    assert sum(taken) == whole


async def test_standard_input_is_read_in_the_same_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    for form in ("a byte-order mark", "gzip", "an array"):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(ARCHIVES[form])))
        records = [record async for batch in read_file("-") for record in batch]
        assert [json.loads(record.value) for record in records] == [json.loads(one) for one in EVENTS]
        assert {record.topic for record in records} == {"standard input"}
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(bz2.compress(LINES))))
    with pytest.raises(Failure, match="Standard input is bzip2-compressed: convert it first"):
        _ = [batch async for batch in read_file("-")]


async def test_a_compressed_archive_from_windows_is_stored(
    database_url: str, database: Connection, tmp_path: Path
) -> None:
    archive = tmp_path / "2026.json.gz"
    archive.write_bytes(gzip.compress(MARK + b"[" + b",\r\n".join(EVENTS) + b"]"))
    told = await callfold(
        "replay", "--file", str(archive), "--create-organizations", "--json", database_url=database_url
    )
    assert (told.status, told.json["new"], told.json["quarantined"]) == (0, 8, 0)
    assert await database.fetchval("SELECT count(*) FROM calls") == 2


async def test_a_replay_that_quarantines_most_records_reports_it_and_fails(
    database_url: str, database: Connection, tmp_path: Path
) -> None:
    archive = tmp_path / "wrong.ndjson"
    archive.write_bytes(b"\n".join([*EVENTS[:4], *[b"no event"] * 4]))
    half = await callfold(
        "replay", "--file", str(archive), "--create-organizations", database_url=database_url
    )
    assert half.status == 0
    archive.write_bytes(b"\n".join([*EVENTS[:4], *[b"no event"] * 5]))
    for dry in ((), ("--dry-run",)):
        most = await callfold("replay", "--file", str(archive), "--json", *dry, database_url=database_url)
        assert most.status == 1
        assert most.json["quarantined"] == 5
        assert most.json["reasons"] == {"the value is not JSON: invalid character (byte 4)": 5}
    filtered = ("--type", "call.initiated")
    asked = await callfold("replay", "--file", str(archive), *filtered, database_url=database_url)
    assert asked.status == 0, "with a filter, records that are not events are passed over"
