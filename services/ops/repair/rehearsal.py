"""The dry run of a replay: what batches would change, without writes."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from services.ingest.arrivals import Arrival, Sorted
from services.ingest.deliveries import place_all
from services.ingest.replacement import of_differing_calls
from shared.calls.event import Event
from shared.database.connection import Connection
from shared.in_halves import in_halves
from shared.store.batch import TooLarge, read_known
from shared.store.changes import CallKey, Changes, Written, changes, group

NO_ROW: Final = Written(version=0, revision=0)
"""Stands for the row of a call that an earlier batch would have stored."""


class Rehearsal:
    """Accepts batches as ingest's writer does. Events that an earlier batch would store count as stored."""

    def __init__(
        self,
        connection: Connection,
        *,
        create_organizations: bool,
        replace: bool = False,
        stored: Callable[[Changes, int], None],
    ) -> None:
        """`stored` is called with the changes of each batch and the number of records that are not events."""
        self._connection = connection
        self._create_organizations = create_organizations
        self._replace = replace
        self._stored = stored
        self._events: set[int] = set()
        self._calls: set[CallKey] = set()
        self._bad_records = 0

    async def write(self, found: Sorted) -> None:
        """Rehearses a batch. Raises asyncpg's errors."""
        await place_all(self._connection, found, datetime.now(UTC))
        self._bad_records = len(found.bad_records)
        await in_halves(found.arrivals, self._rehearse, TooLarge)

    async def _rehearse(self, arrivals: Sequence[Arrival]) -> None:
        """Rehearses a part of the batch; the first part reports the bad records. Raises TooLarge for more
        than one call."""
        events = [event for _, event in arrivals]
        fresh = [event for event in events if _digest(event) not in self._events]
        organizations, touched = await read_known(self._connection, group(fresh))
        batch = changes(
            touched,
            organizations,
            now=datetime.now(UTC),
            create_organizations=self._create_organizations,
            replace=self._replace,
        )
        if self._replace:
            batch = of_differing_calls(batch, touched)
        bad_records, self._bad_records = self._bad_records, 0
        self._stored(self._after_earlier_batches(batch, len(events) - len(fresh)), bad_records)
        self._events.update(map(_digest, batch.events))
        self._calls.update((call.organization_id, call.id) for call, _ in batch.new_calls)

    def _after_earlier_batches(self, batch: Changes, repeated: int) -> Changes:
        """The changes of a batch when earlier batches have stored `repeated` of its events. The database does
        not have the calls that earlier batches would have stored."""
        new, changed = [], list(batch.changed_calls)
        for call, when in batch.new_calls:
            if (call.organization_id, call.id) in self._calls:
                changed.append((call, when, NO_ROW))
            else:
                new.append((call, when))
        return replace(batch, duplicates=batch.duplicates + repeated, new_calls=new, changed_calls=changed)


def _digest(event: Event) -> int:
    """Stands for an event, because a whole topic has too many events to keep in memory."""
    return hash((event.organization_id, event.call_id, event.id))
