"""Shares: a limit on concurrent use per organization, so that one organization does not block the others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from services.api.http.errors import organization_busy


class _Share:
    def __init__(self, most: int) -> None:
        self.turn = asyncio.Semaphore(most)
        self.members = 0


class Shares:
    """At most `most` concurrent uses per organization. Further requests wait for their turn."""

    def __init__(self, most: int, wait_seconds: float) -> None:
        self._most = most
        self._wait_seconds = wait_seconds
        self._shares: dict[UUID, _Share] = {}

    @asynccontextmanager
    async def one(self, organization_id: UUID) -> AsyncIterator[None]:
        """One of this organization's uses, for the block. Raises the 503 `ApiError` if none becomes free in
        time."""
        share = self._shares.setdefault(organization_id, _Share(self._most))
        share.members += 1
        try:
            await self._take(share)
            try:
                yield
            finally:
                share.turn.release()
        finally:
            share.members -= 1
            if not share.members:
                del self._shares[organization_id]

    async def _take(self, share: _Share) -> None:
        if not share.turn.locked():  # a timeout costs more than everything else here
            await share.turn.acquire()
            return
        try:
            async with asyncio.timeout(self._wait_seconds):
                await share.turn.acquire()
        except TimeoutError:
            raise organization_busy() from None
