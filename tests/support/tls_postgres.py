"""A PostgreSQL that accepts only TLS. It needs Debian's package, because the embedded PostgreSQL has no
TLS."""

import asyncio
import pwd
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import asyncpg
import pytest
import trustme

from services.ops.embedded.postgres import operating_user
from services.ops.embedded.servers import Server
from services.ops.embedded.state import free_ports
from tests.support.processes import until

_INSTALLED = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda at: int(at.parts[-3]))
needs_postgres_with_tls = pytest.mark.skipif(
    not _INSTALLED, reason="no PostgreSQL with TLS is installed in /usr/lib/postgresql"
)

ACCESS = """
local   all all           trust
hostssl all certified all cert
hostssl all all       all trust
"""


@dataclass(frozen=True)
class TlsPostgres:
    """The server, and the files of its clients."""

    port: int
    directory: Path
    """Also the directory of its socket."""

    def file(self, name: str) -> Path:
        """One of the PEM files."""
        return self.directory / f"{name}.pem"

    def url(
        self, *, host: str = "localhost", user: str = "postgres", database: str = "callfold", **said: object
    ) -> str:
        """A URL with these parameters: `sslmode` and its like."""
        query = urlencode({name: str(value) for name, value in said.items()})
        return f"postgresql://{user}@{host}:{self.port}/{database}?{query}"


@asynccontextmanager
async def tls_postgres(directory: Path) -> AsyncIterator[TlsPostgres]:
    """Runs the server. Its certificate is only for `localhost`, issued by the authority in `authority.pem`.
    The user `certified` needs a certificate of that authority, such as `certified.pem`. The authority in
    `other.pem` issued `stranger.pem`."""
    user = operating_user()
    directory.chmod(0o777)
    authority, other = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(directory / "authority.pem")
    other.cert_pem.write_to_path(directory / "other.pem")
    for name, issued in (
        ("server", authority.issue_cert("localhost")),
        ("certified", authority.issue_cert(common_name="certified")),
        ("stranger", other.issue_cert(common_name="certified")),
    ):
        issued.private_key_and_cert_chain_pem.write_to_path(directory / f"{name}.pem")
    (directory / "server.pem").chmod(0o600)
    data = directory / "data"
    await asyncio.to_thread(_initdb, data, user)
    (data / "pg_hba.conf").write_text(ACCESS)
    if user is not None:
        shutil.chown(directory / "server.pem", user)
    (port,) = free_ports(1)
    settings = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": directory,
        "fsync": "off",
        "ssl": "on",
        "ssl_ca_file": directory / "authority.pem",
        "ssl_cert_file": directory / "server.pem",
        "ssl_key_file": directory / "server.pem",
    }
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    at = TlsPostgres(port, directory)

    async def answers() -> bool:
        try:
            connection = await asyncpg.connect(at.url(database="postgres", sslmode="require"), timeout=5)
        except (OSError, asyncpg.PostgresError):
            return False
        await connection.execute("CREATE ROLE certified LOGIN")
        await connection.execute("CREATE DATABASE callfold")
        await connection.close()
        return True

    command = [str(_program("postgres")), "-D", str(data), "-p", str(port), *options]
    log = directory / "postgres.log"
    server = Server(command, log, user, signal.SIGINT, lambda: until(answers, "PostgreSQL to answer"))
    await server.start()
    try:
        yield at
    finally:
        server.stop()


def _program(name: str) -> Path:
    return _INSTALLED[-1].with_name(name)


def _initdb(data: Path, user: str | None) -> None:
    subprocess.run(
        [_program("initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"],
        user=user,
        group=user and pwd.getpwnam(user).pw_gid,
        extra_groups=None if user is None else [],
        cwd="/",
        check=True,
        capture_output=True,
    )
