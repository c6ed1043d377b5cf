"""Rate limits: how many requests a key or a user may send, by the plan of the organization."""

import asyncio
import logging
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from limits import RateLimitItem, RateLimitItemPerDay, RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage, RedisStorage, Storage
from limits.errors import StorageError
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.api.http.errors import too_many_requests
from shared.extras import needs_extra
from shared.outage import Outage
from shared.plans import Plan
from shared.settings.api import LimitSettings
from shared.settings.base import PREFIX, InvalidSetting

if TYPE_CHECKING:
    from valkey.asyncio import ConnectionPool

STORAGE_SECONDS: Final = 0.25
"""How long a request waits for the shared counters before it is answered without a limit."""
STORAGE_CONNECTIONS: Final = 50
AWAY_SECONDS: Final = 1
"""How long the counters are not queried after they did not answer."""

_IN_SCOPE: Final = "callfold.rate_limit"

log = logging.getLogger("callfold.api")


class Window(NamedTuple):
    """How much of a limit is left. The library sets the times, by the machine's clock."""

    limit: int
    remaining: int
    resets_at: float


class RateLimits:
    """Counts requests in windows that begin with the first request, in this process or in a server that
    several processes share. While that server is unreachable, requests are not limited: rate limits ration
    database time and are not a security boundary."""

    def __init__(
        self, plans: Mapping[str, Plan], storage: Storage, pool: "ConnectionPool | None" = None
    ) -> None:
        self._limits = {name: tuple(_items(plan)) for name, plan in plans.items()}
        self._storage = storage
        self._pool = pool
        self._outage = Outage(
            log, "requests are not limited: the counters are unreachable", "requests are limited again"
        )
        self._no_try_until = 0.0
        self._unknown: set[str] = set()

    @property
    def any(self) -> bool:
        """Whether any plan has limits."""
        return any(self._limits.values())

    async def count(self, scope: Scope, plan: str, who: str) -> None:
        """Counts one request of this key or user. Raises the 429 `ApiError` if it exceeds a limit. The
        answer's headers report what is left."""
        limits = self._limits.get(plan)
        if not limits:
            if limits is None and plan not in self._unknown:
                self._unknown.add(plan)
                log.warning("the plan %s is not in %sPLANS: its requests are not limited", plan, PREFIX)
            return
        if asyncio.get_running_loop().time() < self._no_try_until:
            return
        try:
            windows, taken = await self._take(limits, who)
        except (StorageError, OSError, TimeoutError) as error:
            self._no_try_until = asyncio.get_running_loop().time() + AWAY_SECONDS
            self._outage.begin(_reason(error))
            return
        self._outage.end()
        window = min(windows, key=lambda window: window.remaining) if taken else windows[-1]
        scope[_IN_SCOPE] = window
        if not taken:
            raise too_many_requests(max(1, math.ceil(window.resets_at - time.time())))

    async def _take(self, limits: Iterable[RateLimitItem], who: str) -> tuple[list[Window], bool]:
        """The windows up to the first full one. A refused request does not count in longer windows."""
        windows, taken = [], True
        for limit in limits:
            # The library's fixed windows. Its strategy does not return the count; a second query would cost a
            # round trip and would include other requests.
            key = limit.key_for(who)
            count = await self._storage.incr(key, limit.get_expiry())
            windows.append(
                Window(limit.amount, max(0, limit.amount - count), await self._storage.get_expiry(key))
            )
            taken = count <= limit.amount
            if not taken:
                break
        return windows, taken

    async def close(self) -> None:
        """Closes the connections to the shared counters."""
        if self._pool is not None:
            await self._pool.disconnect()


def rate_limits(settings: LimitSettings) -> RateLimits:
    """The limits of the settings. Raises InvalidSetting if a required package is not installed."""
    if settings.rate_limit_url is None:
        return RateLimits(settings.plans, MemoryStorage())
    with needs_extra("valkey", f"{PREFIX}RATE_LIMIT_URL", InvalidSetting):
        from valkey.asyncio import BlockingConnectionPool
    said = settings.rate_limit_url.get_secret_value()
    url = f"valkey{said.removeprefix('valkey').removeprefix('redis')}"  # their protocol is the same
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=STORAGE_CONNECTIONS,
        timeout=STORAGE_SECONDS,
        socket_timeout=STORAGE_SECONDS,
        socket_connect_timeout=STORAGE_SECONDS,
    )
    storage = RedisStorage(
        f"async+{url}",
        implementation="valkey",
        key_prefix="callfold",
        wrap_exceptions=True,
        connection_pool=pool,  # type: ignore[arg-type]  # as its documentation shows
    )
    return RateLimits(settings.plans, storage, pool)


def _reason(error: Exception) -> str:
    """The library's message, which names the server but not the password."""
    cause = error.storage_error if isinstance(error, StorageError) else error
    return str(cause).rstrip(".") or "no answer in time"


def _items(plan: Plan) -> Iterator[RateLimitItem]:
    """A plan's limits, the shortest first."""
    if plan.per_second is not None:
        yield RateLimitItemPerSecond(plan.per_second)
    if plan.per_day is not None:
        yield RateLimitItemPerDay(plan.per_day)


class TellingLimits:
    """Middleware that adds the rate limit headers to the answers of limited clients."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""

        async def telling(message: Message) -> None:
            window: Window | None = scope.get(_IN_SCOPE)
            if window is not None and message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-RateLimit-Limit"] = str(window.limit)
                headers["X-RateLimit-Remaining"] = str(window.remaining)
                headers["X-RateLimit-Reset"] = str(math.ceil(window.resets_at))
            await send(message)

        await self._app(scope, receive, telling)
