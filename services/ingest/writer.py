"""The writer: stores each batch, on a distributed database over a lane to each of its servers."""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from services.ingest.arrivals import Arrival, Sorted
from services.ingest.batch_trace import UNTRACED, BatchTrace
from services.ingest.breaker import Breaker
from services.ingest.deliveries import place_all
from services.ingest.lane import Lane, Reports, Share, place
from services.ingest.shard_directory import ShardDirectory
from shared.calls.event import Event
from shared.settings.ingest import IngestSettings
from shared.store.changes import Changes
from shared.store.quarantine import BadRecord

logger = logging.getLogger("callfold.ingest")


class Writer:
    """Stores batches, one at a time, until `stop`."""

    def __init__(
        self,
        settings: IngestSettings,
        *,
        stored: Callable[[Changes, int], None],
        retried: Callable[[str], None] = lambda _reason: None,
        paused: Callable[[], None] = lambda: None,
        replaced_by: str | None = None,
    ) -> None:
        """`stored` is called after each commit, with its changes and the number of records that were not
        events. `retried` is called with the reason (`RETRY_REASONS`) for each retry of a batch, `paused` when
        the breaker opens. With `replaced_by`, the name of an operator, an event replaces the stored one of
        the same id."""
        self._settings = settings
        self._replaced_by = replaced_by
        self._stored = stored
        self._stopping = asyncio.Event()
        self._breaker = Breaker(settings.breaker_records, settings.breaker_share)
        self._records = self._bad_records = 0
        self._trace = UNTRACED
        self._reports = Reports(self._check, self._tell, retried, paused)
        self._home = Lane(settings, self._reports, self._stopping, replaced_by=replaced_by)
        self._lanes = {settings.database_url: self._home}
        self._directory = ShardDirectory(settings.database_url)

    @property
    def waiting(self) -> str | None:
        """The reason why it cannot store now, or None."""
        return next((lane.waiting for lane in self._lanes.values() if lane.waiting is not None), None)

    async def write(self, found: Sorted, trace: BatchTrace = UNTRACED) -> bool:
        """Stores a batch, however long the database is unreachable. Returns false when a stop comes first.
        Raises permanent faults."""
        self._trace = trace
        if found.unplaced and not await self._home.patiently(
            lambda connection: place_all(connection, found, datetime.now(UTC))
        ):
            return False
        # A delivery that waits for another one is no fault of its producer.
        self._bad_records = sum(bad.waits_for is None for bad in found.bad_records)
        self._records = len(found.arrivals) + self._bad_records
        batch = Share(found.arrivals, found.bad_records, found.named, found.origins)
        # The lane learns that with its first batch, which is stored all the same.
        write = self._write_by_lanes if self._home.is_distributed else self._write_whole
        stored = await write(batch)
        if stored:
            self._breaker.stored(self._records, self._bad_records)
        return stored

    def stop(self) -> None:
        """Ends the waits. A batch that the current attempt does not store stays unstored."""
        self._stopping.set()

    def close(self) -> None:
        """Closes the connections. The servers roll back uncommitted transactions."""
        for lane in self._lanes.values():
            lane.close()

    async def _write_whole(self, batch: Share) -> bool:
        return await self._home.write(batch, self._trace, None)

    async def _write_by_lanes(self, batch: Share) -> bool:
        """Stores what each server has of the batch, at the same time. The share of a server that is
        unreachable for long is placed again."""
        left = batch
        while not self._stopping.is_set():
            if not await self._learn(left):
                return False
            shares = self._by_lane(left)
            stored = await _together(
                [lane.write(share, self._trace, self._directory.shard_of) for lane, share in shares]
            )
            missing = [share for (_, share), is_stored in zip(shares, stored, strict=True) if not is_stored]
            if not missing:
                return True
            left = replace(
                batch,
                arrivals=[arrival for share in missing for arrival in share.arrivals],
                bad_records=[bad for share in missing for bad in share.bad_records],
                named=[named for share in missing for named in share.named],
            )
            self._directory.forget()
        return False

    async def _learn(self, batch: Share) -> bool:
        """Asks for the places of the batch's organizations. Returns false when a stop comes first."""
        organizations = {event.organization_id for _, event in batch.arrivals}
        now_seconds = time.monotonic()
        if self._directory.knows(organizations, now_seconds):
            return True
        return await self._home.patiently(
            lambda connection: self._directory.learn(connection, organizations, now_seconds)
        )

    def _by_lane(self, batch: Share) -> list[tuple[Lane, Share]]:
        """The share of each lane. The first one also has all that belongs to no call."""
        arrivals: defaultdict[str, list[Arrival]] = defaultdict(list)
        for arrival in batch.arrivals:
            arrivals[self._directory.url_of(arrival[1].organization_id)].append(arrival)
        shares = [Share(some, origins=batch.origins) for some in arrivals.values()] or [
            Share((), origins=batch.origins)
        ]
        shares[0] = replace(shares[0], bad_records=batch.bad_records, named=batch.named)
        lanes = [self._lane(url) for url in arrivals] or [self._home]
        return list(zip(lanes, shares, strict=True))

    def _lane(self, url: str) -> Lane:
        if url not in self._lanes:
            self._lanes[url] = Lane(
                self._settings.model_copy(update={"database_url": url}),
                self._reports,
                self._stopping,
                replaced_by=self._replaced_by,
                is_one_of_several=True,
            )
        return self._lanes[url]

    def _check(self, of_unknown_organizations: int) -> None:
        """Raises TooManyBadRecords if a part of the batch may not be stored. The breaker counts the whole
        batch."""
        self._breaker.check(self._records, self._bad_records + of_unknown_organizations)

    def _tell(self, arrivals: Sequence[Arrival], bad_records: Sequence[BadRecord], stored: Changes) -> None:
        """Reports the changes of a committed transaction."""
        quarantined = len(bad_records) + len(stored.refused)
        self._bad_records += stored.of_unknown_organizations
        self._stored(stored, len(bad_records))
        self._trace.stored(arrivals, bad_records, stored)
        if bad_records:
            first = bad_records[0]
            logger.warning(
                "quarantined %d records; the first: %s",
                quarantined,
                first.rule or first.reason,
                extra=place(first.record),
            )
        elif stored.refused:
            refused = stored.refused[0]
            logger.warning(
                "quarantined %d records; the first: %s",
                quarantined,
                refused.reason,
                extra=_call_of(refused.event),
            )
        if stored.conflicting:
            logger.warning(
                "dropped %d events whose id their call already has with other content: the producer must "
                "give each event of a call its own id",
                len(stored.conflicting),
                extra=_call_of(stored.conflicting[0]),
            )
        if noted := [event for event in stored.events if event.notes]:
            logger.warning(
                "left fields without a clear meaning out of %d events; the first: %s",
                len(noted),
                noted[0].notes[0],
                extra=_call_of(noted[0]),
            )
        logger.debug(
            "stored %d events of %d calls; %d duplicates, %d of deleted calls, %d invalid records",
            len(stored.events),
            len(stored.new_calls) + len(stored.changed_calls),
            stored.duplicates,
            len(stored.of_deleted_calls),
            quarantined,
        )


async def _together(shares: Sequence[Coroutine[Any, Any, bool]]) -> Sequence[bool]:
    """The results of all. The first exception cancels the others and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(share) for share in shares]
    except ExceptionGroup as faults:
        raise faults.exceptions[0] from None
    return [task.result() for task in tasks]


def _call_of(event: Event) -> dict[str, object]:
    """The ids of an event's call, for a log line."""
    return {"organization_id": event.organization_id, "call_id": event.call_id}
