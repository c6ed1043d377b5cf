"""Who operates: for the audit log."""

import getpass
import socket
from uuid import UUID

from shared.audit import NO_ORGANIZATION, write_audit
from shared.database import Connection


def operator() -> str:
    """The user of this machine who runs the command, as `operator anna@db-1`."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a container's user often has no name
        name = "unknown"
    return f"operator {name}@{socket.gethostname()}"


async def audit_run(
    connection: Connection,
    action: str,
    organization_id: UUID | None = None,
    details: str = "",
    *,
    actor: str | None = None,
) -> None:
    """Writes one audit line about a run that changes many calls, of one organization or of all: when it
    begins, because an interrupted run changed calls as well. Without `actor` it is this machine's user."""
    await write_audit(
        connection,
        organization_id=organization_id or NO_ORGANIZATION,
        actor=actor or operator(),
        action=action,
        subject=str(organization_id or "all organizations"),
        details=details,
    )
