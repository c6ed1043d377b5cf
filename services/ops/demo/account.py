"""The demo's accounts of what each producer delivered. They are independent of the pipeline."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from services.ops.demo.simulated_call import Outcome
from services.ops.demo.simulator import Record
from shared.calls.event import call_uuid
from shared.calls.fold import is_answered
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
        """Adds a call."""
        self.by_status[outcome.status] += 1
        self.by_direction[outcome.direction or NO_DIRECTION] += 1
        self.by_day[outcome.day] += 1
        self.answered += outcome.answered
        self.duration += outcome.duration
        self.cost += outcome.cost

    def add_all(self, others: "Totals") -> None:
        """Adds the calls of others."""
        self.by_status += others.by_status
        self.by_direction += others.by_direction
        self.by_day += others.by_day
        self.answered += others.answered
        self.duration += others.duration
        self.cost += others.cost


@dataclass
class Account:
    """The records, distinct events and calls that one producer delivered, and its invalid records with their
    positions."""

    producer: str = ""
    keeps_outcomes: bool = False
    """Whether `outcomes` keeps those of its calls."""
    records: int = 0
    distinct: int = 0
    """The records that are neither duplicates nor broken."""
    events: int = 0
    calls: int = 0
    outcomes: dict[tuple[UUID, UUID], Outcome] = field(default_factory=dict)
    """By the ids of organization and call."""
    broken: dict[tuple[int, int], str] = field(default_factory=dict)
    """The fault of each broken record, by its partition and offset."""
    totals: defaultdict[tuple[UUID, bool], Totals] = field(default_factory=lambda: defaultdict(Totals))
    """By organization and mode."""

    @property
    def duplicates(self) -> int:
        return self.records - self.distinct - len(self.broken)

    @property
    def test_calls(self) -> int:
        return sum(totals.by_status.total() for (_, livemode), totals in self.totals.items() if not livemode)

    def delivered(self, record: Record, partition: int, offset: int) -> None:
        """Adds a record to the account when Kafka has acknowledged it, at its place."""
        if record.fault is not None:
            self.broken[partition, offset] = record.fault
        self.accepted(record)

    def accepted(self, record: Record) -> None:
        """Adds a record or request that callfold has acknowledged."""
        self.records += 1
        if record.fault is None and not record.is_duplicate:
            self.events += record.events
            self.distinct += 1
        if (outcome := record.outcome) is not None:
            self.calls += 1
            self.totals[outcome.organization_id, outcome.livemode].add(outcome)
            if self.keeps_outcomes and record.key is not None:
                call_id = call_uuid(outcome.organization_id, record.key.decode())
                self.outcomes[outcome.organization_id, call_id] = outcome


def totals_of(accounts: Iterable[Account]) -> defaultdict[tuple[UUID, bool], Totals]:
    """The totals of several producers together, by organization and mode."""
    together: defaultdict[tuple[UUID, bool], Totals] = defaultdict(Totals)
    for account in accounts:
        for key, totals in account.totals.items():
            together[key].add_all(totals)
    return together


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


async def off_calls(connection: Connection, account: Account) -> list[str]:
    """The calls in the database that differ from their outcomes, one phrase each."""
    places = list(account.outcomes)
    rows = await connection.fetch(_CALLS, [one for one, _ in places], [call for _, call in places])
    found = {
        (row["organization_id"], row["id"]): Outcome(
            row["organization_id"],
            row["livemode"],
            row["day"],
            row["direction"],
            row["status"],
            is_answered(row["status"], row["answered_at"]),
            row["duration"] or 0,
            row["cost"] or Decimal(0),
        )
        for row in rows
    }
    return [
        f"call {place[1]} is {_shown(found.get(place))}, must be {_shown(must)}"
        for place, must in account.outcomes.items()
        if found.get(place) != must
    ]


def _shown(outcome: Outcome | None) -> str:
    if outcome is None:
        return "missing"
    return f"{outcome.direction} {outcome.status} on {outcome.day}, {outcome.duration} s, {outcome.cost} ¢"


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
_CALLS: Final = """
SELECT organization_id, id, livemode, day, direction, status, answered_at, duration, cost
FROM calls JOIN unnest($1::uuid[], $2::uuid[]) AS place(organization_id, id) USING (organization_id, id)
"""
_STORED_EVENTS: Final = "SELECT count(*) FROM call_events WHERE organization_id = ANY($1::uuid[])"
