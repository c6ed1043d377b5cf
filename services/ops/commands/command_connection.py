"""The database connection of a command that works on one organization or on all."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from uuid import UUID

from services.ops.addresses import database, find_database, require_organization
from services.ops.terminal.operator import audit
from shared.database.connection import COMMAND_SECONDS, Connection

LONG_STATEMENT_SECONDS: Final = 3600
"""The statement timeout of a command that works on many calls, in seconds."""


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

    With an `action`, an audit line is committed first, because an interrupted run also changes calls.
    Raises Failure for an unknown organization and for the expected faults of the database."""
    async with database(find_database(state), statement_seconds) as connection:
        if organization_id is not None:
            await require_organization(connection, organization_id, state)
        if action is not None:
            await audit(connection, action, organization_id, details)
        yield connection
