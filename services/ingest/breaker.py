"""The breaker: many bad records mean a faulty producer, and the quarantine must not take in a whole topic.

The breaker refuses the batch, and the writer pauses until it is started again.
"""

from collections import deque


class TooManyBadRecords(Exception):
    """More records of the window are bad than may be; the text says how many, and of how many."""


class Breaker:
    """Watches the last records: at least so many, as the batches bring them."""

    def __init__(self, window_records: int, share: float) -> None:
        """`share` is the most of the window that may be bad, from 0 to 1: with 1 it never opens."""
        self._window_records = window_records
        self._share = share
        self._batches: deque[tuple[int, int]] = deque()

    def check(self, records: int, bad_records: int) -> None:
        """Raises `TooManyBadRecords` if the batch may not be stored."""
        seen = records + sum(count for count, _ in self._batches)
        bad = bad_records + sum(count for _, count in self._batches)
        if bad_records and seen >= self._window_records and bad > self._share * seen:
            raise TooManyBadRecords(f"{bad:,} of the last {seen:,} records are no events that can be taken")

    def stored(self, records: int, bad_records: int) -> None:
        """A batch was stored: it is part of the window from now on."""
        self._batches.append((records, bad_records))
        seen = sum(count for count, _ in self._batches)
        while seen - self._batches[0][0] >= self._window_records:
            seen -= self._batches.popleft()[0]
