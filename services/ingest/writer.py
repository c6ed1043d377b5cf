"""The writer: one connection, which retries each batch until it is stored."""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final

from aiokafka import ConsumerRecord as Record

from services.ingest.arrivals import (
    Arrival,
    NamedCallOfSource,
    Origin,
    Sorted,
    bad_record,
    refused_records,
)
from services.ingest.batch_trace import UNTRACED, BatchTrace
from services.ingest.breaker import Breaker, TooManyBadRecords
from services.ingest.deliveries import place_all
from services.ingest.replacement import of_differing_calls
from shared.calls.event import Event
from shared.database.connection import REFUSAL_TYPES, Connection
from shared.database.faults import PASSING_TYPES, is_of_node_in_copy
from shared.database.loggable import loggable
from shared.database.patient_connection import GENERIC_PLANS, PatientConnection
from shared.database.timeouts import OWN_LOCK_TIMEOUT
from shared.in_halves import in_halves
from shared.outage import Outage
from shared.settings.ingest import IngestSettings
from shared.store.batch import Overtaken, TooLarge, read_known, write
from shared.store.changes import Changes, changes, group
from shared.store.quarantine import BadRecord
from shared.store.zone_rules import warn_of_other_rules

logger = logging.getLogger("callfold.ingest")

REFUSALS_MAX: Final = 10
"""The most records of one batch that PostgreSQL may refuse. With more, the tables are at fault, not the
records."""

COPY_FAULTS_MAX: Final = 5
"""The attempts after which a COPY that fails on a node of Citus counts as refused. Such a fault does not tell
whether it is temporary."""

RETRY_REASONS: Final = ("overtaken", "too_large", "refused", "database")

SESSION: Final = {
    # Batches vary in size. A generic plan, which looks up each call by its key, suits all of them.
    "plan_cache_mode": GENERIC_PLANS,
    "jit": "off",
    "lock_timeout": OWN_LOCK_TIMEOUT,
    "idle_in_transaction_session_timeout": "60s",
    # The batch's offset is committed next, and then Kafka does not redeliver it: no crash may lose the batch.
    "synchronous_commit": "on",
}


class _Refused(Exception):
    """PostgreSQL refuses at least one of several records."""


