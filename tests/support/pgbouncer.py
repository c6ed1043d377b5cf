"""PgBouncer in transaction mode in front of the test's PostgreSQL, if PgBouncer is installed."""

import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from services.ops.embedded.postgres import operating_user
from services.ops.embedded.servers import Server, Servers
from services.ops.embedded.state import free_ports
from shared.database.roles import ROLES
from tests.support.processes import until

PROGRAM = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
needs_pgbouncer = pytest.mark.skipif(PROGRAM is None, reason="PgBouncer is not installed")

INI = """
[databases]
* = host=127.0.0.1 port={postgres_port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = transaction
default_pool_size = {pool_size}
server_login_retry = 1
query_wait_timeout = 3
"""


class PgBouncer(Server):
    """A pooler that can be killed and restarted."""

    port: int

    def url(self, database_url: str) -> str:
        """The URL of the same database through the pooler."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database_url.rpartition('/')[2]}"


@asynccontextmanager
async def pgbouncer(running: Servers, directory: Path, *, pool_size: int) -> AsyncIterator[PgBouncer]:
    """PgBouncer with so few server sessions that clients share them."""
    (port,) = free_ports(1)
    user = operating_user()
    users, ini = directory / "users.txt", directory / "pgbouncer.ini"
    users.write_text("".join(f'"{name}" ""\n' for name in ("postgres", *ROLES)))
    ini.write_text(
        INI.format(postgres_port=running.postgres_port, port=port, users=users, pool_size=pool_size)
    )

    async def answers() -> bool:
        try:
            connection = await asyncpg.connect(f"postgresql://postgres@127.0.0.1:{port}/postgres", timeout=5)
        except (OSError, TimeoutError, asyncpg.PostgresError):
            return False
        await connection.close()
        return True

    async def ready() -> None:
        await until(answers, "PgBouncer to answer")

    pooler = PgBouncer([str(PROGRAM), str(ini)], directory / "pgbouncer.log", user, signal.SIGTERM, ready)
    pooler.port = port
    await pooler.start()
    try:
        yield pooler
    finally:
        pooler.stop()
