"""A lane: one connection, which retries its share of each batch until it is stored."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Final

import asyncpg
from aiokafka import ConsumerRecord as Record

from services.ingest.arrivals import Arrival, NamedCallOfSource, Origin, bad_record, refused_records
from services.ingest.batch_trace import BatchTrace
from services.ingest.breaker import TooManyBadRecords
from services.ingest.replacement import of_differing_calls
from shared.database.connection import REFUSAL_TYPES, Connection
from shared.database.distributed import address_of
from shared.database.faults import PASSING_TYPES, is_of_node_in_copy
from shared.database.loggable import loggable
from shared.database.patient_connection import GENERIC_PLANS, PatientConnection, database_outage
from shared.database.timeouts import OWN_LOCK_TIMEOUT
from shared.in_halves import in_halves
from shared.settings.ingest import IngestSettings
from shared.store.batch import Overtaken, TooLarge, read_known, write
from shared.store.by_shard import ShardOf
from shared.store.changes import Changes, changes, group
from shared.store.quarantine import BadRecord
from shared.store.zone_rules import warn_of_other_rules

logger = logging.getLogger("callfold.ingest")

REFUSALS_MAX: Final = 10
"""The most records of one batch that PostgreSQL may refuse. With more, the tables are at fault, not the
records."""

COPY_FAULTS_MAX: Final = 5
"""The attempts after which rows are stored one by one, because a COPY fails on a node of Citus. Only the
fault of a row tells whether it is temporary, of the record, or of the tables."""

AWAY_SECONDS: Final = 15
"""How long a lane waits for one of several servers. Then another server, which may have its shards now, gets
its share."""

RETRY_REASONS: Final = ("overtaken", "too_large", "refused", "database")

SESSION: Final = {
    # Batches vary in size. A generic plan, which looks up each call by its key, suits all of them.
    "plan_cache_mode": GENERIC_PLANS,
    "jit": "off",
    # The stored events of a batch are read through a window, which would be a file.
    "work_mem": "64MB",
    "lock_timeout": OWN_LOCK_TIMEOUT,
    "idle_in_transaction_session_timeout": "60s",
    # The batch's offset is committed next, and then Kafka does not redeliver it: no crash may lose the batch.
    "synchronous_commit": "on",
}


@dataclass(frozen=True)
class Share:
    """The part of a batch that one lane stores. `origins` are those of deliveries, by the identity of their
    events."""

    arrivals: Sequence[Arrival] = ()
    bad_records: Sequence[BadRecord] = ()
    named: Collection[NamedCallOfSource] = ()
    origins: Mapping[int, Origin] = field(default_factory=dict)


@dataclass(frozen=True)
class Reports:
    """The calls by which a lane reports to its writer. `check` takes the number of records of unknown
    organizations that it is about to store, and raises TooManyBadRecords. `stored` is called after each
    commit, `retried` with one of `RETRY_REASONS`, and `paused` when the breaker opens."""

    check: Callable[[int], None]
    stored: Callable[[Sequence[Arrival], Sequence[BadRecord], Changes], None]
    retried: Callable[[str], None]
    paused: Callable[[TooManyBadRecords, Sequence[BadRecord]], None]


class _Refused(Exception):
    """PostgreSQL refuses at least one of several records."""


class Lane:
    """One connection. `waiting` is the reason why it cannot store now, or None."""

    def __init__(
        self,
        settings: IngestSettings,
        reports: Reports,
        stopping: asyncio.Event,
        *,
        replaced_by: str | None,
        is_one_of_several: bool = False,
    ) -> None:
        """With `replaced_by`, the name of an operator, an event replaces the stored one of the same id. One
        of several lanes waits `AWAY_SECONDS` for its server, and the only one waits until the stop."""
        self.waiting: str | None = None
        self._settings = settings
        self._reports = reports
        self._stopping = stopping
        self._replaced_by = replaced_by
        self._away_seconds = AWAY_SECONDS if is_one_of_several else float("inf")
        self._database = PatientConnection(
            settings,
            application_name="callfold-ingest",
            session=SESSION,
            once=None if is_one_of_several else partial(warn_of_other_rules, logger=logger),
        )
        server = address_of(settings.database_url) if is_one_of_several else None
        self._outage = database_outage(logger, server)
        self._not_stored: Sequence[BadRecord] = ()
        self._named: Collection[NamedCallOfSource] = ()
        self._origins: Mapping[int, Origin] = {}
        self._refusals = 0
        self._copy_faults = 0
        self._unreachable_since_seconds: float | None = None

    @property
    def is_distributed(self) -> bool | None:
        """Whether the database of the last connection was distributed; None before the first one."""
        return self._database.is_distributed

    async def write(self, share: Share, trace: BatchTrace, shard_of: ShardOf | None) -> Share | None:
        """Stores a share. Returns the part that is not stored: when a stop comes first, when the server of
        one of several lanes is unreachable, or when `shard_of` is outdated. Otherwise None. Raises permanent
        faults."""
        self._refusals, self._copy_faults = 0, 0
        self._not_stored, self._named, self._origins = share.bad_records, share.named, share.origins
        attempt = partial(self._write, trace=trace, shard_of=shard_of)
        parts = await in_halves(share.arrivals, attempt, (TooLarge, _Refused))
        missing = [part for part in parts if part is not None]
        if not missing:
            return None
        arrivals = [arrival for part in missing for arrival in part]
        return Share(arrivals, self._not_stored, self._named, share.origins)

    async def patiently(self, work: Callable[[Connection], Awaitable[None]]) -> bool:
        """Does `work` on the connection, however long the database is unreachable. Returns false when a stop
        comes first. Raises permanent faults."""
        while not self._stopping.is_set():
            try:
                await work(await self._database.opened())
            except PASSING_TYPES as fault:
                self._wait_for_database(fault)
            else:
                self._continue()
                return True
            await self._database.pause(self._stopping)
        return False

    def close(self) -> None:
        """Closes the connection. The server rolls back an uncommitted transaction."""
        self._database.close()

    def _wait_for_database(self, fault: Exception) -> None:
        reason = self._database.failed(fault)
        self._reports.retried("database")
        self.waiting = self._outage.begin(reason)
        if self._unreachable_since_seconds is None:
            self._unreachable_since_seconds = time.monotonic()

    def _answered(self) -> None:
        """Notes that the database is reachable."""
        self.waiting = None
        self._unreachable_since_seconds = None

    def _continue(self) -> None:
        """Notes that the database has done its part."""
        self._answered()
        self._database.succeeded()
        self._outage.end()

    @property
    def is_given_up(self) -> bool:
        """Whether the server of one of several lanes has been unreachable for long."""
        since = self._unreachable_since_seconds
        return since is not None and time.monotonic() - since > self._away_seconds

    async def _write(
        self, arrivals: Sequence[Arrival], *, trace: BatchTrace, shard_of: ShardOf | None
    ) -> Sequence[Arrival] | None:
        """Stores a part of the share, with the bad records that no earlier part has stored. Returns None; the
        part itself when it is not stored. Raises TooLarge and _Refused for a part that must be halved, and
        permanent faults."""
        while not self._stopping.is_set():
            bad_records = self._not_stored
            try:
                with trace.step("try"):
                    connection = await self._database.opened()
                    stored = await self._store(connection, arrivals, bad_records, trace, shard_of)
            except Overtaken as overtaken:
                self._answered()
                self._reports.retried("overtaken")
                logger.info("retries the batch: %s", overtaken)
            except TooManyBadRecords as too_many:
                self.waiting = f"pauses: {too_many}"
                self._reports.paused(too_many, bad_records)
                await self._stopping.wait()
            except TooLarge as too_large:
                self._answered()
                self._reports.retried("too_large")
                self._database.succeeded()
                logger.info("splits a batch in half: %s", too_large)
                raise
            except asyncpg.FeatureNotSupportedError as refusal:
                if shard_of is None:
                    raise
                # Citus finds organizations of several shards in a statement for one.
                self._answered()
                self._reports.retried("refused")
                self.close()
                logger.info("places the batch again: %s", loggable(refusal))
                break
            except REFUSAL_TYPES as refusal:
                if not self._database.is_open:  # the connection is refused, not a record
                    raise
                self._quarantine_refused(arrivals, refusal)
                arrivals = ()
                continue
            except PASSING_TYPES as fault:
                self._copy_faults += is_of_node_in_copy(fault)
                self._wait_for_database(fault)
                if self.is_given_up:
                    self.waiting = None
                    break
            else:
                self._continue()
                self._not_stored = self._named = ()
                self._reports.stored(arrivals, bad_records, stored)
                return None
            await self._database.pause(self._stopping)
        return arrivals

    async def _store(
        self,
        connection: Connection,
        arrivals: Sequence[Arrival],
        bad_records: Sequence[BadRecord],
        trace: BatchTrace,
        shard_of: ShardOf | None,
    ) -> Changes:
        now = datetime.now(UTC)
        with trace.step("read"):
            organizations, touched = await read_known(
                connection, group(event for _, event in arrivals), shard_of=shard_of
            )
        with trace.step("fold"):
            batch = changes(
                touched,
                organizations,
                now=now,
                create_organizations=self._settings.unknown_organizations == "create",
                replace=self._replaced_by is not None,
            )
        # An event that is too old, or beyond the limit of its call, does not indicate a faulty producer.
        self._reports.check(batch.of_unknown_organizations)
        with trace.step("write"):
            bad_records = [*bad_records, *refused_records(arrivals, batch.refused, self._origins)]
            await write(
                connection,
                batch,
                bad_records,
                now=now,
                named=self._named,
                actor=self._replaced_by or "ingest",
                compact_payloads=self._settings.compact_payloads,
                shard_of=shard_of,
                row_by_row=self._copy_faults >= COPY_FAULTS_MAX,
            )
        return of_differing_calls(batch, touched) if self._replaced_by is not None else batch

    def _quarantine_refused(self, arrivals: Sequence[Arrival], refusal: Exception) -> None:
        """Quarantines the record that PostgreSQL refuses. Raises _Refused while it is one of several, and the
        refusal itself if the records are not the cause. No event is known to reach this code, except through
        a constraint that an operator added to a table."""
        self._answered()
        self._reports.retried("refused")
        self._database.succeeded()
        self.close()
        if len(arrivals) > 1:
            raise _Refused from refusal
        self._refusals += 1
        if not arrivals or self._refusals > REFUSALS_MAX:
            raise refusal
        record, event = arrivals[0]
        logger.error(
            "quarantines a record that PostgreSQL refuses: %s",
            loggable(refusal),
            extra={**place(record), "organization_id": event.organization_id, "call_id": event.call_id},
        )
        refused = bad_record(
            record, event, f"PostgreSQL refuses it: {refusal}", "PostgreSQL refuses it", self._origins
        )
        self._not_stored = [*self._not_stored, refused]


def place(record: Record) -> dict[str, object]:
    """The position of a record, for a log line."""
    return {"topic": record.topic, "partition": record.partition, "offset": record.offset}
