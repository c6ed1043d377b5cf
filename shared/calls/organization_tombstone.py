"""The tombstone of a deleted organization: a row of `deleted_calls` under an id that no call has."""

from functools import lru_cache
from typing import Final
from uuid import UUID, uuid5

_NAMESPACE: Final = UUID("5d9c5a0e-3a0e-5b7c-8f6e-2f1d9a7c4b60")


@lru_cache(maxsize=10_000)
def organization_tombstone(organization_id: UUID) -> UUID:
    """The `call_id` of the row in `deleted_calls` that marks the organization itself as deleted.

    An external call id becomes a UUIDv5 in another namespace, the organization's own. An event whose call id
    is exactly this UUID is refused (`shared.store.changes`).
    """
    return uuid5(_NAMESPACE, str(organization_id))
