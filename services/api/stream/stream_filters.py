"""The filters of a stream, which are those of the list, and which changes pass them."""

from dataclasses import dataclass
from uuid import UUID

from services.api.figures.cell_filters import StateQuery, check_phone_number
from services.api.stream.change import Change
from shared.counts.cell import NO_DIRECTION


@dataclass(frozen=True)
class Wanted:
    """The calls whose changes a client wants. None means no restriction."""

    status: frozenset[str] | None = None
    direction: str | None = None
    phone_number_id: UUID | None = None

    @property
    def all(self) -> bool:
        return self.status is None and self.direction is None and self.phone_number_id is None

    def includes(self, change: Change) -> bool:
        """Whether the client gets this change. It gets each deletion: the record does not tell what the call
        was."""
        if change.is_deletion or self.all:
            return True
        state = change.state
        return (
            (self.status is None or state.status in self.status)
            and (self.direction is None or (state.direction or NO_DIRECTION) == self.direction)
            and (self.phone_number_id is None or state.phone_number_id == self.phone_number_id)
        )


def wanted_by(query: StateQuery) -> Wanted:
    """The calls that a query asks for. Raises the 400 `ApiError`."""
    check_phone_number(query.phone_number_id)
    return Wanted(
        None if query.status is None else frozenset(query.status), query.direction, query.phone_number_id
    )
