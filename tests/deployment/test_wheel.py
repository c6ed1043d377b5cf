"""The wheel: an environment with the wheel and without the source tree runs the demo."""

import os
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.support.repository import ROOT

pytestmark = [pytest.mark.processes, pytest.mark.long]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel. It imports the dependencies from the environment of this test."""
    place = tmp_path_factory.mktemp("wheel")
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", place, ROOT)
    venv.create(place / "venv", with_pip=True)
    python = place / "venv" / "bin" / "python"
    _run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", *place.glob("*.whl"))
    # Python ignores .pth files in a directory that a .pth file adds, so the source tree is not on the path.
    (packages,) = (place / "venv" / "lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return place / "venv"


def test_the_demo_runs_from_the_wheel(environment: Path, tmp_path: Path) -> None:
    command = environment / "bin" / "callfold"
    assert _run(command, "--version", cwd=tmp_path) == f"callfold {version('callfold')}\n"
    output = _run(command, "demo", "--calls", "500", "--exit", cwd=tmp_path)
    assert "EXACT: every count and every call is proved." in output


def test_the_wheel_has_every_file_of_the_packages(environment: Path) -> None:
    (installed,) = (environment / "lib").glob("python*/site-packages")
    for package in ("services", "shared"):
        assert _files(installed / package) == _files(ROOT / package)


def _files(package: Path) -> set[Path]:
    return {
        path.relative_to(package) for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"
    }


def _run(*command: str | Path, cwd: Path | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CALLFOLD_")}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
