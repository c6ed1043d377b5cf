"""The built console of this clone, and the tools that its tests need. Processes of one run take turns."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from services.api.console import build

AXE = build.WEB / "node_modules/axe-core/axe.min.js"


@contextmanager
def alone() -> Iterator[None]:
    """No other process of the tests builds or installs within the block."""
    generated = build.WEB / "generated"
    generated.mkdir(exist_ok=True)
    with (generated / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def ensure_built() -> None:
    """Builds the console, unless this clone has it as its sources are."""
    with alone():
        build.build_unless_current()


def axe() -> str:
    """The script of axe-core, which examines the accessibility of a page."""
    with alone():
        if not AXE.exists():
            build.install_tools()
        return AXE.read_text()
