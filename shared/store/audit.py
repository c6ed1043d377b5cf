"""The audit log: who did what that can't be undone, or that counts follow from."""

from typing import Final
from uuid import UUID

from shared.database.connection import AnyConnection

NO_ORGANIZATION: Final = UUID(int=0)
"""Stands where none is known, as for a record that is no event."""


async def write_audit(
    connection: AnyConnection,
    *,
    organization_id: UUID,
    actor: str,
    action: str,
    subject: str,
    details: str = "",
) -> None:
    """Writes one line within the caller's transaction, so that it is there exactly if the deed is."""
    await connection.execute(_INSERT, organization_id, actor, action, subject, details)


_INSERT: Final = """
INSERT INTO audit_log (organization_id, actor, action, subject, details) VALUES ($1, $2, $3, $4, $5)
"""
