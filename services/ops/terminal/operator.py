"""The operator who runs a command, and the audit lines of commands."""

import getpass
import socket
from uuid import UUID

from shared.database.connection import Connection
from shared.store.audit import NO_ORGANIZATION, write_audit


def operator() -> str:
    """The operating-system user who runs the command, such as `operator anna@db-1`."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # the user of a container often has no name
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
    """Writes one audit line in the caller's transaction, about one organization or about all.

    `subject` is the changed object, if it is not the organization itself. `actor` defaults to this operator.
    Raises asyncpg's errors."""
    await write_audit(
        connection,
        organization_id=organization_id or NO_ORGANIZATION,
        actor=actor or operator(),
        action=action,
        subject=str(subject or organization_id or "all organizations"),
        details=details,
    )
