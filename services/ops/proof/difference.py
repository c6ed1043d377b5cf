"""Differences that the proof finds, as sentences. All are counted; only the first are kept."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal
from uuid import UUID

from shared.counts.cell import NO_PHONE_NUMBER

DIFFERENCES_KEPT: Final = 10_000
_NUMBERS: Final[Mapping[object, str]] = {NO_PHONE_NUMBER: "no phone number", None: "all phone numbers"}

Kind = Literal[
    "cell", "call", "event", "call without events", "events without call", "tombstone", "organization"
]


@dataclass(frozen=True)
class Difference:
    """A difference: the values that the tables have, and those that they must have."""

    kind: Kind
    organization_id: UUID
    stored: Mapping[str, object]
    expected: Mapping[str, object]
    call_id: UUID | None = None
    event_id: str | None = None
    cell: Mapping[str, object] | None = None

    def __str__(self) -> str:
        if self.kind == "organization":
            return f"organization {self.organization_id}: {self._sides()}"
        if self.cell is not None:
            _, livemode, day, direction, phone_number_id, status = self.cell.values()
            mode = "live" if livemode else "test"
            number = _NUMBERS.get(phone_number_id, phone_number_id)
            subject = f"cell {day} {mode} {direction} {number} {status}"
        elif self.kind == "event":
            subject = f"event {self.event_id} of call {self.call_id}"
        elif self.kind == "tombstone":
            subject = f"deleted call {self.call_id}"
        else:
            subject = f"call {self.call_id}"
        return f"{subject} of organization {self.organization_id}: {self._sides()}"

    def _sides(self) -> str:
        return ", ".join(
            f"{name} is {self.stored.get(name)!s}, must be {must!s}"
            for name, must in self.expected.items()
            if self.stored.get(name) != must
        )


@dataclass
class Findings:
    """The differences. All are counted; only the first are kept, so that memory stays bounded."""

    cells: list[Difference] = field(default_factory=list)
    others: list[Difference] = field(default_factory=list)
    count: int = 0
    older_laws: int = 0
    placed_by_other_rules: Counter[UUID] = field(default_factory=Counter)

    def add(self, difference: Difference) -> None:
        self.count += 1
        of_its_sort = self.cells if difference.kind == "cell" else self.others
        if len(of_its_sort) < DIFFERENCES_KEPT:
            of_its_sort.append(difference)

    def kept(self) -> tuple[Difference, ...]:
        return tuple(some_of_both(self.others, self.cells, DIFFERENCES_KEPT))


def some_of_both(
    first: Sequence[Difference], second: Sequence[Difference], count: int
) -> Sequence[Difference]:
    """At most `count` of them, half of each kind where both have more."""
    from_first = min(len(first), max(count - len(second), count - count // 2))
    return [*first[:from_first], *second[: count - from_first]]
