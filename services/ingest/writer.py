"""The writer: stores each batch, on a distributed database over a lane to each of its servers."""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from services.ingest.arrivals import Arrival, Sorted
from services.ingest.batch_trace import UNTRACED, BatchTrace
from services.ingest.breaker import Breaker, TooManyBadRecords
from services.ingest.deliveries import place_all
from services.ingest.lane import Lane, Reports, Share, place
from services.ingest.shard_directory import ShardDirectory
from shared.calls.event import Event
from shared.database.connection import Connection
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
        self._stored, self._retried, self._paused = stored, retried, paused
        self._stopping = asyncio.Event()
        self._breaker = Breaker(settings.breaker_records, settings.breaker_share)
        self._records = self._bad_records = 0
        self._of_unknown: dict[str, int] = {}
        """Records of unknown organizations that each lane is about to store."""
        self._is_paused = False
        self._trace = UNTRACED
        self._home = self._new_lane(settings.database_url)
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
        if self._home.is_distributed is None and not await self._home.patiently(_nothing):
            return False
        if found.unplaced and not await self._home.patiently(
            lambda connection: place_all(connection, found, datetime.now(UTC))
        ):
            return False
        # A delivery that waits for another one is no fault of its producer.
        self._bad_records = sum(bad.waits_for is None for bad in found.bad_records)
        self._records = len(found.arrivals) + self._bad_records
        self._of_unknown.clear()
        batch = Share(found.arrivals, found.bad_records, found.named, found.origins)
        if self._home.is_distributed:
            missing = await self._write_by_lanes(batch)
        else:
            missing = await self._home.write(batch, trace, None)
        if missing is not None:
            return False
        self._breaker.stored(self._records, self._bad_records)
        return True

    def stop(self) -> None:
        """Ends the waits. A batch that the current attempt does not store stays unstored."""
        self._stopping.set()

    def close(self) -> None:
        """Closes the connections. The servers roll back uncommitted transactions."""
        for lane in self._lanes.values():
            lane.close()

    async def _write_by_lanes(self, batch: Share) -> Share | None:
        """Stores the shares of the servers at the same time. The first connection stores the share of a
        server that is unreachable or has left Citus, or whose shards were split: Citus passes it on to where
        they are now. Returns the part that a stop leaves unstored; otherwise None."""
        if not await self._learn(batch):
            return batch
        shares = self._shares(batch)
        missing = await self._together(shares)
        if not await self._home.patiently(self._directory.confirm):
            return batch
        left: list[Share] = []
        for (url, share), unstored in zip(shares.items(), missing, strict=True):
            if unstored is not None and self._lanes[url].is_given_up:
                self._directory.avoid(url)
            elif unstored is not None or not self._directory.is_there(url):
                self._directory.forget()
            else:
                continue
            left.append(share if unstored is None else unstored)
        if not left:
            return None
        rest = replace(
            batch,
            arrivals=[arrival for share in left for arrival in share.arrivals],
            bad_records=[bad for share in left for bad in share.bad_records],
            named=[named for share in left for named in share.named],
        )
        return await self._home.write(rest, self._trace, None)

    async def _learn(self, batch: Share) -> bool:
        """Asks for the places of the batch's organizations. Returns false when a stop comes first."""
        organizations = {event.organization_id for _, event in batch.arrivals}
        now_seconds = time.monotonic()
        if self._directory.knows(organizations, now_seconds):
            return True
        if not await self._home.patiently(
            lambda connection: self._directory.learn(connection, organizations, now_seconds)
        ):
            return False
        for url in self._lanes.keys() - self._directory.urls - {self._settings.database_url}:
            self._lanes.pop(url).close()
        return True

    def _shares(self, batch: Share) -> dict[str, Share]:
        """The share of each server, by its URL. The first one also has all that belongs to no call."""
        arrivals: defaultdict[str, list[Arrival]] = defaultdict(list)
        for arrival in batch.arrivals:
            arrivals[self._directory.url_of(arrival[1].organization_id)].append(arrival)
        first = next(iter(arrivals), self._settings.database_url)
        shares = {url: Share(some, origins=batch.origins) for url, some in arrivals.items()}
        return shares | {first: replace(batch, arrivals=arrivals[first])}

    async def _together(self, shares: Mapping[str, Share]) -> Sequence[Share | None]:
        """Stores each share by the lane of its server, and returns the unstored parts. Raises the first
        permanent fault."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._write_share(url, share)) for url, share in shares.items()]
        except ExceptionGroup as faults:
            raise faults.exceptions[0] from None  # the group contains it: a log would follow both for ever
        return [task.result() for task in tasks]

    async def _write_share(self, url: str, share: Share) -> Share | None:
        if url not in self._lanes:
            self._lanes[url] = self._new_lane(url, is_one_of_several=True)
        try:
            return await self._lanes[url].write(share, self._trace, self._directory.shard_of)
        except Exception:
            self.close()  # the end of another lane would wait for a server that does not answer
            raise

    def _new_lane(self, url: str, *, is_one_of_several: bool = False) -> Lane:
        return Lane(
            self._settings.model_copy(update={"database_url": url}),
            Reports(partial(self._check, url), partial(self._tell, url), self._retried, self._pause),
            self._stopping,
            replaced_by=self._replaced_by,
            is_one_of_several=is_one_of_several,
        )

    def _check(self, url: str, of_unknown_organizations: int) -> None:
        """Raises TooManyBadRecords if a part of the batch may not be stored. The breaker counts the whole
        batch, as far as its lanes have read it."""
        self._of_unknown[url] = of_unknown_organizations
        self._breaker.check(self._records, self._bad_records + sum(self._of_unknown.values()))

    def _pause(self, too_many: TooManyBadRecords, bad_records: Sequence[BadRecord]) -> None:
        """Reports that the breaker is open. Several lanes may find that."""
        if self._is_paused:
            return
        self._is_paused = True
        self._paused()
        first = bad_records[0] if bad_records else None
        logger.error(
            "pauses: %s; the first: %s; fix the producer, or set CALLFOLD_BREAKER_SHARE=1 to "
            "quarantine them, and restart ingest",
            too_many,
            (first.rule or first.reason) if first else "its organization does not accept it",
        )

    def _tell(
        self, url: str, arrivals: Sequence[Arrival], bad_records: Sequence[BadRecord], stored: Changes
    ) -> None:
        """Reports the changes of a committed transaction of a lane."""
        self._of_unknown.pop(url, None)
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


async def _nothing(_connection: Connection) -> None:
    """Connects."""


def _call_of(event: Event) -> dict[str, object]:
    """The ids of an event's call, for a log line."""
    return {"organization_id": event.organization_id, "call_id": event.call_id}