class Writer:
    """Stores batches, one at a time, until `stop`. `waiting` is the reason why it cannot store now, or
    None."""

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
        self._replaced_by = replaced_by
        self.waiting: str | None = None
        self._settings = settings
        self._stored = stored
        self._retried = retried
        self._paused = paused
        self._stopping = asyncio.Event()
        self._breaker = Breaker(settings.breaker_records, settings.breaker_share)
        self._database = PatientConnection(
            settings,
            application_name="callfold-ingest",
            session=SESSION,
            once=partial(warn_of_other_rules, logger=logger),
        )
        self._outage = Outage(logger, "waits for the database", "the database answers again")
        self._not_stored: Sequence[BadRecord] = ()
        self._named: Collection[NamedCallOfSource] = ()
        self._origins: Mapping[int, Origin] = {}
        self._refusals = 0
        self._records = self._bad_records = 0
        self._trace = UNTRACED

    async def write(self, found: Sorted, trace: BatchTrace = UNTRACED) -> bool:
        """Stores a batch, however long the database is unreachable. Returns false when a stop comes first.
        Raises permanent faults."""
        self._refusals = 0
        self._trace = trace
        arrivals: Sequence[Arrival] = found.arrivals
        bad_records: Sequence[BadRecord] = found.bad_records
        if found.unplaced:
            if not await self._place(found):
                return False
            arrivals, bad_records = found.arrivals, found.bad_records
        # A delivery that waits for another one is no fault of its producer.
        self._bad_records = sum(bad.waits_for is None for bad in bad_records)
        self._records = len(arrivals) + self._bad_records
        self._not_stored, self._named, self._origins = bad_records, found.named, found.origins
        stored = all(await in_halves(arrivals, self._write, (TooLarge, _Refused)))
        if stored:
            self._breaker.stored(self._records, self._bad_records)
        return stored

    def stop(self) -> None:
        """Ends the waits. A batch that the current attempt does not store stays unstored."""
        self._stopping.set()

    def close(self) -> None:
        """Closes the connection. The server rolls back an uncommitted transaction."""
        self._database.close()

    async def _place(self, found: Sorted) -> bool:
        """Gives unplaced facts their organization. Returns false when a stop comes first. Raises permanent
        faults."""
        while not self._stopping.is_set():
            try:
                await place_all(await self._database.opened(), found, datetime.now(UTC))
            except PASSING_TYPES as fault:
                reason = self._database.failed(fault)
                self._retried("database")
                self.waiting = f"waits for the database: {reason}"
                self._outage.begin(reason)
            else:
                return True
            await self._database.pause(self._stopping)
        return False

    async def _write(self, arrivals: Sequence[Arrival]) -> bool:
        """Stores a part of the batch, with the bad records that no earlier part has stored. Returns false
        when a stop comes first. Raises TooLarge and _Refused for a part that must be halved, and permanent
        faults."""
        copy_faults = 0
        while not self._stopping.is_set():
            bad_records = self._not_stored
            try:
                with self._trace.step("try"):
                    stored = await self._store(await self._database.opened(), arrivals, bad_records)
            except Overtaken as overtaken:
                self.waiting = None
                self._retried("overtaken")
                logger.info("retries the batch: %s", overtaken)
            except TooManyBadRecords as too_many:
                self.waiting = f"pauses: {too_many}"
                self._paused()
                first = bad_records[0] if bad_records else None
                logger.error(
                    "pauses: %s; the first: %s; fix the producer, or set CALLFOLD_BREAKER_SHARE=1 to "
                    "quarantine them, and restart ingest",
                    too_many,
                    (first.rule or first.reason) if first else "its organization does not accept it",
                )
                await self._stopping.wait()
            except TooLarge as too_large:
                self.waiting = None
                self._retried("too_large")
                self._database.succeeded()
                logger.info("splits a batch in half: %s", too_large)
                raise
            except REFUSAL_TYPES as refusal:
                if not self._database.is_open:  # the connection is refused, not a record
                    raise
                self._quarantine_refused(arrivals, refusal)
                arrivals = ()
                continue
            except PASSING_TYPES as fault:
                copy_faults += is_of_node_in_copy(fault)
                if copy_faults >= COPY_FAULTS_MAX:
                    self._quarantine_refused(arrivals, fault)
                    arrivals, copy_faults = (), 0
                    continue
                reason = self._database.failed(fault)
                self._retried("database")
                self.waiting = f"waits for the database: {reason}"
                self._outage.begin(reason)
            else:
                self.waiting = None
                self._database.succeeded()
                self._outage.end()
                self._not_stored = self._named = ()
                self._tell(arrivals, bad_records, stored)
                return True
            await self._database.pause(self._stopping)
        return False

    async def _store(
        self, connection: Connection, arrivals: Sequence[Arrival], bad_records: Sequence[BadRecord]
    ) -> Changes:
        now = datetime.now(UTC)
        with self._trace.step("read"):
            organizations, touched = await read_known(connection, group(event for _, event in arrivals))
        with self._trace.step("fold"):
            batch = changes(
                touched,
                organizations,
                now=now,
                create_organizations=self._settings.unknown_organizations == "create",
                replace=self._replaced_by is not None,
            )
        # The breaker counts the whole batch, of which this may be a part. An event that is too old, or beyond
        # the limit of its call, does not indicate a faulty producer.
        self._breaker.check(self._records, self._bad_records + batch.of_unknown_organizations)
        with self._trace.step("write"):
            bad_records = [*bad_records, *refused_records(arrivals, batch.refused, self._origins)]
            await write(
                connection,
                batch,
                bad_records,
                now=now,
                named=self._named,
                actor=self._replaced_by or "ingest",
                compact_payloads=self._settings.compact_payloads,
            )
        return of_differing_calls(batch, touched) if self._replaced_by is not None else batch

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

    def _quarantine_refused(self, arrivals: Sequence[Arrival], refusal: Exception) -> None:
        """Quarantines the record that PostgreSQL refuses. Raises _Refused while it is one of several, and the
        refusal itself if the records are not the cause. No event is known to reach this code, except through
        a constraint that an operator added to a table."""
        self.waiting = None
        self._retried("refused")
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


def _call_of(event: Event) -> dict[str, object]:
    """The ids of an event's call, for a log line."""
    return {"organization_id": event.organization_id, "call_id": event.call_id}


def place(record: Record) -> dict[str, object]:
    """The position of a record, for a log line."""
    return {"topic": record.topic, "partition": record.partition, "offset": record.offset}
