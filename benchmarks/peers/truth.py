"""The right calls and counts of a workload, by callfold's own fold. Pure."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from shared.calls.event import Event, read
from shared.calls.fold import FINAL, distinct, fold


class Cell(NamedTuple):
    """The key of a count, as text."""

    organization_id: str
    livemode: bool
    day: str
    status: str
    direction: str


@dataclass(frozen=True)
class Truth:
    """The cell of each call, and the number of calls of each cell that has any."""

    cell_of_call: Mapping[str, Cell]
    counts: Mapping[Cell, int]

    @property
    def progress(self) -> tuple[int, int, int]:
        """The number of ended calls, the sum of all counts, and the number of calls."""
        ended = sum(calls for cell, calls in self.counts.items() if cell.status in FINAL)
        return ended, sum(self.counts.values()), len(self.cell_of_call)

    def wrong_cells(self, counts: Mapping[Cell, int]) -> int:
        """How many cells have another count than they should. An absent cell has 0."""
        return _differences(self.counts, {cell: calls for cell, calls in counts.items() if calls})

    def wrong_calls(self, cell_of_call: Mapping[str, Cell]) -> int:
        """How many calls have another status, direction or day than they should, are missing or too many."""
        return _differences(self.cell_of_call, cell_of_call)


def truth(backlog: Sequence[tuple[bytes, bytes]]) -> Truth:
    """Folds the records of a workload whose organizations are in UTC."""
    now = datetime.now(UTC)
    events: defaultdict[UUID, list[Event]] = defaultdict(list)
    for _, value in backlog:
        event = read(value, now)
        events[event.call_id].append(event)
    calls = [fold(distinct(each)) for each in events.values()]
    cell_of_call = {
        str(call.id): Cell(
            str(call.organization_id),
            call.livemode,
            call.created_at.astimezone(UTC).date().isoformat(),
            call.status,
            call.direction or "",
        )
        for call in calls
    }
    return Truth(cell_of_call, Counter(cell_of_call.values()))


def _differences(right: Mapping[Any, object], found: Mapping[Any, object]) -> int:
    return sum(right.get(key) != found.get(key) for key in right.keys() | found.keys())
