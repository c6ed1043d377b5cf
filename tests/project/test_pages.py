"""Every file, module, test, page and decision that a page, a comment or a docstring names exists."""

import os
import re
from collections.abc import Set
from functools import cache
from pathlib import Path

from tests.support.repository import ROOT

_SUFFIXES = (".md", ".py", ".yml", ".yaml", ".toml", ".sh")
_NAMES = ("Dockerfile", "check", "callfold", ".env.example", ".env.cluster")

_PATH = re.compile(
    r"(?<![\w./-])((?:shared|services|tests|benchmarks|docs|deploy|examples)/[\w*./-]*\w|[\w/]+\.py(?=`))"
)
_MODULE = re.compile(r"(?<![\w./-])((?:shared|services|tests|benchmarks)(?:\.\w+)+)")
_PROSE = re.compile(r"#.*|\"{3}(?:.|\n)*?\"{3}")
_TEST = re.compile(r"`(test_\w+)`")
_DECISION = re.compile(r"\b(D\d{1,3})\b")
_LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*(?:#[^)\s]+)?)\)")


def test_every_named_file_exists() -> None:
    sources = [f"/{path}" for path in _texts()]

    def exists(path: str) -> bool:
        return any(ROOT.glob(path)) or any(source.endswith(f"/{path}") for source in sources)

    assert [(page, path) for page, path in _named(_PATH) if not exists(path)] == []


def test_every_named_module_exists() -> None:
    assert [(page, name) for page, name in _named(_MODULE) if not _is_module(name)] == []


def test_every_named_test_exists() -> None:
    files = list(ROOT.glob("tests/**/test_*.py"))
    tests = {path.stem for path in files}.union(
        *(re.findall(r"def (test_\w+)", path.read_text()) for path in files)
    )
    assert [(page, name) for page, name in _named(_TEST) if name not in tests] == []


def test_every_link_leads_to_a_page_and_its_heading() -> None:
    missing = []
    for page, link in _named(_LINK, ".md"):
        target, _, anchor = link.partition("#")
        path = ROOT / page.parent / target if target else ROOT / page
        if not path.exists() or (anchor and anchor not in _anchors(path)):
            missing.append((page, link))
    assert missing == []


def test_decisions_have_numbers_of_their_own_and_the_index_lists_them() -> None:
    folder = ROOT / "docs" / "explanation" / "decisions"
    index = re.findall(r"^- \[(D\d+ .+?)\]\(", (folder / "README.md").read_text(), re.MULTILINE)
    titles = [
        title
        for page in folder.glob("*.md")
        for title in re.findall(r"^### (D\d+ .+)$", page.read_text(), re.MULTILINE)
    ]
    numbers = [title.split()[0] for title in titles]
    assert sorted(titles) == sorted(index)
    assert len(set(numbers)) == len(numbers)
    assert [(page, number) for page, number in _named(_DECISION) if number not in numbers] == []


def _named(pattern: re.Pattern[str], suffix: str | None = None) -> list[tuple[Path, str]]:
    """The matches of the pattern in the project's texts, each with the file that contains it."""
    named = [
        (path, name)
        for path, text in _texts().items()
        if suffix in (None, path.suffix)
        for name in pattern.findall(text)
    ]
    assert named
    return named


@cache
def _texts() -> dict[Path, str]:
    """Pages, configuration, and the comments and docstrings of sources, by their paths in the project."""
    texts = {}
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if not name.startswith((".", "__", "node_modules"))]
        for path in (Path(folder, name) for name in names):
            if path.suffix in _SUFFIXES or path.name in _NAMES:
                text = path.read_text()
                texts[path.relative_to(ROOT)] = (
                    "\n".join(_PROSE.findall(text)) if path.suffix == ".py" else text
                )
    return texts


def _is_module(name: str) -> bool:
    """Whether a dotted name is a package or a module, or one followed by a name that its text has."""
    path, attribute = ROOT, ""
    for part in name.split("."):
        if attribute or not ((path / part).is_dir() or (path / f"{part}.py").is_file()):
            attribute = attribute or part
        else:
            path /= part
    module = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return not attribute or (module.is_file() and attribute in module.read_text())


@cache
def _anchors(page: Path) -> Set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}
