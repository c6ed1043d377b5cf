"""PostgreSQL and Kafka from their official images, for the same tests: `./check --containers`."""

import asyncio
import functools
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from services.ops.embedded import kafka, postgres
from services.ops.embedded.servers import STOP_SECONDS, Server, Servers
from services.ops.embedded.state import free_ports

POSTGRES_IMAGE = "postgres:18"
KAFKA_IMAGE = "apache/kafka:4.3.1"


@functools.cache
def missing_engine() -> str | None:
    """The reason why no container can be started here; None if containers work."""
    try:
        done = subprocess.run(["docker", "version"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"no Docker engine: {error}"
    return None if done.returncode == 0 else f"no Docker engine: {done.stderr.strip()}"


@dataclass(kw_only=True)
class ContainerServer(Server):
    """A server whose process is a container's first; `command` goes to the image, and the container stays
    until `remove`."""

    image: str
    port: int
    port_inside: int
    environment: Mapping[str, str]
    data: Mapping[Path, str] = field(default_factory=dict)
    """Directories of this machine, by their paths in the container."""
    container: DockerContainer | None = None

    async def start(self) -> None:
        if self.container is None:
            self.container = DockerContainer(
                self.image,
                env=dict(self.environment),
                command=self.command or None,  # type: ignore[arg-type]  # a list is taken, too
                volumes=[(str(here), there, "rw") for here, there in self.data.items()],
            )
            # On loopback, and on the same port also after a kill.
            self.container.ports[str(self.port_inside)] = ("127.0.0.1", self.port)  # type: ignore[assignment]
            await asyncio.to_thread(self.container.start)
        else:
            await asyncio.to_thread(self._started().start)
        await self.wait_until_ready()

    def send(self, number: signal.Signals) -> None:
        self._started().kill(number)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        self.send(number)
        self._started().wait(timeout=STOP_SECONDS)

    def stop(self) -> None:
        self._started().stop(timeout=STOP_SECONDS)

    def remove(self) -> None:
        """Removes the container. Its output is in `log` from then on."""
        if self.container is not None:
            self.log.write_bytes(self._started().logs())
            self.container.stop()

    def _started(self) -> Any:
        """The container as an object of the engine's library."""
        assert self.container is not None
        return self.container.get_wrapped_container()


@contextmanager
def servers_in_containers(directory: Path) -> Iterator[Servers]:
    """Runs both servers, as `servers` does, without durability. Data and logs are in an empty directory."""
    # testcontainers' own cleanup container would need one more image. Our containers are removed with the
    # block.
    testcontainers_config.ryuk_disabled = True
    postgres_port, kafka_port = free_ports(2)
    bootstrap = f"127.0.0.1:{kafka_port}"
    broker_data = directory / "kafka" / "data"
    broker_data.mkdir(parents=True)
    broker_data.chmod(0o777)  # the image has a user of its own
    both = Servers(
        ContainerServer(
            ["postgres", *(f"-c{name}={value}" for name, value in _POSTGRES_SETTINGS.items())],
            directory / "postgres.log",
            None,
            signal.SIGINT,
            lambda: postgres.wait_until_ready(postgres_port),
            image=POSTGRES_IMAGE,
            port=postgres_port,
            port_inside=5432,
            environment={"POSTGRES_HOST_AUTH_METHOD": "trust", "POSTGRES_INITDB_ARGS": _INITDB_ARGUMENTS},
        ),
        ContainerServer(
            [],
            directory / "kafka.log",
            None,
            signal.SIGTERM,
            lambda: kafka.wait_until_ready(bootstrap),
            image=KAFKA_IMAGE,
            port=kafka_port,
            port_inside=9092,
            environment=_kafka_environment(bootstrap),
            data={broker_data: "/var/lib/kafka/data"},
        ),
        postgres_port,
        bootstrap,
    )
    with ExitStack() as stack:
        for server in (both.postgres, both.kafka):
            assert isinstance(server, ContainerServer)
            stack.callback(server.remove)
        asyncio.run(_start(both))
        yield both


async def _start(both: Servers) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(both.postgres.start())
        group.create_task(both.kafka.start())


# The image sets the listen address.
_POSTGRES_SETTINGS = {
    name: value
    for name, value in (postgres.SETTINGS | postgres.NOT_DURABLE).items()
    if name not in ("listen_addresses", "unix_socket_directories")
}
_INITDB_ARGUMENTS = "--encoding=UTF8 --locale=C --locale-provider=builtin --builtin-locale=C.UTF-8"


def _kafka_environment(bootstrap: str) -> dict[str, str]:
    """The embedded broker's properties as environment variables of the image, without directories and
    addresses."""
    text = kafka.PROPERTIES.format(port=9092, controller_port=9093, data="/var/lib/kafka/data")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    properties = dict(line.split("=", 1) for line in lines) | {
        "listeners": "PLAINTEXT://:9092,CONTROLLER://:9093",
        "advertised.listeners": f"PLAINTEXT://{bootstrap}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    }
    return {f"KAFKA_{name.upper().replace('.', '_')}": value for name, value in properties.items()}
