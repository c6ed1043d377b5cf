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
    connection: Connection, action: str, organization_id: UUID | None = None, details: str = ""
) -> None:
    """Writes one line that a command which changes many calls has begun: an interrupted one did something,
    too. Of one organization, or of all."""
    await write_audit(
        connection,
        organization_id=organization_id or NO_ORGANIZATION,
        actor=operator(),
        action=action,
        subject=str(organization_id or "all organizations"),
        details=details,
    )
