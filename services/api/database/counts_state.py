"""The state of an organization's counts, by which an answer is known to be exact without reading them."""

from typing import Final, NamedTuple

from asyncpg import Record

WAITING_MAX: Final = 1_000
"""The most waiting deltas by which a state is known. Each request counts them; with more, they change too
fast for an answer to be kept."""
OF_ORGANIZATION: Final = "callfold_counts_state({})"
"""The state of the organization that replaces the braces, as its statement sees it, to follow FROM."""


class CountsState(NamedTuple):
    """Equal states mean equal counts, if they are known.

    Applying deltas deletes them and gives the organization a new `version`. So with the same version, deltas
    were only added, and the same number of them are the same ones. `server` changes whenever the server may
    have lost a commit. A standby has no `server`, because its primary may lose a commit unnoticed."""

    server: str | None
    version: int
    waiting: int

    @property
    def is_known(self) -> bool:
        """Whether an equal state means equal counts."""
        return self.server is not None and self.waiting <= WAITING_MAX


def counts_state(row: Record) -> CountsState:
    """The state in a row with the columns of `OF_ORGANIZATION`."""
    return CountsState(row["server"], row["version"], row["waiting"])
