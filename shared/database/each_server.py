"""Work that a distributed database needs on each of its servers."""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from typing import Any, Final, TypeVar

from shared.database.distributed import address_of, is_distributed, servers
from shared.database.faults import PASSING_TYPES
from shared.database.patient_connection import PatientConnection
from shared.settings.database import DatabaseSettings

LEARN_SECONDS: Final = 60
"""The interval at which the servers are read, also of one PostgreSQL: it may be distributed meanwhile."""
RETRY_SECONDS: Final = 5
"""The interval while they cannot be read."""

S = TypeVar("S", bound=DatabaseSettings)
Work = Callable[[S, str | None], Coroutine[Any, Any, None]]


async def on_each_server(settings: S, work: Work[S], stop: asyncio.Event) -> None:
    """Runs `work` with these settings and None. If their database is distributed, also runs it with the
    settings and the address of each other server. Servers may come and go. `work` ends soon after `stop` is
    set. Raises the first fault of any of them."""
    running = {settings.database_url: asyncio.create_task(work(settings, None))}
    stopped = asyncio.create_task(stop.wait())
    database = PatientConnection(settings, application_name="callfold-servers", session={})
    try:
        while not stop.is_set():
            seconds = RETRY_SECONDS
            if (urls := await _other_servers(database, settings)) is not None:
                await _adjust(running, {settings.database_url, *urls}, settings, work)
                seconds = LEARN_SECONDS
            tasks = {stopped, *running.values()}
            await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            for task in running.values():
                if task.done():
                    await task
        await asyncio.gather(*running.values())
    finally:
        database.close()
        stopped.cancel()
        for task in running.values():
            task.cancel()
        await asyncio.gather(*running.values(), return_exceptions=True)


async def _other_servers(database: PatientConnection, settings: DatabaseSettings) -> Collection[str] | None:
    """The URLs of the servers of a distributed database; None while it does not answer."""
    try:
        connection = await database.opened()
        if not await is_distributed(connection):
            return ()
        return [one.url for one in await servers(connection, settings.database_url)]
    except PASSING_TYPES as fault:
        database.failed(fault)
        return None
    finally:
        database.close()


async def _adjust(
    running: dict[str, asyncio.Task[None]], urls: Collection[str], settings: S, work: Work[S]
) -> None:
    """Starts the work on new servers, and cancels it on those that are gone."""
    for url in running.keys() - urls:
        gone = running.pop(url)
        gone.cancel()
        await asyncio.wait({gone})
    for url in urls - running.keys():
        of_server = settings.model_copy(update={"database_url": url})
        running[url] = asyncio.create_task(work(of_server, address_of(url)))
