"""Waiting for a condition: every wait has a deadline, and looks less often the longer it takes."""

import time
from collections.abc import Iterator

FIRST_PAUSE_SECONDS = 0.02


def attempts(seconds: float, *, longest: float = 0.25) -> Iterator[float]:
    """Yields, until `seconds` have passed, how long to sleep before the next look; at least once."""
    deadline = time.monotonic() + seconds
    pause = FIRST_PAUSE_SECONDS
    while True:
        yield pause
        if time.monotonic() >= deadline:
            return
        pause = min(pause * 1.5, longest)
