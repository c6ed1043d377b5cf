"""Checks the invariants after every commit, in a reader's fresh snapshot, and those at the end.

Between two steps nothing is written, so several statements see one state.
"""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from itertools import chain
from typing import Any, Final, NamedTuple
from uuid import UUID

from services.aggregator.reap import EVENT_ID
from services.api.database.counts_state import CountsState, counts_state
from services.ops.proof.proof import prove_connection
from services.ops.proof.statements import OF_ONE_OR_ALL
from shared.calls.event import InvalidEvent, read, read_stored
from shared.calls.fold import FINAL, fold
from shared.calls.local_time import local_hour
from shared.calls.named_call import named_call
from shared.calls.zones import time_zone
from shared.counts.cell import CALL_COLUMNS, Measures, call_row
from shared.counts.counted_sql import MEASURES
from shared.database.connection import Connection
from shared.store.changes import CallKey
from shared.store.quarantine import HAS_CONTENT
from tests.simulation.topic import NOW, Group

EventKey = tuple[UUID, UUID, str]


class Day(NamedTuple):
    """The counts of a day: the version that changed them last, the waiting deltas, and the sums of both."""

    version: int
    waiting: int
    sums: Sequence[Decimal] | None


NO_DAY: Final = Day(0, 0, None)
Days = dict[tuple[bool, date], Day]
RANK: Final = {"initiated": 0, "ringing": 1, "in_progress": 2} | dict.fromkeys(FINAL, 3)


class Watcher:
    """Remembers earlier snapshots, because some changes must never be undone."""

    def __init__(self, connection: Connection, group: Group) -> None:
        self._connection = connection
        self._group = group
        self._snapshot = ""
        self._passed = [0] * len(group.committed)
        self._ranks: dict[CallKey, int] = {}
        self._unsure: frozenset[CallKey] = frozenset()
        self._stored: set[EventKey] = set()
        self._ever_stored: set[EventKey] = set()
        self._deleted: set[CallKey] = set()
        self._ever_pruned: set[tuple[UUID]] = set()
        self._quarantined: set[tuple[int, int]] = set()
        self._counts: dict[UUID, dict[CountsState, Days]] = {}

    async def look(self) -> None:
        """Counts equal a recount, calls equal folds, and no state goes back."""
        snapshot = await self._connection.fetchval("SELECT pg_current_snapshot()::text")
        if snapshot == self._snapshot:
            return  # no writing transaction has ended
        self._snapshot = snapshot
        off = [
            tuple(row)
            for row in await self._connection.fetch(OF_ONE_OR_ALL.cells, None)
            if row[1] is not None
        ]
        assert not off, f"cells are off: {off}"
        await self._look_at_states()
        rows = await self._connection.fetch(_CALLS)
        others = await self._connection.fetchrow(_OTHERS)
        assert others is not None
        stored, deleted, quarantined, with_retention, contents = (set(some or ()) for some in others)
        erased = {key for key in contents if key in deleted}
        assert not erased, f"the quarantine has content of deleted calls: {erased}"
        self._ever_pruned |= with_retention
        assert deleted >= self._deleted, f"tombstones are gone: {self._deleted - deleted}"
        self._check_calls(rows, deleted)
        calls = {(row[0], row[1]) for row in rows}
        assert calls == {key[:2] for key in stored}, "a call without events, or events without their call"
        gone = self._stored - stored
        lost = [
            key
            for key in gone
            if key[:2] not in deleted and key[:1] not in self._ever_pruned and key[2] != EVENT_ID
        ]
        assert not lost, f"stored events are gone: {lost}"
        self._stored, self._deleted, self._quarantined = stored, deleted, quarantined
        self._ever_stored |= stored

    async def _look_at_states(self) -> None:
        """Equal states of an organization's counts have equal counts. Since an earlier state, only days
        changed that a newer version names, or on which deltas wait."""
        days: dict[UUID, Days] = {}
        for organization_id, livemode, on, version, waiting, sums in await self._connection.fetch(_DAYS):
            counted = Day(version, waiting, sums if any(sums) else None)
            days.setdefault(organization_id, {})[livemode, on] = counted
        for organization_id, now in days.items():
            (row,) = await self._connection.fetch(_STATE, organization_id)
            state, earlier = counts_state(row), self._counts.setdefault(organization_id, {})
            for before, seen in earlier.items():
                for day in {*now, *seen}:
                    then, today = seen.get(day, NO_DAY), now.get(day, NO_DAY)
                    is_same = state == before or (today.version <= before.version and not today.waiting)
                    assert not is_same or then.sums == today.sums, f"{day} changed from {before} to {state}"
            earlier[state] = now

    def look_at_offsets(self) -> None:
        """No committed offset is beyond a record that was not stored. An offset may go back: a batch commits
        late if its partition was revoked and reassigned during its processing."""
        for partition, committed in enumerate(self._group.committed):
            for record in self._group.topic.partitions[partition][self._passed[partition] : committed]:
                assert self._is_somewhere(record), f"passed over: {record}"
            self._passed[partition] = max(self._passed[partition], committed)

    @property
    def calls(self) -> Sequence[CallKey]:
        """The existing calls, in the order of their first appearance."""
        return list(self._ranks)

    async def sees_deltas(self) -> bool:
        """Whether deltas wait for an aggregator."""
        return bool(await self._connection.fetchval("SELECT EXISTS (SELECT 1 FROM daily_call_deltas)"))

    async def look_back(self) -> None:
        """At the end, when every record has been read, runs the full proof and looks for every record."""
        await self.look()
        proof = await prove_connection(self._connection)
        assert proof.exact, proof.differences
        assert proof.deltas == 0
        for record in chain(*self._group.topic.partitions):
            assert self._is_somewhere(record), f"lost: {record}"

    def _check_calls(self, rows: Sequence[Any], deleted: set[CallKey]) -> None:
        ranks: dict[CallKey, int] = {}
        for *row, zone, payloads in rows:
            key = row[0], row[1]
            assert key not in deleted, f"a deleted call is back: {key}"
            call = fold([read_stored(payload) for payload in payloads])
            expected = [*call_row(call, local_hour(call.created_at, time_zone(zone)))]
            assert row == expected, f"a call is not the fold of its events: {row}, must be {expected}"
            ranks[key] = RANK[call.status]
            if key not in self._unsure:
                assert ranks[key] >= self._ranks.get(key, 0), f"a status went back: {row}"
            # A provisional or synthetic end may be taken back.
            unsure = call.status in ("busy", "no_answer", "canceled", "failed")
            self._unsure = self._unsure | {key} if unsure else self._unsure - {key}
        self._ranks = {key: ranks[key] for key in (*self._ranks, *ranks) if key in ranks}

    def _is_somewhere(self, record: Any) -> bool:
        if (record.partition, record.offset) in self._quarantined:
            return True
        try:
            event = read(record.value, NOW)
        except InvalidEvent:
            (key,) = named_call(record.key, record.value).keys
            return key in self._deleted or key[:1] in self._ever_pruned
        key = event.organization_id, event.call_id
        return key in self._deleted or (*key, event.id) in self._ever_stored


