"""The breaker: many invalid records indicate a faulty producer, and the quarantine must not fill with a whole
topic.

The breaker refuses the batch, and the writer pauses until ingest is restarted.
"""

from collections import deque


class TooManyBadRecords(Exception):
    """The share of invalid records in the window exceeds the limit. The text gives both numbers."""


class Breaker:
    """Watches the most recent batches, as many as hold at least `window_records` records."""

    def __init__(self, window_records: int, share: float) -> None:
        """`share` is the largest share of invalid records in the window, from 0 to 1. With 1, the breaker
        never opens."""
        self._window_records = window_records
        self._share = share
        self._batches: deque[tuple[int, int]] = deque()

    def check(self, records: int, bad_records: int) -> None:
        """Raises `TooManyBadRecords` if the batch may not be stored."""
        seen = records + sum(count for count, _ in self._batches)
        bad = bad_records + sum(count for _, count in self._batches)
        if bad_records and seen >= self._window_records and bad > self._share * seen:
            raise TooManyBadRecords(f"{bad:,} of the last {seen:,} records are not valid events")

    def stored(self, records: int, bad_records: int) -> None:
        """Adds a stored batch to the window."""
        self._batches.append((records, bad_records))
        seen = sum(count for count, _ in self._batches)
        while seen - self._batches[0][0] >= self._window_records:
            seen -= self._batches.popleft()[0]
