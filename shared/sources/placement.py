"""Placement: the organization of a record's calls.

A source names its organizations in a table, or serves one. A record that names none belongs to the source's
organization if it has one; otherwise to that of its call, which another record of the call names. No record
is ever given to an organization by a guess.
"""

from typing import Final
from uuid import UUID

from shared.calls.lenient import is_uuid
from shared.sources.dialect import Dialect
from shared.sources.outcome import Quarantined
from shared.sources.record import Record

UNMAPPED: Final = "is mapped to no organization of the source."
"""The end of the reason for a value that is not in the source's table."""
NOT_OWN: Final = "is an own domain."
"""The end of the reason for a call between two domains that are not the source's."""


def organization_of(record: Record, dialect: Dialect) -> UUID | None:
    """The organization; None if only the record's call can tell it. Raises Quarantined for a value that is
    not in the source's table."""
    source = record.source
    by = source.organizations_by or dialect.organizations_by
    named = dialect.named(record, by) if by is not None else None
    if named is None:
        return source.organization
    if source.organizations:
        if (organization := source.organizations.get(named)) is not None:
            return organization
        raise Quarantined(f"{by}: {_shown(named, by, dialect)} {UNMAPPED}")
    if source.organization is not None:
        return source.organization
    if dialect.names_organization and is_uuid(named):
        return UUID(named)
    raise Quarantined(f"{by}: {_shown(named, by, dialect)} {UNMAPPED}")


def _shown(named: str, by: str | None, dialect: Dialect) -> str:
    """The value for a message. A body may name its organization by a secret, such as the token of Aircall."""
    return "the secret" if by in {secret.name for secret in dialect.secrets} else repr(named[:120])
