"""The output of commands, without what varies between runs: for snapshots."""

import re
from typing import Final

# Each varies between runs. Its placeholder is as long, so that columns stay where they are.
_VARYING: Final = [
    (re.compile(r"(kros_(?:live|test)_)[\w-]{43}"), lambda m: m[1] + "x" * 43),
    (re.compile(r"(#token=)[\w-]{43}"), lambda m: m[1] + "x" * 43),
    (re.compile(r"(kros_live_)[\w-]{2}…[\w-]{4}"), lambda m: m[1] + "xx…xxxx"),
    (
        re.compile(r"\b(?!6f1c1f0e-93a5)[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b"),
        lambda m: re.sub(r"\w", "0", m[0]),
    ),
    (re.compile(r"\btest_[0-9a-f]{32}\b"), lambda m: "test_" + "0" * 32),
    (re.compile(r"\b(call-(?:events|deliveries|states)-)[0-9a-f]{12}\b"), lambda m: m[1] + "0" * 12),
    (re.compile(r"127\.0\.0\.1:\d{5}"), lambda m: "127.0.0.1:00000"),
    (
        re.compile(r"\b20\d\d-\d\d-\d\d([T ])\d\d:\d\d(?::\d\d)?(?:\.\d+)?"),
        lambda m: re.sub(r"\d", "0", m[0][:19]),
    ),
    (re.compile(r"\b20\d\d[a-z]\b"), lambda m: "0000a"),
]
TERMINAL_OF_80_COLUMNS: Final = {"TERM": "dumb", "TTY_COMPATIBLE": "1", "COLUMNS": "80"}
"""The environment of a command whose output has at most 80 columns, on every machine."""


def steady(text: str) -> str:
    """The same text with a placeholder for each id, secret, port and time that varies between runs."""
    for pattern, placeholder in _VARYING:
        text = pattern.sub(placeholder, text)
    return "\n".join(line.rstrip() for line in text.splitlines())
