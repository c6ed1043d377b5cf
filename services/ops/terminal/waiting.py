"""Waiting for a condition: every wait has a deadline, and polls less often the longer it takes."""

import time
from collections.abc import Iterator

FIRST_PAUSE_SECONDS = 0.02


def attempts(seconds: float, *, longest: float = 0.25) -> Iterator[float]:
    """Yields the pause before the next attempt until `seconds` have passed; at least once."""
    deadline = time.monotonic() + seconds
    pause = FIRST_PAUSE_SECONDS
    while True:
        yield pause
        if time.monotonic() >= deadline:
            return
        pause = min(pause * 1.5, longest)
