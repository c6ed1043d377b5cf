"""Bytes as a person reads them."""

import json
from collections.abc import Sequence
from typing import Final

BYTES_SHOWN_MAX: Final = 16 * 1024
_WIDTH: Final = 16


def lines_of(value: bytes | None) -> Sequence[str]:
    """JSON indented, other text as it is, anything else as bytes in hexadecimal with their letters; of very
    long ones the beginning. No line can control a terminal."""
    if value is None:
        return ["  (null)"]
    shown = value[:BYTES_SHOWN_MAX]
    lines = _json(value) or _text(shown) or _bytes(shown)
    if len(value) > len(shown):
        lines = [*lines[: BYTES_SHOWN_MAX // _WIDTH], f"… {len(value):,} bytes in all"]
    return [f"  {line}" for line in lines] or ["  (empty)"]


def _json(value: bytes) -> list[str]:
    try:
        text = json.dumps(json.loads(value), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return []
    return _printable(text.splitlines())


def _text(value: bytes) -> list[str]:
    try:
        return _printable(value.decode().splitlines())
    except UnicodeDecodeError:
        return []


def _printable(lines: Sequence[str]) -> list[str]:
    return ["".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in line) for line in lines]


def _bytes(value: bytes) -> list[str]:
    rows = [value[start : start + _WIDTH] for start in range(0, len(value), _WIDTH)]
    return [
        f"{n * _WIDTH:06x}  {row.hex(' '):<{3 * _WIDTH}} "
        + "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        for n, row in enumerate(rows)
    ]
