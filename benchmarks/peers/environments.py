"""The environment of a peer: a virtual environment with pinned packages, and jars from Maven's repository."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import requests
from jgo.config import GlobalSettings
from jgo.maven import MavenContext

INSTALL_SECONDS: Final = 1200


class NotInstalled(Exception):
    """A peer's packages could not be installed. The text is the reason, in one line."""


def python_with(folder: Path, requirements: Sequence[str]) -> Path:
    """The interpreter of an environment that has these packages. It is made, or used as it is if it was made
    from the same list. Raises NotInstalled."""
    python = folder / "bin" / "python"
    made_from = folder / "requirements.txt"
    wanted = "".join(f"{requirement}\n" for requirement in requirements)
    if made_from.exists() and made_from.read_text() == wanted:
        return python
    _run([sys.executable, "-m", "venv", "--clear", str(folder)])
    _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements])
    made_from.write_text(wanted)
    return python


def jars(coordinates: Sequence[str]) -> list[Path]:
    """The paths of these artifacts, downloaded where they are missing. Raises NotInstalled."""
    context = MavenContext(repo_cache=GlobalSettings.load().repo_cache, timeout=60)
    paths = []
    for coordinate in coordinates:
        group, artifact, version = coordinate.split(":")
        try:
            paths.append(context.project(group, artifact).at_version(version).artifact().resolve())
        except (requests.RequestException, RuntimeError, OSError) as error:
            raise NotInstalled(f"{coordinate} could not be downloaded ({type(error).__name__})") from error
    return paths


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"not installed within {INSTALL_SECONDS} s") from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise NotInstalled(f"not installed: {last}")
