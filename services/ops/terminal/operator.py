"""The operator who runs a command, and the audit lines for the command's actions."""

import getpass
import socket
from uuid import UUID

from shared.database.connection import Connection
from shared.store.audit import NO_ORGANIZATION, write_audit


def operator() -> str:
    """The user of this machine who runs the command, as `operator anna@db-1`."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a container's user often has no name
        name = "unknown"
    return f"operator {name}@{socket.gethostname()}"


async def audit(
    connection: Connection,
    action: str,
    organization_id: UUID | None = None,
    details: str = "",
    *,
    subject: UUID | None = None,
    actor: str | None = None,
) -> None:
    """Writes one audit line in the caller's transaction, about one organization or about all of them.

    `subject` is the changed object, where that is not the organization itself. The default `actor` is this
    machine's user. Raises asyncpg's errors."""
    await write_audit(
        connection,
        organization_id=organization_id or NO_ORGANIZATION,
        actor=actor or operator(),
        action=action,
        subject=str(subject or organization_id or "all organizations"),
        details=details,
    )
