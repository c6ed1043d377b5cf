"""The documentation site builds without a warning, and its pages load nothing from other servers."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.repository import ROOT

pytestmark = pytest.mark.processes

DOCS = ROOT / "docs"
ZENSICAL = Path(sys.executable).with_name("zensical")
_LOADED = re.compile(r"<(?:script|img|iframe)\b[^>]*\bsrc=\"?(https?:[^\s\">]+)")
_LINKED = re.compile(
    r"<link\b[^>]*\brel=\"?(?:stylesheet|preconnect|icon)\b[^>]*\bhref=\"?(https?:[^\s\">]+)"
)


def test_the_site_builds_without_a_warning_and_from_its_own_files(tmp_path: Path) -> None:
    shutil.copytree(DOCS, tmp_path / "docs")
    shutil.copy(ROOT / "zensical.toml", tmp_path)
    built = subprocess.run(
        [ZENSICAL, "build", "--strict"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert built.returncode == 0, re.sub(r"\x1b\[[\d;]*m", "", built.stdout)
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > len(list(DOCS.rglob("*.md")))
    for page in pages:
        text = page.read_text()
        assert _LOADED.findall(text) + _LINKED.findall(text) == [], page


def test_every_page_is_in_the_index_and_in_the_navigation() -> None:
    index = DOCS / "README.md"
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    decisions = {page for page in pages if page.startswith("explanation/decisions/")}
    dialects = {page for page in pages if page.startswith("reference/dialects/")}  # reference/dialects.md
    in_the_index = set(re.findall(r"\]\(([^)#]+\.md)", index.read_text()))
    assert in_the_index == pages - decisions - dialects - {"README.md"} | {"explanation/decisions/README.md"}
    assert set(re.findall(r'"([^"]+\.md)"', (ROOT / "zensical.toml").read_text())) == pages


def test_no_page_links_to_a_file_outside_of_the_site() -> None:
    links = [
        (str(page.relative_to(DOCS)), link)
        for page in DOCS.rglob("*.md")
        for link in re.findall(r"\]\((?!https?:|mailto:)([^)#\s]+)", page.read_text())
    ]
    assert links
    assert [
        (page, link) for page, link in links if not (DOCS / page / ".." / link).resolve().is_relative_to(DOCS)
    ] == []
