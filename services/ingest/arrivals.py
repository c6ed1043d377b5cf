"""Arrivals: sorts records into events and bad records."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from aiokafka import ConsumerRecord as Record

from shared.calls.event import Event, InvalidEvent, read
from shared.store.changes import Refused
from shared.store.quarantine import BadRecord

Arrival = tuple[Record, Event]
"""An event and the record it came in."""
SLICE_RECORDS: Final = 250


async def sort_out(records: Sequence[Record], now: datetime) -> tuple[list[Arrival], list[BadRecord]]:
    """Returns the events and the bad records. Between slices it yields to the batch being stored.

    Headers are ignored: clients, registries and connectors put any bytes there. A record without a value is
    neither: it is a tombstone of Kafka's log compaction, and there is nothing to store."""
    arrivals: list[Arrival] = []
    bad_records: list[BadRecord] = []
    for start in range(0, len(records), SLICE_RECORDS):
        for record in records[start : start + SLICE_RECORDS]:
            if record.value is None:
                continue
            try:
                arrivals.append((record, read(record.value, now)))
            except InvalidEvent as error:
                bad_records.append(BadRecord(record, str(error), error.rule))
        await asyncio.sleep(0)
    return arrivals, bad_records


def refused_records(arrivals: Sequence[Arrival], refused: Sequence[Refused]) -> list[BadRecord]:
    """The bad records of the refused events."""
    record_of = {id(event): record for record, event in arrivals} if refused else {}
    return [BadRecord(record_of[id(event)], reason) for event, reason in refused]
