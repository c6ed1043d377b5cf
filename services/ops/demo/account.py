"""The demo's account of the records that it sent. It is independent of the pipeline."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from services.ops.demo.simulated_call import Outcome
from services.ops.demo.simulator import Record
from shared.counts.cell import NO_DIRECTION
from shared.database.connection import Connection


@dataclass
class Totals:
    """The totals of the calls of one organization and mode."""

    by_status: Counter[str] = field(default_factory=Counter)
    by_direction: Counter[str] = field(default_factory=Counter)
    by_day: Counter[date] = field(default_factory=Counter)
    answered: int = 0
    duration: int = 0
    cost: Decimal = Decimal(0)

    def add(self, outcome: Outcome) -> None:
        self.by_status[outcome.status] += 1
        self.by_direction[outcome.direction or NO_DIRECTION] += 1
        self.by_day[outcome.day] += 1
        self.answered += outcome.answered
        self.duration += outcome.duration
        self.cost += outcome.cost


@dataclass
class Account:
    """The published records, distinct events and calls, and the invalid records with their positions."""

    records: int = 0
    events: int = 0
    calls: int = 0
    broken: dict[tuple[int, int], str] = field(default_factory=dict)
    """The fault of each broken record, by its partition and offset."""
    totals: defaultdict[tuple[UUID, bool], Totals] = field(default_factory=lambda: defaultdict(Totals))
    """By organization and mode."""

    @property
    def duplicates(self) -> int:
        return self.records - self.events - len(self.broken)

    @property
    def test_calls(self) -> int:
        return sum(totals.by_status.total() for (_, livemode), totals in self.totals.items() if not livemode)

    def delivered(self, record: Record, partition: int, offset: int) -> None:
        """Adds a record to the account when Kafka has acknowledged it."""
        self.records += 1
        if record.fault is not None:
            self.broken[partition, offset] = record.fault
        elif not record.is_duplicate:
            self.events += 1
        if record.outcome is not None:
            self.calls += 1
            self.totals[record.outcome.organization_id, record.outcome.livemode].add(record.outcome)


@dataclass(frozen=True)
class Quarantined:
    """The broken records with one fault: how many were sent and quarantined, and an example of a reason."""

    fault: str
    reason: str
    sent: int
    found: int


async def quarantined(connection: Connection, topic: str, account: Account) -> list[Quarantined]:
    """Looks in the quarantine for each broken record that was sent. Raises asyncpg's errors."""
    places = list(account.broken)
    rows = await connection.fetch(
        _QUARANTINED, topic, [partition for partition, _ in places], [offset for _, offset in places]
    )
    reasons = {(partition, offset): reason for partition, offset, reason in rows}
    found = Counter(account.broken[place] for place in reasons)
    examples = {account.broken[place]: reason for place, reason in reasons.items()}
    sent = Counter(account.broken.values())
    return [Quarantined(fault, examples.get(fault, ""), sent[fault], found[fault]) for fault in sorted(sent)]


async def stored_events(connection: Connection, organizations: Sequence[UUID]) -> int:
    """The number of stored events of these organizations."""
    return int(await connection.fetchval(_STORED_EVENTS, organizations))


def off_stats(totals: Totals, stats: Mapping[str, Any]) -> list[str]:
    """The differences between the API's stats and the account, one phrase each."""
    pairs: list[tuple[str, object, object]] = [
        ("total", stats["total"], totals.by_status.total()),
        ("answered", stats["answered"], totals.answered),
        ("total_duration", stats["total_duration"], totals.duration),
        ("total_cost", stats["total_cost"], totals.cost),
    ]
    for name, by in (("by_status", totals.by_status), ("by_direction", totals.by_direction)):
        pairs += [(f"{name}.{key}", count, by[key]) for key, count in stats[name].items()]
    return _off(pairs)


def off_trends(totals: Totals, trends: Mapping[str, Any]) -> list[str]:
    """The same for the trends, day by day. The trends must cover the days of all calls."""
    days = trends["data"]
    pairs: list[tuple[str, object, object]] = [
        (day["date"], day["total"], totals.by_day[date.fromisoformat(day["date"])]) for day in days
    ]
    pairs += [
        ("all days", sum(day["total"] for day in days), totals.by_day.total()),
        ("answered of all days", sum(day["answered"] for day in days), totals.answered),
        ("duration of all days", sum(day["duration"] for day in days), totals.duration),
        ("cost of all days", sum((day["cost"] for day in days), Decimal(0)), totals.cost),
    ]
    return _off(pairs)


def _off(pairs: Sequence[tuple[str, object, object]]) -> list[str]:
    return [f"{name} is {actual}, must be {must}" for name, actual, must in pairs if actual != must]


_QUARANTINED: Final = """
SELECT partition, "offset", reason FROM quarantined_records
JOIN unnest($2::integer[], $3::bigint[]) AS place(partition, "offset") USING (partition, "offset")
WHERE topic = $1
"""
_STORED_EVENTS: Final = "SELECT count(*) FROM call_events WHERE organization_id = ANY($1::uuid[])"
