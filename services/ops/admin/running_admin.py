"""The running admin API: the servers and the clock of its routes, and faults of servers as answers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Self

from fastapi import Request

from services.api.http.error_codes import ErrorCode
from services.api.http.errors import ApiError, being_stopped, unavailable
from services.ops.addresses import KafkaPlace, Place, database, kafka_faults
from services.ops.admin.proof_process import ProofProcess
from services.ops.terminal.failure import Failure
from shared.database.connection import Connection
from shared.settings.ingest import IngestSettings

ACTOR: Final = "admin API"
"""The actor of audit lines."""
STATEMENT_SECONDS: Final = 10
LONG_STATEMENT_SECONDS: Final = 60
"""For statements that work on many calls."""
CONNECTIONS_MAX: Final = 4
"""How many requests use the database at the same time. Further ones wait."""
WAIT_SECONDS: Final = 5
KAFKA_SECONDS: Final = 15
"""How long all requests of a route to Kafka may take."""


@dataclass(frozen=True, kw_only=True)
class RunningAdmin:
    """The admin API while it runs. There is one, in `app.state.admin`."""

    place: Place
    settings: IngestSettings
    """How ingest reads Kafka: its topics and its group."""
    clock: Callable[[], datetime]
    proof: ProofProcess
    _connections: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CONNECTIONS_MAX))

    @classmethod
    def of(cls, request: Request) -> Self:
        """The admin API that answers the request."""
        admin: Self = request.app.state.admin
        return admin

    @asynccontextmanager
    async def connection(self, statement_seconds: float = STATEMENT_SECONDS) -> AsyncIterator[Connection]:
        """A connection for the block. Raises the 503 `ApiError`, with a sentence for the operator, when the
        database cannot be used."""
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._connections.acquire()
        except TimeoutError:
            sentence = f"{CONNECTIONS_MAX} other requests use the database; retry in a moment."
            raise unavailable(ErrorCode.DATABASE_UNAVAILABLE, sentence) from None
        try:
            async with database(self.place, statement_seconds) as connection:
                yield connection
        except Failure as failure:
            raise unavailable(ErrorCode.DATABASE_UNAVAILABLE, str(failure)) from failure
        except asyncio.CancelledError as error:
            raise being_stopped() from error
        finally:
            self._connections.release()

    @asynccontextmanager
    async def kafka(self) -> AsyncIterator[None]:
        """The block may use Kafka for `KAFKA_SECONDS`. Raises the 503 `ApiError` when it cannot."""
        try:
            async with asyncio.timeout(KAFKA_SECONDS):
                with kafka_faults(KafkaPlace(self.settings)):
                    yield
        except Failure as failure:
            raise unavailable(ErrorCode.KAFKA_UNAVAILABLE, str(failure)) from failure
        except TimeoutError:
            sentence = f"Kafka did not answer all requests within {KAFKA_SECONDS} s."
            raise unavailable(ErrorCode.KAFKA_UNAVAILABLE, sentence) from None


def failed(failure: Failure) -> ApiError:
    """409: an action that failed for a reason that its sentence states."""
    return ApiError(ErrorCode.COMMAND_FAILED, str(failure))
