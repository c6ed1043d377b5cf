"""The state directory of an embedded stack, and the ports and password that it stores."""

import contextlib
import errno
import fcntl
import json
import os
import secrets
import socket
import time
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from services.ops.terminal.failure import Failure
from services.ops.terminal.program import suggestion
from services.ops.terminal.waiting import attempts

DATABASE = "callfold"
# Below the range from which kernels assign ports to outgoing connections, so that a chosen port stays free.
CHOOSABLE_PORTS = range(20_000, 32_000)


@dataclass(frozen=True)
class Ports:
    postgres: int
    kafka: int
    controller: int
    api: int
    supervisor: int
    # None in a stack that was created before services had monitors, until its next start.
    ingest_monitor: int | None = None
    aggregator_monitor: int | None = None
    api_monitor: int | None = None
    # None in a stack that was created before it had a receiver, until its next start.
    receiver: int | None = None
    receiver_monitor: int | None = None
    # None in a stack that was created before it had a publisher, until its next start.
    publisher_monitor: int | None = None
    # None in a stack that was created before it sent webhooks, until its next start.
    webhooks_monitor: int | None = None

    @property
    def monitors(self) -> dict[str, int | None]:
        """The port of each service's metrics and health checks."""
        return {
            "receiver": self.receiver_monitor,
            "ingest": self.ingest_monitor,
            "aggregator": self.aggregator_monitor,
            "publisher": self.publisher_monitor,
            "webhooks": self.webhooks_monitor,
            "api": self.api_monitor,
        }

    @property
    def taken(self) -> list[int]:
        return [port for port in asdict(self).values() if port is not None]


WEBHOOK_NETWORKS = "127.0.0.0/8"
"""Networks that a stack may send webhooks to beside public addresses, unless the environment names others."""

CHOSEN = (
    "controller",
    "supervisor",
    "receiver_monitor",
    "ingest_monitor",
    "aggregator_monitor",
    "publisher_monitor",
    "webhooks_monitor",
    "api_monitor",
)
"""The ports that an operator does not choose. A port moves when another process uses it."""


@dataclass(frozen=True)
class State:
    """An embedded stack: its directory (absolute), its ports on 127.0.0.1, its supervisor's password and the
    token of its admin API."""

    directory: Path
    ports: Ports
    password: str
    # None in a stack that was created before it had an admin API, until its next start.
    admin_token: str | None = None

    @property
    def database_url(self) -> str:
        """The URL for commands, which connect as the owner of the tables."""
        return self._database_url("postgres")

    def database_url_of(self, service: str) -> str:
        """The URL for a service, which connects as its own role (shared/database/roles.py)."""
        return self._database_url(f"callfold_{service}")

    def _database_url(self, user: str) -> str:
        return f"postgresql://{user}@127.0.0.1:{self.ports.postgres}/{DATABASE}"

    @property
    def kafka(self) -> str:
        return f"127.0.0.1:{self.ports.kafka}"

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.api}"

    @property
    def receiver_url(self) -> str | None:
        """The address of the receiver; None while it has no port."""
        return None if self.ports.receiver is None else f"http://127.0.0.1:{self.ports.receiver}"

    @property
    def console_url(self) -> str | None:
        """The address of the operators' console, which has the token of the admin API; None while there is no
        token."""
        if self.admin_token is None or self.ports.api_monitor is None:
            return None
        return f"http://127.0.0.1:{self.ports.api_monitor}/console/#token={self.admin_token}"

    @property
    def metrics(self) -> dict[str, str | None]:
        """The URL of each service's metrics; None while it has no port for them."""
        return {
            service: None if port is None else f"http://127.0.0.1:{port}/metrics"
            for service, port in self.ports.monitors.items()
        }

    @property
    def postgres_directory(self) -> Path:
        return self.directory / "postgres"

    @property
    def kafka_directory(self) -> Path:
        return self.directory / "kafka"

    def log(self, process: str) -> Path:
        return self.directory / "logs" / f"{process}.log"


def environment(state: State) -> dict[str, str]:
    """The variables that point callfold's services and commands at this stack."""
    return {
        "CALLFOLD_DATABASE_URL": state.database_url,
        "CALLFOLD_KAFKA_BOOTSTRAP": state.kafka,
        "CALLFOLD_API_HOST": "127.0.0.1",
        "CALLFOLD_API_PORT": str(state.ports.api),
        "CALLFOLD_RECEIVER_HOST": "127.0.0.1",
        "CALLFOLD_RECEIVER_PORT": str(state.ports.receiver),
        "CALLFOLD_MONITOR_HOST": "127.0.0.1",
        "CALLFOLD_STATE": str(state.directory),
    }


