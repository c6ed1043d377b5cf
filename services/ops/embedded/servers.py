"""PostgreSQL and Kafka as child processes of the caller: for tests and benchmarks, which need no services."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.ops.embedded import kafka, postgres
from services.ops.embedded.state import free_ports

STOP_SECONDS = 30


@dataclass(frozen=True)
class Servers:
    """Two running servers, ready to be used."""

    postgres: subprocess.Popen[bytes]
    postgres_port: int
    kafka: subprocess.Popen[bytes]
    bootstrap: str

    def database_url(self, name: str) -> str:
        """The URL of a database of this server, whether it exists or not."""
        return f"postgresql://postgres@127.0.0.1:{self.postgres_port}/{name}"


@contextmanager
def servers(directory: Path, *, durable: bool) -> Iterator[Servers]:
    """Both servers in an (empty or known) directory, ended with the block; `durable` as PostgreSQL's command
    has it. Raises Failure."""
    ports = free_ports(3)
    postgres.prepare(directory / "postgres")
    kafka.prepare(directory / "kafka", ports[1], ports[2])
    database = _start(
        postgres.command(directory / "postgres", ports[0], durable=durable),
        directory / "postgres.log",
        user=postgres.operating_user(),
    )
    broker = _start(kafka.command(directory / "kafka"), directory / "kafka.log")
    try:
        asyncio.run(postgres.wait_until_ready(ports[0]))
        asyncio.run(kafka.wait_until_ready(f"127.0.0.1:{ports[1]}"))
        yield Servers(database, ports[0], broker, f"127.0.0.1:{ports[1]}")
    finally:
        _end(broker, signal.SIGTERM)
        _end(database, signal.SIGINT)


def _start(command: list[str], log: Path, *, user: str | None = None) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 (a command made by us)
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            start_new_session=True,
            user=user,
            extra_groups=None if user is None else [],
            env={**os.environ},
        )


def _end(process: subprocess.Popen[bytes], gently: signal.Signals) -> None:
    process.send_signal(signal.SIGCONT)
    process.send_signal(gently)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
