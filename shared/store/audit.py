"""The audit log: who took which irreversible action, or an action that changes counts."""

from typing import Final
from uuid import UUID

from shared.database.connection import AnyConnection

NO_ORGANIZATION: Final = UUID(int=0)
"""Stands for an unknown organization, as of a record that is not an event."""


async def write_audit(
    connection: AnyConnection,
    *,
    organization_id: UUID,
    actor: str,
    action: str,
    subject: str,
    details: str = "",
) -> None:
    """Writes one entry within the caller's transaction, so that the entry exists exactly if the action is
    committed."""
    await connection.execute(_INSERT, organization_id, actor, action, subject, details)


_INSERT: Final = """
INSERT INTO audit_log (organization_id, actor, action, subject, details) VALUES ($1, $2, $3, $4, $5)
"""