def load(directory: Path) -> State:
    """The stack that `stack.json` in `directory` describes. Raises Failure when there is none."""
    file = directory.resolve() / "stack.json"
    try:
        remembered = json.loads(file.read_text())
        return State(
            file.parent,
            Ports(**remembered["ports"]),
            remembered["password"],
            remembered.get("admin_token"),
        )
    except NotADirectoryError:
        raise Failure(f"The state directory {directory} is a file, or below one: choose another.") from None
    except FileNotFoundError:
        raise Failure(
            f"There is no stack in {directory}: {suggestion('up', state=directory)} creates one."
        ) from None
    except OSError as error:
        raise Failure(f"{file} can't be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError):
        raise Failure(
            f"{file} is damaged. Remove it, and then {suggestion('up', state=directory)} chooses new ports "
            "for the same data."
        ) from None


def is_remembered(directory: Path) -> bool:
    """Whether a stack was ever created in this directory."""
    return (directory / "stack.json").exists()


def plan(
    directory: Path,
    *,
    postgres: int | None = None,
    kafka: int | None = None,
    api: int | None = None,
    receiver: int | None = None,
) -> State:
    """The stack that was saved in `directory`, or a new one. Ports that are given replace its own.

    Writes nothing. Raises Failure when two parts would share a port.
    """
    asked = {"postgres": postgres, "kafka": kafka, "api": api, "receiver": receiver}
    changes = {name: port for name, port in asked.items() if port is not None}
    if is_remembered(directory):
        state = load(directory)
        state = replace(state, ports=replace(state.ports, **changes))
    else:
        names = [field.name for field in fields(Ports)]
        chosen = dict(zip(names, free_ports(len(names), changes.values()), strict=True))
        ports = Ports(**(chosen | changes))
        state = with_admin_token(State(directory.resolve(), ports, secrets.token_hex(16)))
    if len(set(state.ports.taken)) < len(state.ports.taken):
        raise Failure("Two parts of the stack can't share a port: choose different ones.")
    return state


def save(state: State) -> None:
    """Saves the stack in a file that only its owner can read."""
    remembered = {
        "ports": asdict(state.ports),
        "password": state.password,
        "admin_token": state.admin_token,
    }
    text = json.dumps(remembered, indent=2)
    write_private(state.directory / "stack.json", text + "\n")


def with_free_ports(state: State) -> State:
    """The state with a new port for each of `CHOSEN` that is in use, and for each port that is not set."""
    ports = asdict(state.ports)
    wanting = [name for name, port in ports.items() if port is None or (name in CHOSEN and in_use(port))]
    free = dict(zip(wanting, free_ports(len(wanting), state.ports.taken), strict=True))
    return replace(state, ports=replace(state.ports, **free))


def with_admin_token(state: State) -> State:
    """The state with a token of the admin API."""
    return replace(state, admin_token=state.admin_token or secrets.token_urlsafe(32))


def write_private(file: Path, text: str) -> None:
    """Replaces a file atomically: a crash leaves the old or the new one. Only its owner can read it."""
    new = file.with_name(f"{file.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(file)


def free_ports(count: int, taken: Collection[int] = ()) -> list[int]:
    """Free ports of 127.0.0.1, without those taken. They are chosen at random, so that two stacks seldom
    choose the same. Raises Failure when there are not enough."""
    free: list[int] = []
    for port in secrets.SystemRandom().sample(CHOOSABLE_PORTS, len(CHOOSABLE_PORTS)):
        if len(free) == count:
            return free
        if port not in taken and not in_use(port):
            free.append(port)
    raise Failure("No free port was found: all ports in callfold's range are in use.")


def in_use(port: int) -> bool:
    """Whether another process uses this port of 127.0.0.1. Raises Failure when the port can't be used at
    all."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
            raise Failure(f"Port {port} can't be used: {error.strerror}.") from None
    return False


@contextlib.contextmanager
def locked(directory: Path, wait_seconds: float = 0) -> Iterator[None]:
    """Creates the directory and holds its lock, which the kernel releases when this process exits.

    Raises Failure when another command still holds it after `wait_seconds`, or when the directory can't be
    written.
    """
    try:
        if "\n" in str(directory):
            raise Failure("The state directory's path must not contain a line break.")
        directory.mkdir(parents=True, exist_ok=True)
        handle = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except (FileExistsError, NotADirectoryError):
        raise Failure(f"The state directory {directory} is a file, or below one: choose another.") from None
    except OSError as error:
        raise Failure(f"The state directory {directory} can't be written: {error.strerror}.") from None
    try:
        _hold(handle, directory, wait_seconds)
        yield
    finally:
        os.close(handle)


def _hold(handle: int, directory: Path, wait_seconds: float) -> None:
    for pause in attempts(wait_seconds):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(pause)
        else:
            return
    raise Failure(f"Another command is starting or stopping the stack in {directory}: wait for it.")
