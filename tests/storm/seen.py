"""What readers of the API saw, and what they may never see after it. Pure.

An answer is held against what was known when it was asked for: two requests may be answered in another order.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.storm.workload import CallKey

RANK: Final[Mapping[str, int]] = {"initiated": 0, "ringing": 1, "in_progress": 2}
FINAL_RANK: Final = 3


@dataclass(frozen=True)
class Floor:
    """What was known of one call when it was asked for."""

    rank: int = -1
    event_ids: frozenset[str] = frozenset()
    is_gone: bool = False
    """It was deleted, as a 204 said, or a 404 for a call that had been there."""


@dataclass
class Seen:
    """All sightings so far."""

    floors: dict[CallKey, Floor] = field(default_factory=dict)
    asked_to_delete: set[CallKey] = field(default_factory=set)
    """Calls whose deletion was asked for, whatever became of it."""
    deleted: set[CallKey] = field(default_factory=set)
    """Those of them of which 204 was answered."""

    def floor(self, key: CallKey) -> Floor:
        """What is known now."""
        return self.floors.get(key, Floor())

    def there(self, key: CallKey, floor: Floor, status: str, event_ids: Iterable[str]) -> str | None:
        """Takes note of a call that was answered; what is wrong with that, if anything is."""
        rank, ids = RANK.get(status, FINAL_RANK), frozenset(event_ids)
        if floor.is_gone:
            return "a deleted call came back"
        if rank < floor.rank:
            return f"the status went back to {status}"
        if not floor.event_ids <= ids:
            return f"events are gone: {sorted(floor.event_ids - ids)}"
        now = self.floor(key)
        self.floors[key] = Floor(max(rank, now.rank), now.event_ids | ids, now.is_gone)
        return None

    def missing(self, key: CallKey, floor: Floor) -> str | None:
        """Takes note of a call that was answered 404; what is wrong with that, if anything is."""
        if floor.rank < 0 or floor.is_gone:
            return None
        if key not in self.asked_to_delete:
            return "a call that nobody deleted is gone"
        self.gone(key)
        return None

    def gone(self, key: CallKey) -> None:
        """Takes note of a call that is deleted."""
        now = self.floor(key)
        self.floors[key] = Floor(now.rank, now.event_ids, is_gone=True)

    def back_in_list(self, calls: Iterable[Mapping[str, Any]], gone: Collection[str]) -> str | None:
        """What is wrong with a list, if it has a call that was deleted before it was asked for."""
        back = [call["id"] for call in calls if call["id"] in gone]
        return f"deleted calls are in the list: {back}" if back else None
