"""The records of a file: lines of JSON, JSON arrays or pretty-printed objects, plain or gzip-compressed.

A file of any size is read as a stream: memory holds one record of at most `VALUE_BYTES_MAX`.
"""

import gzip
import io
import re
import shlex
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

from services.ops.terminal.failure import Failure
from services.ops.terminal.program import command_line
from shared.calls.event import VALUE_BYTES_MAX
from shared.calls.framing import BYTE_ORDER_MARK, GZIP, compression, encoding

HEAD_BYTES: Final = 16
CHUNK_BYTES: Final = 64 * 1024
_DECOMPRESS: Final = {
    "gzip": "gzip -dc",
    "zstd": "zstd -dc",
    "bzip2": "bzip2 -dc",
    "xz": "xz -dc",
    "LZ4": "lz4 -dc",
    "Snappy": "snzip -dc",
    "zip": "unzip -p",
}
_BLANK: Final = b" \t\r\n"
_LINE_BYTES: Final = VALUE_BYTES_MAX + 2
"""Enough bytes to recognize a value that is too long for an event."""
_STRUCTURE: Final = re.compile(rb'[\[\]{},"]')
_END_OF_STRING: Final = re.compile(rb'["\\]')


class Stream(Protocol):
    """A source of bytes."""

    def read1(self, size: int, /) -> bytes:
        """At most this many bytes, as soon as any are available; empty at the end."""
        ...


class Use(NamedTuple):
    """The action of a command on an archive, for messages about an archive that it cannot read."""

    command: tuple[str, ...]
    """The command, with standard input as its file."""
    verb: str
    done: str
    """The verb's participle."""


REPLAY: Final = Use(("replay", "--file", "-"), "replay", "replayed")


class _Broken(Failure):
    """A fault after some records were read. Its text does not report the outcome of those records."""


def values(file: Stream, path: str, use: Use = REPLAY) -> Iterator[tuple[int, bytes]]:
    """The values of an archive, each with the number of its line, or of its element in JSON arrays.

    Empty lines are skipped. A value that is too long for an event is cut to a length that is still too long.
    Raises Failure that names `path` when the file is not such an archive, or is cut off. The values before
    that point have been given by then.
    """
    try:
        yield from _values(_text(file, path, use), path)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        broken = f"{shown(path)} is damaged or cut off: gzip can't decompress it to its end."
        raise Failure(f"{broken} {_resume(use)}") from None
    except _Broken as broken:
        raise Failure(f"{broken} {_resume(use)}") from None


def _resume(use: Use) -> str:
    return (
        f"The records before that point are {use.done}. "
        f"{use.verb.capitalize()} the whole file when it is repaired."
    )


def shown(path: str) -> str:
    """The file's name for a sentence."""
    return "Standard input" if path == "-" else path


def _text(file: Stream, path: str, use: Use) -> io.BufferedReader:
    """The stream, decompressed and without a byte-order mark. Raises Failure for another compression or
    encoding."""
    stream = _Ahead(file)
    packed = compression(stream.head)
    if packed == GZIP:
        stream = _Ahead(gzip.GzipFile(fileobj=io.BufferedReader(stream)))
        packed = compression(stream.head)
        if packed == GZIP:
            raise Failure(
                f"{shown(path)} is gzip-compressed twice: {_pipe(path, f'gzip -dc {shlex.quote(path)}', use)}"
            )
    if packed is not None:
        command = f"{_DECOMPRESS[packed]} {shlex.quote(path)}"
        raise Failure(f"{shown(path)} is {packed}-compressed: {_pipe(path, command, use)}")
    if (other := encoding(stream.head)) is not None:
        raise Failure(
            f"{shown(path)} is {other}: {_pipe(path, f'iconv -f {other} -t UTF-8 {shlex.quote(path)}', use)}"
        )
    if stream.head.startswith(BYTE_ORDER_MARK):
        stream.skip(len(BYTE_ORDER_MARK))
    return io.BufferedReader(stream, CHUNK_BYTES)


