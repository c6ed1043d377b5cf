"""Writes as ingest does, in a separate process: a given number of transactions per second, each of a few
records. At SIGTERM it prints how many it committed.

    .venv/bin/python -m benchmarks.writing DATABASE_URL COMMITS_PER_SECOND large|small
"""

import asyncio
import random
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import cycle
from typing import Final
from uuid import UUID, uuid4

import msgspec
import uvloop

from benchmarks.history import LAST_DAY, ORGANIZATION, phone_number, small_organizations
from services.ingest.lane import SESSION
from shared.calls.event import Event, read
from shared.database.connection import Connection, connect
from shared.store.batch import read_known, write
from shared.store.changes import changes, group

CALLS_PER_COMMIT: Final = 10
NOW: Final = datetime(LAST_DAY.year, LAST_DAY.month, LAST_DAY.day, 12, tzinfo=UTC)


class Traffic:
    """Calls of the large organization, or of the small ones in turn: each batch starts some, and ends those
    that the organization's previous batch started."""

    def __init__(
        self, organizations: Sequence[UUID] = (ORGANIZATION,), calls: int = CALLS_PER_COMMIT
    ) -> None:
        self._organizations = cycle(organizations)
        self._calls = calls
        self._open: dict[UUID, list[UUID]] = {}
        self._chance = random.Random(1)

    def batch(self) -> Sequence[Event]:
        """The next batch."""
        organization_id = next(self._organizations)
        new = [uuid4() for _ in range(self._calls)]
        events = [
            self._event(organization_id, call_id, "call.completed", {"duration": 60, "cost": 0.75})
            for call_id in self._open.get(organization_id, ())
        ]
        for call_id in new:
            data = {"direction": "inbound", "phone_number_id": str(phone_number(self._chance.randrange(20)))}
            events.append(self._event(organization_id, call_id, "call.initiated", data))
        self._open[organization_id] = new
        return events

    def _event(self, organization_id: UUID, call_id: UUID, type_: str, data: Mapping[str, object]) -> Event:
        value = msgspec.json.encode(
            {
                "id": f"evt_{uuid4().hex}",
                "type": type_,
                "organization_id": organization_id,
                "call_id": call_id,
                "timestamp": NOW + timedelta(seconds=60 * (type_ == "call.completed")),
                "data": data,
            }
        )
        return read(value, NOW)


async def store(connection: Connection, events: Sequence[Event]) -> None:
    """Stores a batch like ingest. Raises asyncpg's errors."""
    organizations, touched = await read_known(connection, group(events))
    await write(connection, changes(touched, organizations, now=NOW), [], compact_payloads=True)


async def write_until_stopped(url: str, commits_per_second: float, organizations: Sequence[UUID]) -> int:
    """Writes calls of these organizations in turn until SIGTERM. Returns the number of transactions. Raises
    asyncpg's errors."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    connection = await connect(url, application_name="callfold-benchmark", settings=SESSION)
    traffic, commits, began = Traffic(organizations), 0, time.perf_counter()
    print("writes", flush=True)
    while not stop.is_set():
        await store(connection, traffic.batch())
        commits += 1
        try:
            pause_seconds = began + commits / commits_per_second - time.perf_counter()
            await asyncio.wait_for(stop.wait(), max(pause_seconds, 0))
        except TimeoutError:
            continue
    await connection.close()
    return commits


if __name__ == "__main__":
    of = {"large": [ORGANIZATION], "small": small_organizations()}[sys.argv[3]]
    print(uvloop.run(write_until_stopped(sys.argv[1], float(sys.argv[2]), of)))
