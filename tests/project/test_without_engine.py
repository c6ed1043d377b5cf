"""`./check --containers` on a machine without a container engine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.repository import ROOT

pytestmark = pytest.mark.processes


def test_the_last_line_says_what_was_not_tested(tmp_path: Path) -> None:
    """The run still passes, with the embedded servers."""
    skipped = "tests/deployment/test_observability.py"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--containers", "-p", "no:cacheprovider", skipped],
        cwd=ROOT,
        env={**os.environ, "PATH": str(tmp_path)},  # no `docker` on it
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    *_, said, counts = done.stdout.splitlines()
    assert "2 skipped" in counts
    assert said.startswith("--containers: no Docker engine")
    assert said.endswith(f"and 2 tests of {skipped}.")
