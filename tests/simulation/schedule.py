"""Actors that run one step at a time, in an order that the caller chooses.

A step is the work of an actor between two waiting points. Each request to PostgreSQL is such a point
(`SteppedConnection`), and so is each call of `Actor.permit`. Between two steps no actor runs: each waits for
its next permit, or for a lock that another one holds. So the same choices give the same interleaving.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple, TypeVar

import asyncpg

from shared.database.connection import Connection

Answer = TypeVar("Answer")
Body = Callable[["Actor"], Coroutine[Any, Any, None]]

GRACE_SECONDS: Final = 0.005
"""If a step takes longer, as few do, a query finds out whether it waits for a lock. By then PostgreSQL has
also searched for deadlocks: so of two actors that wait for each other, the later one is always the victim."""
DEADLOCK_TIMEOUT: Final = "1ms"
REST_SECONDS: Final = 60


class Role(NamedTuple):
    """The application name of an actor's connection."""

    name: str
    settings: Mapping[str, str]


class Crashed(BaseException):
    """Ends an actor at its present point. No handler of the actor catches it."""


class Actor:
    """One process or client: a coroutine that waits for a permit before each step."""

    def __init__(self, schedule: "Schedule", name: str, body: Body) -> None:
        self.name = name
        self.at = ""
        """Its next step, in words."""
        self.schedule = schedule
        self.connection: SteppedConnection | None = None
        self.arrived = asyncio.Event()
        """Set while it waits for a permit, and when it has ended."""
        self.loses_answer = False
        """Whether its connection breaks after the next request is executed and before its response
        arrives."""
        self._crashed = False
        self._permit: asyncio.Future[None] | None = None
        self._task = asyncio.get_running_loop().create_task(self._live(body))
        self._task.add_done_callback(lambda _task: self.arrived.set())

    @property
    def over(self) -> bool:
        return self._task.done()

    @property
    def ready(self) -> bool:
        """Whether it waits for a permit. Otherwise it has ended, or waits for a lock."""
        return self._permit is not None

    async def permit(self, what: str) -> None:
        """Waits for the permit of the next step, named here. Called by the actor."""
        self._breathe()
        self.at = what
        self._permit = asyncio.get_running_loop().create_future()
        self.arrived.set()
        try:
            await self._permit
        finally:
            self._permit = None

    async def connect(self, role: Role) -> Connection:
        """Its connection; a new one if it has none, or its connection broke. Called by the actor."""
        self._breathe()
        if self.connection is None or self.connection.is_closed():
            self.connection = await self.schedule.open(self, role)
        return self.connection

    def go(self) -> None:
        """Gives the permit."""
        assert self._permit is not None
        self.arrived.clear()
        self._permit.set_result(None)

    def crash(self) -> None:
        """Ends it where it waits for a permit, now or at its next one."""
        self._crashed = True
        if self._permit is not None:
            self.arrived.clear()
            self._permit.set_exception(Crashed())

    async def end(self) -> None:
        """Waits until it has ended."""
        done, _ = await asyncio.wait([self._task], timeout=REST_SECONDS)
        assert done, f"{self.name} does not end, at {self.at}"

    def raise_fault(self) -> None:
        """Raises the exception that the actor did not handle."""
        if self._task.done():
            self._task.result()

    def _breathe(self) -> None:
        if self._crashed:
            raise Crashed

    async def _live(self, body: Body) -> None:
        with suppress(Crashed):
            await body(self)


class SteppedConnection(Connection):
    """A connection of one actor. Each of its requests is a step."""

    actor: Actor
    role: Role
    pid: int

    async def execute(self, query: str, *args: Any, **options: Any) -> Any:
        return await self._step(query, super().execute, query, *args, **options)

    async def executemany(self, command: str, *args: Any, **options: Any) -> Any:
        return await self._step(command, super().executemany, command, *args, **options)

    async def fetch(self, query: str, *args: Any, **options: Any) -> Any:
        return await self._step(query, super().fetch, query, *args, **options)

    async def fetchval(self, query: str, *args: Any, **options: Any) -> Any:
        return await self._step(query, super().fetchval, query, *args, **options)

    async def fetchrow(self, query: str, *args: Any, **options: Any) -> Any:
        return await self._step(query, super().fetchrow, query, *args, **options)

    async def copy_records_to_table(self, table_name: str, **options: Any) -> Any:
        return await self._step(f"COPY {table_name}", super().copy_records_to_table, table_name, **options)

    def cursor(self, query: str, *args: Any, **options: Any) -> Any:
        """Opening the cursor is the step, because this takes its snapshot."""
        return self._step(query, super().cursor, query, *args, **options)

    async def _step(
        self, what: str, request: Callable[..., Awaitable[Answer]], *args: Any, **options: Any
    ) -> Answer:
        await self.actor.permit(" ".join(what.split())[:60])
        answer = await request(*args, **options)
        if not self.is_in_transaction():
            self.actor.schedule.has_committed = True
        if self.actor.loses_answer:
            self.actor.loses_answer = False
            self.terminate()
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
        return answer


