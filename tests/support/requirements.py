"""The packages that a requirement brings with it, by the metadata of installed packages."""

from collections.abc import Mapping
from importlib.metadata import requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def needed(requirement: Requirement, environment: Mapping[str, str] | None = None) -> set[str]:
    """The dependencies of a requirement, and theirs. `environment` replaces markers of this Python."""
    found: set[str] = set()
    waiting = [requirement]
    while waiting:
        one = waiting.pop()
        for extra in {"", *one.extras}:
            for text in requires(one.name) or ():
                further = Requirement(text)
                marker = further.marker
                if marker is None or marker.evaluate({**(environment or {}), "extra": extra}):
                    name = canonicalize_name(further.name)
                    if name not in found or further.extras:
                        found.add(name)
                        waiting.append(further)
    return found
