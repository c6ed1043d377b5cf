"""Faults of PostgreSQL and of callfold's sessions in it."""

import asyncio
import contextlib
import random
import signal
import time
from typing import Final

import asyncpg
import psutil

from services.ops.embedded.processes import wait_until_gone
from shared.database.connection import Connection
from tests.storm.schedule import Planned
from tests.storm.stage import Stage, connected

AGAIN_SECONDS: Final = 0.2
GONE_SECONDS: Final = 20
SESSIONS: Final = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'callfold-%' ORDER BY pid"
STATEMENT_TIMEOUT: Final = "15ms"


async def shut_down_at_once(stage: Stage, planned: Planned) -> None:
    """Shuts PostgreSQL down immediately, without a checkpoint. The next start runs crash recovery."""
    await _end(stage, planned, signal.SIGQUIT)


async def restart(stage: Stage, planned: Planned) -> None:
    """Shuts PostgreSQL down fast: it terminates sessions and writes a checkpoint."""
    await _end(stage, planned, signal.SIGINT)


async def kill(stage: Stage, planned: Planned) -> None:
    """Kills all PostgreSQL processes, as a power failure does. The postmaster is frozen first, so that it
    does not notice and start recovery."""
    server = stage.grounds.postgres
    assert server.process is not None
    server.send(signal.SIGSTOP)
    family = psutil.Process(server.process.pid).children(recursive=True)
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    await asyncio.to_thread(server.kill, signal.SIGKILL)
    await asyncio.to_thread(wait_until_gone, family, GONE_SECONDS)
    await asyncio.sleep(planned.lasts_seconds)
    await server.start()


async def _end(stage: Stage, planned: Planned, number: signal.Signals) -> None:
    await asyncio.to_thread(stage.grounds.postgres.kill, number)
    await asyncio.sleep(planned.lasts_seconds)
    await stage.grounds.postgres.start()


async def cut_connections(stage: Stage, planned: Planned) -> None:
    """Repeatedly terminates half of callfold's sessions."""
    await _to_sessions(stage, planned, "SELECT pg_terminate_backend($1)")


async def cancel_statements(stage: Stage, planned: Planned) -> None:
    """Repeatedly cancels the running statements of half of callfold's sessions."""
    await _to_sessions(stage, planned, "SELECT pg_cancel_backend($1)")


async def _to_sessions(stage: Stage, planned: Planned, statement: str) -> None:
    chance = random.Random(planned.chance)
    over = time.monotonic() + planned.lasts_seconds
    async with connected(stage) as connection:
        while time.monotonic() < over:
            for (pid,) in await connection.fetch(SESSIONS):
                if chance.random() < 0.5:
                    await connection.execute(statement, pid)
            await asyncio.sleep(AGAIN_SECONDS)


async def hold_lock(stage: Stage, planned: Planned) -> None:
    """Locks the deltas for longer than callfold waits for a lock."""
    async with connected(stage) as connection, connection.transaction():
        await connection.execute("LOCK TABLE daily_call_deltas IN EXCLUSIVE MODE")
        await asyncio.sleep(planned.lasts_seconds)


async def time_statements_out(stage: Stage, planned: Planned) -> None:
    """Sets a statement timeout so short that the database cancels slow statements."""
    async with connected(stage) as connection:
        name = await connection.fetchval("SELECT quote_ident(current_database())")
        await connection.execute(f"ALTER DATABASE {name} SET statement_timeout = '{STATEMENT_TIMEOUT}'")
        await _cut_all(connection)
        await asyncio.sleep(planned.lasts_seconds)
        await connection.execute(f"ALTER DATABASE {name} RESET statement_timeout")
        await _cut_all(connection)


async def take_all_connections(stage: Stage, planned: Planned) -> None:
    """Takes every connection of the server, and terminates callfold's sessions."""
    async with contextlib.AsyncExitStack() as taken:
        await _cut_all(await taken.enter_async_context(connected(stage)))
        with contextlib.suppress(asyncpg.TooManyConnectionsError):
            while True:
                await taken.enter_async_context(connected(stage))
        await asyncio.sleep(planned.lasts_seconds)


async def _cut_all(connection: Connection) -> None:
    await connection.execute(f"SELECT pg_terminate_backend(pid) FROM ({SESSIONS}) AS callfold")  # noqa: S608