class Schedule:
    """The actors of one run, and the connections that outlive it."""

    def __init__(self, database_url: str, observer: Connection) -> None:
        self.has_committed = False
        """Whether data visible to a reader may have changed. The reader resets it."""
        self.steps = 0
        self._database_url = database_url
        self._observer = observer
        self._actors: list[Actor] = []
        self._lent: list[SteppedConnection] = []
        self._idle: list[SteppedConnection] = []

    async def begin(self, name: str, body: Body) -> Actor:
        """Creates an actor and runs it to its first point."""
        actor = Actor(self, name, body)
        self._actors.append(actor)
        await self._settle(actor)
        return actor

    async def step(self, actor: Actor) -> None:
        """Runs one step of a ready actor, and the steps of actors that waited for its locks."""
        self.steps += 1
        actor.go()
        await self._settle(actor)

    async def cut(self, actor: Actor) -> None:
        """Breaks an actor's connection. The actor gets the error at its next request, or at once if it waits
        for a response."""
        if actor.connection is not None:
            if not actor.ready:
                actor.arrived.clear()
            actor.connection.terminate()
            await self._settle(actor)

    async def crash(self, actor: Actor) -> None:
        """Ends an actor as `kill -9` does. PostgreSQL rolls back its open transaction."""
        actor.crash()
        if actor.connection is not None:
            actor.connection.terminate()
        await self._settle(actor)

    async def clear(self, *, at_rest: bool) -> None:
        """Ends all actors. Connections without a running request are kept for the next run."""
        if not at_rest:
            for connection in self._lent:
                connection.terminate()
        for actor in self._actors:
            actor.crash()
            await actor.end()
        await self._bury()
        self._idle += self._lent
        self._lent, self._actors, self.has_committed = [], [], False

    async def open(self, actor: Actor, role: Role) -> SteppedConnection:
        """Returns a connection for an actor."""
        connection = next((one for one in self._idle if one.role == role), None)
        if connection is None:
            connection = await asyncpg.connect(
                self._database_url,
                connection_class=SteppedConnection,
                server_settings={
                    "application_name": role.name,
                    "timezone": "UTC",
                    "deadlock_timeout": DEADLOCK_TIMEOUT,
                    **role.settings,
                },
            )
            connection.role, connection.pid = role, connection.get_server_pid()
        else:
            self._idle.remove(connection)
        connection.actor = actor
        self._lent.append(connection)
        return connection

    async def close(self) -> None:
        """Ends all actors and closes all connections."""
        await self.clear(at_rest=False)
        for connection in self._idle:
            await connection.close()

    async def _settle(self, actor: Actor) -> None:
        """Returns when no actor can run. Raises an exception that an actor does not handle."""
        with suppress(TimeoutError):
            await asyncio.wait_for(actor.arrived.wait(), GRACE_SECONDS)
        await self._bury()
        async with asyncio.timeout(REST_SECONDS):
            while moving := [one for one in self._actors if not one.arrived.is_set()]:
                if await self._all_wait_for_locks(moving):
                    break
                await asyncio.sleep(GRACE_SECONDS / 10)
        await self._bury()
        for one in self._actors:
            one.raise_fault()
        self._actors = [one for one in self._actors if not one.over]
        for connection in [one for one in self._lent if one.actor.over]:
            self._lent.remove(connection)
            self._idle.append(connection)

    async def _all_wait_for_locks(self, moving: Sequence[Actor]) -> bool:
        """Whether each of them waits for a lock of an actor that waits for its permit, directly or through
        other waiting actors. False in a cycle, which PostgreSQL breaks."""
        by_pid = {one.connection.pid: one for one in self._actors if one.connection is not None}
        rows = await self._observer.fetch(_BLOCKERS, list(by_pid))
        blockers: dict[int, list[int]] = {row["pid"]: row["blockers"] for row in rows}

        def stands(pid: int) -> bool:
            return pid in by_pid and by_pid[pid].arrived.is_set()

        def waits(pid: int, above: frozenset[int]) -> bool:
            others = blockers.get(pid, [])
            return bool(others) and all(
                stands(other) or (other not in above and waits(other, above | {other})) for other in others
            )

        return all(
            one.connection is not None and waits(one.connection.pid, frozenset({one.connection.pid}))
            for one in moving
        )

    async def _bury(self) -> None:
        """Waits until PostgreSQL has rolled back the transactions of broken connections."""
        broken = [connection for connection in self._lent if connection.is_closed()]
        if broken:
            pids = [connection.pid for connection in broken]
            async with asyncio.timeout(REST_SECONDS):
                while True:
                    if not await self._observer.fetch(_TERMINATE, pids):
                        break
                    await asyncio.sleep(GRACE_SECONDS / 10)
            self._lent = [connection for connection in self._lent if connection not in broken]


_BLOCKERS: Final = "SELECT pid, pg_blocking_pids(pid) AS blockers FROM unnest($1::int[]) AS pid"

_TERMINATE: Final = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = ANY($1::int[])"
