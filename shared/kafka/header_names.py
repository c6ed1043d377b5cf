"""Header names that are not UTF-8.

Brokers accept any bytes as a header's name, and a producer in C may send any. But aiokafka raises when it
decodes such a name. It would raise at each fetch, so one record would block the partition forever. This
module decodes such a name so that it stays distinguishable (`surrogateescape`), and the record is read like
any other.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from aiokafka.consumer import fetcher
from aiokafka.record import default_records, memory_records

from shared.upstream import expect_parts

_PythonRecords: Final[Any] = getattr(memory_records, "_MemoryRecordsPy", object)


def read_any_header_name() -> None:
    """Makes this process's consumers read such records. aiokafka offers no hook for it. Raises
    UpstreamChanged."""
    expect_parts("aiokafka", fetcher, "MemoryRecords")
    expect_parts("aiokafka", memory_records, "_MemoryRecordsPy")
    expect_parts("aiokafka", default_records, "_DefaultRecordBatchPy")
    expect_parts("aiokafka", _PythonRecords(b""), "_next_slice", "next_batch")
    batch = default_records._DefaultRecordBatchPy
    expect_parts("aiokafka", batch, "_maybe_uncompress", "__next__")
    expect_parts("aiokafka", batch(bytes(batch.HEADER_STRUCT.size)), "_buffer")
    fetcher.MemoryRecords = _Records


class _Records(_PythonRecords):  # type: ignore[misc]
    """A fetched range of a partition. It is cut into batches here, which aiokafka decodes."""

    def next_batch(self) -> Any:
        batch_bytes = self._next_slice
        batch = super().next_batch()
        return batch if batch is None else _Batch(batch, batch_bytes)


class _Batch:
    """A batch that falls back to the slow reader at the first record that the fast one cannot decode."""

    def __init__(self, batch: Any, batch_bytes: memoryview) -> None:
        self._batch = batch
        self._bytes = batch_bytes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        read = 0
        try:
            for record in self._batch:
                yield record
                read += 1
        except UnicodeDecodeError:
            slow = default_records._DefaultRecordBatchPy(self._bytes)
            slow._maybe_uncompress()
            slow._buffer = _Forgiving(slow._buffer)
            yield from islice(slow, read, None)


class _Forgiving(bytearray):
    """Bytes of which every part can be decoded."""

    def __getitem__(self, at: Any) -> Any:
        part = super().__getitem__(at)
        return _Forgiving(part) if isinstance(at, slice) else part

    def decode(self, encoding: str = "utf-8", errors: str = "surrogateescape") -> str:
        return super().decode(encoding, errors)