_STATE: Final = "SELECT * FROM callfold_counts_state($1)"

_DAYS: Final = f"""
SELECT organization_id, livemode, day, coalesce(max(version), 0), coalesce(sum(waiting), 0),
    ARRAY[{", ".join(f"sum({name})::numeric" for name in Measures._fields)}]
FROM (SELECT organization_id, livemode, day, {MEASURES}, 0 AS waiting FROM daily_call_totals
      UNION ALL
      SELECT organization_id, livemode, day, {MEASURES}, 1 FROM daily_call_deltas) AS part
LEFT JOIN count_days USING (organization_id, livemode, day)
GROUP BY organization_id, livemode, day
"""  # noqa: S608

_CALLS: Final = f"""
SELECT {", ".join(f"calls.{name}" for name in CALL_COLUMNS)}, time_zone,
       ARRAY(SELECT callfold_payload(payload, type, organization_id, call_id) FROM call_events
             WHERE call_events.organization_id = calls.organization_id AND call_id = calls.id)
FROM calls JOIN organizations ON organizations.id = calls.organization_id
ORDER BY calls.organization_id, calls.id
"""  # noqa: S608

_OTHERS: Final = f"""
SELECT (SELECT array_agg((organization_id, call_id, id)) FROM call_events),
       (SELECT array_agg((organization_id, call_id)) FROM deleted_calls),
       (SELECT array_agg((partition, "offset")) FROM quarantined_records),
       (SELECT array_agg(ROW(id)) FROM organizations WHERE retention_days IS NOT NULL),
       (SELECT array_agg((organization_id, call_id)) FROM quarantined_records WHERE {HAS_CONTENT})
"""  # noqa: S608
