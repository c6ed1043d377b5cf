"""Waiting for a condition, with a deadline and growing pauses."""

import time
from collections.abc import Iterator

FIRST_PAUSE_SECONDS = 0.02


def attempts(seconds: float, *, longest: float = 0.25) -> Iterator[float]:
    """Yields the pause before the next attempt, at least once and until `seconds` have passed."""
    deadline = time.monotonic() + seconds
    pause = FIRST_PAUSE_SECONDS
    while True:
        yield pause
        if time.monotonic() >= deadline:
            return
        pause = min(pause * 1.5, longest)