def _pipe(path: str, command: str, use: Use) -> str:
    if path == "-":
        return f"convert it first, and {use.verb} the result."
    return f"`{command} | {command_line(*use.command)}` {use.verb}s it."


class _Ahead(io.RawIOBase):
    """A stream whose first bytes can be examined before they are read."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.head = b""
        while len(self.head) < HEAD_BYTES and (some := stream.read1(HEAD_BYTES - len(self.head))):
            self.head += some
        self._left = self.head

    def skip(self, count: int) -> None:
        """Skips this many of the first bytes."""
        self._left = self._left[count:]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        into = memoryview(buffer)  # type: ignore[arg-type]
        some = self._left[: len(into)] or self._stream.read1(len(into))
        self._left = self._left[len(some) :]
        into[: len(some)] = some
        return len(some)


def _values(text: io.BufferedReader, path: str) -> Iterator[tuple[int, bytes]]:
    number = 0
    is_first = True
    while line := text.readline(_LINE_BYTES):
        number += 1
        value = line.strip()
        if is_first and _continues(value, text):
            yield from enumerate(_elements(line, text, path), 1)
            return
        if value:
            yield number, value
            is_first = False
        while line and not line.endswith(b"\n"):
            line = text.readline(_LINE_BYTES)


def _continues(first: bytes, text: io.BufferedReader) -> bool:
    """Whether a JSON array or object begins in the first line and continues in the next one."""
    if first.startswith(b"[") or first == b"{":
        return True
    # A line that was cut off also ends so. But then the next line begins an event of its own.
    return first.startswith(b"{") and first.endswith((b",", b"{")) and text.peek().lstrip(_BLANK)[:1] == b'"'


def _elements(first: bytes, text: io.BufferedReader, path: str) -> Iterator[bytes]:
    """The elements of JSON arrays, and objects outside arrays. Only brackets, commas and strings are
    examined: events are parsed elsewhere. `first` is the part of the stream that was read before. Raises
    Failure where the brackets do not match."""
    depth = 0
    in_array = in_string = is_escaped = False
    value = bytearray()
    chunk = first
    while chunk:
        begin = at = 0
        while at < len(chunk):
            if is_escaped:
                is_escaped = False
                at += 1
                continue
            found = (_END_OF_STRING if in_string else _STRUCTURE).search(chunk, at)
            if found is None:
                break
            at = found.end()
            sign = found[0]
            if in_string:
                is_escaped = sign == b"\\"
                in_string = is_escaped
            elif sign == b'"':
                in_string = True
            elif sign in (b"{", b"["):
                if depth == 0:
                    _check_blank(value + chunk[begin : at - 1], path)
                    in_array = sign == b"["
                    begin = at if in_array else at - 1
                    value.clear()
                depth += 1
            elif sign == b",":
                if depth == in_array:
                    value += chunk[begin : at - 1][: _LINE_BYTES - len(value)]
                    if depth and (element := value.strip()):
                        yield bytes(element)
                    elif not depth:
                        _check_blank(value, path)
                    value.clear()
                    begin = at
            else:
                depth -= 1
                if depth < 0:
                    _check_blank(sign, path)
                if depth == 0:
                    value += chunk[begin : at - in_array][: _LINE_BYTES - len(value)]
                    if element := value.strip():
                        yield bytes(element)
                    value.clear()
                    begin = at
                    in_array = False
        value += chunk[begin:][: _LINE_BYTES - len(value)]
        chunk = text.read1(CHUNK_BYTES)
    if depth:
        raise _Broken(f"{shown(path)} ends within a JSON array or object: it is cut off.")
    _check_blank(value, path)


def _check_blank(between: bytes | bytearray, path: str) -> None:
    """Raises Failure when there is text between two values."""
    if between.strip(_BLANK):
        raise _Broken(
            f"{shown(path)} begins with a JSON array or object, but other text follows. "
            "It must be a sequence of JSON values, or one event per line."
        )
