"""The operator: who runs a command, the audit lines of what it does, and its connection."""

import getpass
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from uuid import UUID

from services.ops.addresses import database, find_database, require_organization
from shared.database.connection import COMMAND_SECONDS, Connection
from shared.store.audit import NO_ORGANIZATION, write_audit

LONG_STATEMENT_SECONDS: Final = 3600
"""The longest statement of a command that works on many calls."""


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
    """Writes one audit line, within the caller's transaction, about an organization or about all of them.

    `subject` is what the action changed, where that is not the organization itself. Without `actor` it is
    this machine's user. Raises asyncpg's errors."""
    await write_audit(
        connection,
        organization_id=organization_id or NO_ORGANIZATION,
        actor=actor or operator(),
        action=action,
        subject=str(subject or organization_id or "all organizations"),
        details=details,
    )


@asynccontextmanager
async def operating(
    state: Path | None,
    organization_id: UUID | None,
    action: str | None = None,
    details: str = "",
    *,
    statement_seconds: float = COMMAND_SECONDS,
) -> AsyncIterator[Connection]:
    """A connection for a command that works on one organization, which must exist, or on all (None).

    With an `action`, an audit line is committed first, because an interrupted run changes calls as well.
    Raises Failure for an unknown organization and for the expected faults of the database."""
    async with database(find_database(state), statement_seconds) as connection:
        if organization_id is not None:
            await require_organization(connection, organization_id, state)
        if action is not None:
            await audit(connection, action, organization_id, details)
        yield connection
