"""A streaming replica of the test's PostgreSQL, whose replay can be paused, and which can be killed and
restarted."""

import asyncio
import pwd
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from services.ops.embedded import postgres
from services.ops.embedded.servers import Server, Servers
from services.ops.embedded.state import free_ports
from shared.database.connection import Connection
from tests.support.processes import until

CONFLICT_MS = 100
"""How long a query on the replica may delay replay."""


class Replica(Server):
    """The replica's server."""

    port: int

    def url(self, database_url: str) -> str:
        """The URL of the same database on the replica."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database_url.rpartition('/')[2]}"

    @asynccontextmanager
    async def held_back(self) -> AsyncIterator[None]:
        """Pauses replay within the block."""
        server = await asyncpg.connect(self.url("/postgres"))
        await server.execute("SELECT pg_wal_replay_pause()")
        paused = "SELECT pg_get_wal_replay_pause_state() = 'paused'"
        await until(lambda: server.fetchval(paused), "the replica to pause")
        try:
            yield
        finally:
            await server.execute("SELECT pg_wal_replay_resume()")
            await server.close()

    async def catch_up(self, primary: Connection) -> None:
        """Returns when the replica shows everything committed by now."""
        end = await primary.fetchval("SELECT pg_current_wal_flush_lsn()::text")
        server = await asyncpg.connect(self.url("/postgres"))
        replayed = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn"
        await until(lambda: server.fetchval(replayed, end), "the replica to catch up")
        await server.close()


@asynccontextmanager
async def replica_of(running: Servers, directory: Path) -> AsyncIterator[Replica]:
    """Creates a replica from the server's present state, in this directory."""
    user = postgres.operating_user()
    data = directory / "replica"
    data.mkdir(mode=0o700)
    if user is not None:
        shutil.chown(data, user)
    await asyncio.to_thread(_copy, running.postgres_port, data, user)
    (port,) = free_ports(1)
    command = postgres.command(data, port, durable=False)
    command += ["-c", f"max_standby_streaming_delay={CONFLICT_MS}ms"]
    replica = Replica(
        command,
        directory / "replica.log",
        user,
        signal.SIGINT,
        lambda: postgres.wait_until_ready(port),
    )
    replica.port = port
    await replica.start()
    try:
        yield replica
    finally:
        replica.stop()


def _copy(primary_port: int, data: Path, user: str | None) -> None:
    program = Path(postgres.command(data, 0)[0]).with_name("pg_basebackup")
    primary = f"host=127.0.0.1 port={primary_port} user=postgres"
    subprocess.run(
        [program, "-D", data, "-d", primary, "--write-recovery-conf", "--checkpoint=fast", "--no-sync"],
        user=user,
        group=user and pwd.getpwnam(user).pw_gid,
        extra_groups=None if user is None else [],
        cwd="/",
        check=True,
        capture_output=True,
    )
