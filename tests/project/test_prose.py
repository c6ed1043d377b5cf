"""Pages, docstrings, comments and messages are written in plain English: CONTRIBUTING.md has the rules."""

from pathlib import Path

import pytest
import yaml

from tests.support.prose import Sentence, files, sentences_of
from tests.support.repository import ROOT


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
    ("file", "texts"),
    [
        ("docker-compose.yml", ["migrate builds it for all", "Short statements: compiling one costs more"]),
        (".env.example", ["Before real calls", "To change it later, change it in the database first"]),
        (".env.cluster", ["Three brokers."]),
        ("Dockerfile", ["Only wheels are installed: no compiler is needed."]),
        ("check", ["Hundreds of interpreters start here."]),
        (".ci/run", ["If they cannot be installed, those tests are skipped."]),
    ],
)
def test_the_rules_read_the_comments_of_scripts_and_settings(file: str, texts: list[str]) -> None:
    found = [sentence.text for sentence in sentences_of(ROOT / file)]
    assert ROOT / file in files()
    for text in texts:
        assert [sentence for sentence in found if sentence.startswith(text)], text


def test_the_rules_read_the_texts_of_alerts() -> None:
    alerts = ROOT / "deploy" / "observability" / "alerts.yml"
    rules = yaml.safe_load(alerts.read_text())["groups"][0]["rules"]
    read = " ".join(sentence.text for sentence in sentences_of(alerts))

    assert rules
    for rule in rules:
        for text in rule["annotations"].values():
            assert text in read, rule["alert"]


@pytest.mark.parametrize(
    "text",
    ["The server reads the query again.", "There is no key.", "Which call is it?", "What callfold is"],
)
def test_the_rules_let_pass(text: str) -> None:
    assert Sentence(Path("page.md"), 1, text).breaches() == []
