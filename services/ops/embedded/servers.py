"""PostgreSQL and Kafka as child processes of the caller, for tests and benchmarks that need no services."""

import asyncio
import signal
import subprocess
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

from services.ops.embedded import kafka, postgres
from services.ops.embedded.state import free_ports

STOP_SECONDS = 30


@dataclass
class Server:
    """A server that can be killed, paused and restarted, always at the same address."""

    command: list[str]
    log: Path
    user: str | None
    gentle_stop: signal.Signals
    wait_until_ready: Callable[[], Coroutine[None, None, None]]
    process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Starts it and returns when it is ready. Raises Failure when it does not become ready."""
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(  # noqa: S603, ASYNC220 (our own command; it returns quickly)
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                start_new_session=True,
                user=self.user,
                extra_groups=None if self.user is None else [],
            )
        await self.wait_until_ready()

    def send(self, number: signal.Signals) -> None:
        """Sends its main process a signal."""
        if self.process is not None:
            self.process.send_signal(number)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Sends this signal, and waits until the server exits."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(STOP_SECONDS)

    def stop(self) -> None:
        """Stops it gently, and kills it when that takes too long."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGCONT)
        try:
            self.kill(self.gentle_stop)
        except subprocess.TimeoutExpired:
            self.kill()


@dataclass(frozen=True)
class Servers:
    """Both servers and their addresses."""

    postgres: Server
    kafka: Server
    postgres_port: int
    bootstrap: str

    def database_url(self, name: str) -> str:
        """The URL of a database of this server, whether it exists or not."""
        return f"postgresql://postgres@127.0.0.1:{self.postgres_port}/{name}"


@contextmanager
def servers(
    directory: Path, *, durable: bool, kafka_properties: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Servers]:
    """Runs both servers in a directory, new or used before, and stops them at the end of the block. `durable`
    is that of PostgreSQL's command. The properties override those of the embedded broker. Raises Failure."""
    postgres_port, kafka_port, controller_port = free_ports(3)
    both = Servers(
        postgres_server(directory / "postgres", postgres_port, durable=durable),
        kafka_server(directory / "kafka", kafka_port, controller_port, kafka_properties),
        postgres_port,
        f"127.0.0.1:{kafka_port}",
    )
    with ExitStack() as stack:
        stack.callback(both.postgres.stop)
        stack.callback(both.kafka.stop)
        asyncio.run(_start(both))
        yield both


def postgres_server(directory: Path, port: int, *, durable: bool) -> Server:
    """PostgreSQL in a directory, prepared but not started. Raises Failure."""
    postgres.prepare(directory)
    return Server(
        postgres.command(directory, port, durable=durable),
        directory.with_suffix(".log"),
        postgres.operating_user(),
        signal.SIGINT,
        partial(postgres.wait_until_ready, port),
    )


def kafka_server(
    directory: Path,
    port: int,
    controller_port: int,
    properties: Mapping[str, str] = MappingProxyType({}),
) -> Server:
    """A broker in a directory, prepared but not started. The properties override those of the embedded
    broker. Raises Failure."""
    kafka.prepare(directory, port, controller_port)
    with (directory / "server.properties").open("a") as file:
        file.writelines(f"{name}={value}\n" for name, value in properties.items())
    return Server(
        kafka.command(directory),
        directory.with_suffix(".log"),
        None,
        signal.SIGTERM,
        partial(kafka.wait_until_ready, f"127.0.0.1:{port}"),
    )


async def _start(both: Servers) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(both.postgres.start())
        group.create_task(both.kafka.start())
