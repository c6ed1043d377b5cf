"""Pure tests need no server and start no process: `./check --pure` runs them alone, in seconds.

A test is pure unless it requests `running`, also through other fixtures, or has one of the markers below. In
every run a pure test that starts a process fails: so the markers stay complete.
"""

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
    """Whether the test says of itself that it needs no server and starts no process."""
    if any(item.get_closest_marker(marker) for marker in IMPURE):
        return False
    return SERVERS not in getattr(item, "fixturenames", ())


@contextmanager
def no_process() -> Iterator[None]:
    """Within the block the start of a process fails the test."""
    global _starts_are_faults
    _starts_are_faults = True
    try:
        yield
    finally:
        _starts_are_faults = False


def watch_starts() -> None:
    """To be called once: Python can't forget an audit hook."""
    sys.addaudithook(_fail_at_a_start)


def _fail_at_a_start(event: str, arguments: tuple[Any, ...]) -> None:
    if _starts_are_faults and event in _STARTS:
        pytest.fail(f"{event} of {arguments[:1]} in a pure test: mark it with pytest.mark.processes")
