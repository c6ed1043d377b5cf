"""The `__init__.py` of each package describes its contents and has no code."""

import ast
import re
from pathlib import Path

import pytest

from tests.support.repository import ROOT

PACKAGES = sorted(
    init.parent.relative_to(ROOT)
    for top in ("services", "shared")
    for init in (ROOT / top).rglob("__init__.py")
    if init.parent.name != "versions"
)


@pytest.mark.parametrize("package", PACKAGES, ids=str)
def test_a_package_names_its_files_and_has_no_code(package: Path) -> None:
    module = ast.parse((ROOT / package / "__init__.py").read_text())
    documented = ast.get_docstring(module) or ""
    assert len(module.body) == 1, "a docstring, and nothing else"
    named = set(re.findall(r"`([a-z_]+)`", documented))
    files = {path.stem for path in (ROOT / package).glob("*.py")} - {"__init__", "__main__"}
    assert files - named == set(), "files that the docstring does not name"
