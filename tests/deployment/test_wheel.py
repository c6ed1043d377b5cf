"""The wheel: an environment with the wheel and without the source tree runs the demo."""

import json
import os
import re
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support.repository import ROOT
from tests.support.requirements import needed

pytestmark = [pytest.mark.processes, pytest.mark.long]


@pytest.fixture(scope="module")
def environment() -> Iterator[Path]:
    """An environment with the wheel, and with no package that the wheel does not require."""
    with tempfile.TemporaryDirectory(prefix="callfold-wheel-") as folder:
        place = Path(folder)
        # As root, PostgreSQL runs as another user, who must be able to read its programs here.
        place.chmod(0o755)
        _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", place, ROOT)
        venv.create(place / "venv", with_pip=True)
        python = place / "venv" / "bin" / "python"
        _run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", *place.glob("*.whl"))
        (packages,) = (place / "venv" / "lib").glob("python*/site-packages")
        for name in needed(Requirement("callfold[embedded]")):
            _link(distribution(name), packages)
        yield place / "venv"


def _link(installed: Distribution, packages: Path) -> None:
    """Links what this Python has of a package into the folder `packages`."""
    for top in {
        file.parts[0] for file in installed.files or () if file.parts[0] not in ("..", "__pycache__")
    }:
        if not (packages / top).exists():
            (packages / top).symlink_to(str(installed.locate_file(top)))


def test_the_demo_runs_from_the_wheel(environment: Path, tmp_path: Path) -> None:
    command = environment / "bin" / "callfold"
    assert _run(command, "--version", cwd=tmp_path) == f"callfold {version('callfold')}\n"
    output = _run(command, "demo", "--calls", "500", "--exit", cwd=tmp_path)
    assert "EXACT: every count and every call is proved." in output
    assert "Each of the 50 calls of the SIP proxy (Kamailio) is as it was sent." in output
    assert "Each of the 25 calls of the vendor's webhooks (Twilio) is as it was sent." in output
    for arrived in (
        "topic calls +the call, completed",
        "GET /calls/stream +call.changed, completed",
        "webhook +call.completed, signature verified",
    ):
        assert re.search(rf"^{arrived} +\d+ *$", output, re.MULTILINE), output


@pytest.mark.storm  # two demos and a stack take most of a minute
def test_the_demo_runs_again_on_the_same_stack(environment: Path, tmp_path: Path) -> None:
    command = environment / "bin" / "callfold"
    _run(command, "up", "--detach", cwd=tmp_path)
    try:
        for run in (1, 2):
            result = json.loads(_run(command, "demo", "--calls", "100", "--exit", "--json", cwd=tmp_path))
            assert (result["exact"], result["differences"]) == (True, [])
            assert [one["calls"] for one in result["producers"]] == [85, 10, 5]
            assert [one["milliseconds"] is None for one in result["arrivals"]] == [False] * 3
            assert (result["proof"]["calls"], result["proof"]["tombstones"]) == (run * 100, run - 1)
    finally:
        _run(command, "down", cwd=tmp_path)


def test_the_wheel_has_every_file_of_the_packages(environment: Path) -> None:
    """It has the built console, and not what it is built from."""
    (installed,) = (environment / "lib").glob("python*/site-packages")
    for package in ("services", "shared"):
        assert _files(installed / package) == _files(ROOT / package)
    assert list((installed / "services/api/console/built").glob("assets/console-*.js"))


def _files(package: Path) -> set[Path]:
    return {
        path.relative_to(package)
        for path in package.rglob("*")
        if path.is_file() and path.suffix != ".pyc" and not path.is_relative_to(package / "api/console/web")
    }


def _run(*command: str | Path, cwd: Path | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CALLFOLD_")}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
