"""The documentation site: it builds without a warning, and its pages load nothing from other servers."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.repository import ROOT

pytestmark = pytest.mark.processes

ZENSICAL = Path(sys.executable).with_name("zensical")
_LOADED = re.compile(r"<(?:script|img|iframe)\b[^>]*\bsrc=\"?(https?:[^\s\">]+)")
_LINKED = re.compile(
    r"<link\b[^>]*\brel=\"?(?:stylesheet|preconnect|icon)\b[^>]*\bhref=\"?(https?:[^\s\">]+)"
)


def test_the_site_builds_without_a_warning_and_from_its_own_files(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "zensical.toml", tmp_path)
    built = subprocess.run(
        [ZENSICAL, "build", "--strict"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert built.returncode == 0, re.sub(r"\x1b\[[\d;]*m", "", built.stdout + built.stderr)
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > len(list((ROOT / "docs").rglob("*.md")))
    for page in pages:
        text = page.read_text()
        assert _LOADED.findall(text) + _LINKED.findall(text) == [], page


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    links = set(re.findall(r"\]\(([^)#]+\.md)", index.read_text()))
    pages = {
        str(page.relative_to(index.parent))
        for page in index.parent.rglob("*.md")
        if page != index and (page.parent.name != "decisions" or page.name == "README.md")
    }
    assert links == pages
