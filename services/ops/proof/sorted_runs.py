"""The sort of more entries than memory holds.

Entries gather in memory. Each full list is sorted and appended to a temporary file as a run; a merge reads
all runs side by side. PostgreSQL could sort as well, but a command that only reads would then need the right
to create temporary tables, and would use the disk of a live server.
"""

import heapq
import os
import tempfile
from collections.abc import Iterator
from typing import IO, Final, Self

from services.ops.terminal.failure import Failure

RUN_ENTRIES: Final = 200_000
READ_ENTRIES: Final = 256
"""Entries of a run that a merge has in memory."""


class SortedRuns:
    """Entries of one length, in the order of their bytes. Of the entries with the same first
    `identity_length` bytes, only the greatest is kept. A context manager, because it may have a file."""

    def __init__(self, entry_length: int, identity_length: int) -> None:
        self._entry_length = entry_length
        self._identity_length = identity_length
        self._entries: list[bytes] = []
        self._runs: list[tuple[int, int]] = []
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, entry: bytes) -> None:
        """Adds an entry. Raises Failure if a temporary file is needed and cannot be written."""
        self._entries.append(entry)
        if len(self._entries) >= RUN_ENTRIES:
            self._write_run()

    def merged(self) -> Iterator[bytes]:
        """The kept entries in their order. No entry may be added afterwards."""
        self._entries.sort()
        read = [self._read_run(self._file, *run) for run in self._runs if self._file]
        return self._greatest(heapq.merge(self._entries, *read))

    def _write_run(self) -> None:
        self._entries.sort()
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="callfold-verify-")  # noqa: SIM115
            start = self._file.tell()
            self._file.writelines(self._greatest(iter(self._entries)))
            self._file.flush()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise Failure(
                f"The records cannot be sorted in a temporary file: {reason}. "
                "Set TMPDIR to a directory with room for 100 bytes per record of the topic."
            ) from None
        self._runs.append((start, self._file.tell()))
        self._entries = []

    def _read_run(self, file: IO[bytes], start: int, end: int) -> Iterator[bytes]:
        length = self._entry_length
        for place in range(start, end, READ_ENTRIES * length):
            part = os.pread(file.fileno(), min(READ_ENTRIES * length, end - place), place)
            for at in range(0, len(part), length):
                yield part[at : at + length]

    def _greatest(self, entries: Iterator[bytes]) -> Iterator[bytes]:
        last: bytes | None = None
        for entry in entries:
            if last is not None and last[: self._identity_length] != entry[: self._identity_length]:
                yield last
            last = entry
        if last is not None:
            yield last
