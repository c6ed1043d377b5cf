"""The count: which cell a call is counted in, with which measures, and the delta when that changes. Pure."""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from shared.event import Status
from shared.fold import Call

UTC: Final = ZoneInfo("UTC")
NO_PHONE_NUMBER: Final = UUID(int=0)
"""Stands in a cell for calls without a phone number id: a key column is never null."""
NO_DIRECTION: Final = "unknown"
DELTAS_CHANNEL: Final = "callfold_deltas"
"""Where PostgreSQL notifies of new deltas."""


class Cell(NamedTuple):
    """What a count is kept by. `day` is the organization's own."""

    organization_id: UUID
    livemode: bool
    day: date
    direction: str
    phone_number_id: UUID
    status: Status


class Measures(NamedTuple):
    """What is counted in a cell, or, as a delta, what is added to it (negative: taken away)."""

    calls: int
    answered: int
    duration_seconds: int
    cost_cents: Decimal
    latency_ms: int
    latency_calls: int


class Counted(NamedTuple):
    """One call's part in the counts."""

    cell: Cell
    measures: Measures


def time_zone(name: str) -> ZoneInfo:
    """The time zone of this name; UTC where the machine's time zone data have none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def local_day(instant: datetime, zone: ZoneInfo) -> date:
    """The day of an (aware) instant on the calendar of a time zone."""
    return instant.astimezone(zone).date()


def counted(call: Call, zone: ZoneInfo) -> Counted:
    """What a call counts for, in an organization with this time zone."""
    return Counted(
        Cell(
            call.organization_id,
            call.livemode,
            local_day(call.created_at, zone),
            call.direction or NO_DIRECTION,
            call.phone_number_id or NO_PHONE_NUMBER,
            call.status,
        ),
        Measures(
            1,
            call.answered_at is not None,
            call.duration or 0,
            call.cost or Decimal(0),
            call.latency_ms or 0,
            call.latency_ms is not None,
        ),
    )


class Deltas:
    """Signed changes summed per cell, so that a busy cell is one row however many calls moved through it."""

    def __init__(self) -> None:
        self._sums: dict[Cell, Measures] = {}

    def add(self, now: Counted) -> None:
        """Counts a call for what it is now."""
        before = self._sums.get(now.cell)
        self._sums[now.cell] = now.measures if before is None else _sum(before, now.measures)

    def take(self, before: Counted) -> None:
        """Takes away what a call counted for before."""
        calls, answered, duration, cost, latency, latency_calls = before.measures
        self.add(
            Counted(before.cell, Measures(-calls, -answered, -duration, -cost, -latency, -latency_calls))
        )

    def changes(self) -> Mapping[Cell, Measures]:
        """The cells that do change, with their changes."""
        return {cell: measures for cell, measures in self._sums.items() if any(measures)}


def _sum(a: Measures, b: Measures) -> Measures:
    return Measures(a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3], a[4] + b[4], a[5] + b[5])
