"""The answers that API readers saw, and the answers that they must never see after them. Pure.

An answer is compared with what was known when its request was sent, because responses may arrive in another
order."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.storm.workload import CallKey

RANK: Final[Mapping[str, int]] = {"initiated": 0, "ringing": 1, "in_progress": 2}
FINAL_RANK: Final = 3


@dataclass(frozen=True)
class Floor:
    """The knowledge about one call when its request was sent."""

    rank: int = -1
    event_ids: frozenset[str] = frozenset()
    is_gone: bool = False
    """Whether it was deleted: by a 204, or a 404 for a call that had existed."""


@dataclass
class Seen:
    """All answers so far."""

    floors: dict[CallKey, Floor] = field(default_factory=dict)
    asked_to_delete: set[CallKey] = field(default_factory=set)
    """Calls with a delete request, answered or not."""
    deleted: set[CallKey] = field(default_factory=set)
    """Those of them with the response 204."""

    def floor(self, key: CallKey) -> Floor:
        """The present knowledge about a call."""
        return self.floors.get(key, Floor())

    def there(self, key: CallKey, floor: Floor, status: str, event_ids: Iterable[str]) -> str | None:
        """Records a call that was returned. Returns the fault of the answer, if there is one."""
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
        """Records a 404 for a call. Returns the fault of the answer, if there is one."""
        if floor.rank < 0 or floor.is_gone:
            return None
        if key not in self.asked_to_delete:
            return "a call disappeared without a delete request"
        self.gone(key)
        return None

    def gone(self, key: CallKey) -> None:
        """Records that a call is deleted."""
        now = self.floor(key)
        self.floors[key] = Floor(now.rank, now.event_ids, is_gone=True)

    def back_in_list(self, calls: Iterable[Mapping[str, Any]], gone: Collection[str]) -> str | None:
        """The fault of a list that has a call deleted before the request was sent; None otherwise."""
        back = [call["id"] for call in calls if call["id"] in gone]
        return f"deleted calls are in the list: {back}" if back else None
