"""A replica: it must show a delete before the API answers the request.

A replica shows all of a transaction or none of it. If the call's tombstone is visible, the call is gone and
no count includes it. This proves more than a WAL position would, and works on every kind of replica.
"""

import asyncio
import time
from typing import Final
from uuid import UUID

from services.api.access.credentials import Principal
from services.api.database.databases import Database
from services.api.http.error_codes import ErrorCode
from services.api.http.errors import ApiError, unavailable
from shared.database.statement import Statement

REPLAY_SECONDS: Final = 2.0
_FIRST_PAUSE_SECONDS: Final = 0.002
_LONGEST_PAUSE_SECONDS: Final = 0.1

IS_DELETED: Final = Statement("""
SELECT EXISTS (SELECT FROM deleted_calls WHERE organization_id = :organization_id AND call_id = :call_id)
""")


async def is_deleted(database: Database, principal: Principal, call_id: UUID) -> bool:
    """Whether this database has the call's tombstone. Raises the 503 `ApiError`."""
    async with database.snapshot(principal.organization_id) as connection:
        deleted: bool = await IS_DELETED.fetchval(
            connection,
            organization_id=principal.organization_id,
            call_id=call_id,
            timeout_seconds=REPLAY_SECONDS,
        )
    return deleted


async def wait_until_deleted(replica: Database, principal: Principal, call_id: UUID) -> None:
    """Returns when the replica shows that a call is deleted. Raises the 503 `ApiError` if that takes too long
    or the replica is unreachable."""
    deadline = time.monotonic() + REPLAY_SECONDS
    pause_seconds = _FIRST_PAUSE_SECONDS
    try:
        while True:
            if await is_deleted(replica, principal, call_id):
                return
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 2, _LONGEST_PAUSE_SECONDS)
    except ApiError as error:
        raise _behind() from error
    raise _behind()


def _behind() -> ApiError:
    return unavailable(
        ErrorCode.REPLICA_BEHIND,
        "The call is deleted, but the replica that serves lists and counts does not show it yet; repeat the "
        "request in a moment.",
    )
