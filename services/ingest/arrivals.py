"""What arrives: records, parted into those that are events and those that are not."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from aiokafka import ConsumerRecord as Record

from shared.changes import Arrival
from shared.event import InvalidEvent, read
from shared.quarantine import BadRecord, readable

SLICE_RECORDS: Final = 250


async def sort_out(records: Sequence[Record], now: datetime) -> tuple[list[Arrival], list[BadRecord]]:
    """The records that are events, and those that are not; between slices, the batch in hand goes on.

    A record without a value is neither: it is a tombstone of Kafka's compaction, and has nothing to store.
    """
    arrivals: list[Arrival] = []
    bad_records: list[BadRecord] = []
    for start in range(0, len(records), SLICE_RECORDS):
        for record in records[start : start + SLICE_RECORDS]:
            if record.value is None:
                continue
            try:
                if record.headers:
                    _check_headers(record)
                arrivals.append((record, read(record.value, now)))
            except InvalidEvent as error:
                bad_records.append(BadRecord(record, str(error), error.rule))
        await asyncio.sleep(0)
    return arrivals, bad_records


def _check_headers(record: Record) -> None:
    for name, value in record.headers:
        try:
            name.encode()
        except UnicodeEncodeError:
            sentence = f"the name of header {readable(name)!r} is not UTF-8"
            raise InvalidEvent(sentence, "the name of a header is not UTF-8") from None
        if value is None:
            raise InvalidEvent(f"header {name!r} is null", "a header is null")
        try:
            value.decode()
        except UnicodeDecodeError:
            raise InvalidEvent(f"header {name!r} is not UTF-8", "a header is not UTF-8") from None
