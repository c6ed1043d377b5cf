"""The tombstone of a deleted organization: a row of `deleted_calls` under an id that no call has."""

from functools import lru_cache
from typing import Final
from uuid import UUID, uuid5

_NAMESPACE: Final = UUID("5d9c5a0e-3a0e-5b7c-8f6e-2f1d9a7c4b60")


@lru_cache(maxsize=10_000)
def organization_tombstone(organization_id: UUID) -> UUID:
    """The `call_id` under which `deleted_calls` holds that the organization itself was deleted.

    An external call id becomes a UUIDv5 in the organization's own namespace, which is another. An event that
    names its call by this very UUID is refused (`shared.store.changes`).
    """
    return uuid5(_NAMESPACE, str(organization_id))
