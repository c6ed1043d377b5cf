"""Pages, docstrings, comments and messages are written in plain English: CONTRIBUTING.md has the rules."""

from pathlib import Path

import pytest

from tests.support.prose import Sentence, files, sentences_of


def test_every_text_is_written_in_plain_english() -> None:
    breaches = [
        f"{sentence}: {breach}"
        for path in files()
        for sentence in sentences_of(path)
        for breach in sentence.breaches()
    ]
    assert breaches == [], "CONTRIBUTING.md has the rules of wording"


@pytest.mark.parametrize(
    ("text", "breach"),
    [
        ("The query is read anew.", "“anew”: write again"),
        ("Counts are kept, too.", "“, too” at the end: write also"),
        ("Who reads slowly is disconnected by the server.", "the subject is a clause: begin with the noun"),
        ("A " + "long " * 35 + "sentence.", "37 words: at most 35, better 25"),
    ],
)
def test_the_rules_find(text: str, breach: str) -> None:
    assert Sentence(Path("page.md"), 1, text).breaches() == [breach]


@pytest.mark.parametrize(
    "text",
    ["The server reads the query again.", "There is no key.", "Which call is it?", "What callfold is"],
)
def test_the_rules_let_pass(text: str) -> None:
    assert Sentence(Path("page.md"), 1, text).breaches() == []
