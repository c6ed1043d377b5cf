"""Pure tests need no server and start no process: `./check --pure` runs them alone, in seconds.

A test is pure unless it requests `running`, also through other fixtures, or has one of the markers below. In
every run, a pure test that starts a process fails. This keeps the markers complete."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest

SERVERS: Final = "running"
IMPURE: Final = ("processes", "containers", "storm")
_STARTS: Final = frozenset({"subprocess.Popen", "os.posix_spawn", "os.fork", "os.forkpty", "os.exec"})

_starts_are_faults = False


def is_pure(item: pytest.Item) -> bool:
    """Whether the test needs no server and starts no process, by its fixtures and markers."""
    if any(item.get_closest_marker(marker) for marker in IMPURE):
        return False
    return SERVERS not in getattr(item, "fixturenames", ())


@contextmanager
def no_process() -> Iterator[None]:
    """Makes the test fail if it starts a process within the block."""
    global _starts_are_faults
    _starts_are_faults = True
    try:
        yield
    finally:
        _starts_are_faults = False


def watch_starts() -> None:
    """Call this once: Python cannot remove an audit hook."""
    sys.addaudithook(_fail_at_a_start)


def _fail_at_a_start(event: str, arguments: tuple[Any, ...]) -> None:
    if _starts_are_faults and event in _STARTS:
        pytest.fail(f"{event} of {arguments[:1]} in a pure test: mark it with pytest.mark.processes")
