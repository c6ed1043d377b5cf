"""The page on logs quotes the messages that the code writes, and every warning and error is on it."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.support.repository import ROOT

PAGE = ROOT / "docs" / "reference" / "logs.md"
ANYTHING = "…"
LETTERS_MIN = 4
"""The values alone give a message with fewer letters of its own, so the page cannot quote it."""

_PLACEHOLDER = re.compile(r"%[\d.,]*[sdrgf]")


def test_every_quoted_message_is_in_the_code() -> None:
    written = {message for _, message in (*_logged(), *_other_texts())}
    assert [quote for quote in _quotes() if not any(_begins(message, quote) for message in written)] == []


def test_every_warning_and_error_is_on_the_page() -> None:
    quotes = _quotes()
    missing = [
        (str(path.relative_to(ROOT)), message)
        for path, message in _logged()
        if sum(map(str.isalpha, message)) >= LETTERS_MIN
        if not any(_begins(message, quote) for quote in quotes)
    ]
    assert missing == []


def _quotes() -> list[str]:
    """The messages that the page's tables quote: all but the last column."""
    messages = PAGE.read_text().partition("\n## Messages\n")[2]
    rows = re.findall(r"^\| (`.*`) \| .* \|$", messages, re.MULTILINE)
    quotes = [quote for row in rows for quote in re.findall(r"`([^`]+)`", row)]
    assert quotes
    return quotes


def _begins(message: str, quote: str) -> bool:
    """Whether the message begins as quoted, with any values in the place of each `…`."""
    return re.match(".+".join(map(re.escape, quote.split(ANYTHING))), message) is not None


def _logged() -> list[tuple[Path, str]]:
    """The messages of warnings and errors, and those of the start and the end of an outage."""
    logged = []
    for path, tree in _sources():
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args):
            texts = [_text(argument) for argument in call.args]
            match call.func:
                case ast.Attribute(attr="warning" | "error" | "critical"):
                    logged += [(path, text) for text in texts[:1] if text]
                case ast.Name(id="Outage"):
                    logged += [(path, f"{texts[1]}: {ANYTHING}"), (path, f"{texts[2]} after {ANYTHING} s")]
    assert logged
    return logged


def _other_texts() -> Iterator[tuple[Path, str]]:
    """All texts of the sources: a message at a lower level, or one that the code prepares elsewhere."""
    for path, tree in _sources():
        for node in ast.walk(tree):
            if text := _text(node):
                yield path, text


def _text(node: ast.AST) -> str:
    """A string with `…` in the place of each value; nothing for other expressions."""
    match node:
        case ast.Constant(value=str(text)):
            return _PLACEHOLDER.sub(ANYTHING, text)
        case ast.JoinedStr(values=parts):
            return "".join(_text(part) or ANYTHING for part in parts)
    return ""


@cache
def _sources() -> list[tuple[Path, ast.Module]]:
    """The services and what they share, without the commands, which print instead of logging."""
    paths = [*ROOT.glob("services/**/*.py"), *ROOT.glob("shared/**/*.py")]
    ops = ROOT / "services" / "ops"
    logging = [path for path in paths if not path.is_relative_to(ops) or path.is_relative_to(ops / "admin")]
    return [(path, ast.parse(path.read_text())) for path in logging]
