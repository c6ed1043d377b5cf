"""The tombstone of a deleted organization: a row of `deleted_calls` under an id that no record can name."""

from typing import Final
from uuid import UUID, uuid5

_NAMESPACE: Final = UUID("5d9c5a0e-3a0e-5b7c-8f6e-2f1d9a7c4b60")


def organization_tombstone(organization_id: UUID) -> UUID:
    """The `call_id` under which `deleted_calls` holds that the organization itself was deleted.

    An external call id becomes a UUIDv5 in the organization's own namespace, which is another.
    """
    return uuid5(_NAMESPACE, str(organization_id))
