"""`callfold up`: the whole pipeline on this machine."""

import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from services.ops.embedded.state import State
from services.ops.terminal.failure import Failure
from services.ops.terminal.printing import console, table
from services.ops.terminal.program import DEFAULT_STATE, suggestion
from shared.calls.zones import RULES_VERSION
from shared.extras import needs_extra

PORT = {"min": 1, "max": 65535, "metavar": "PORT", "show_default": "a free port, then the same"}

DirectoryOption = Annotated[
    Path,
    typer.Option("--state", metavar="DIRECTORY", help="The directory for the stack's data, ports and logs."),
]
PostgresPort = Annotated[int | None, typer.Option(help="The port of PostgreSQL.", **PORT)]
KafkaPort = Annotated[int | None, typer.Option(help="The port of Kafka.", **PORT)]
ApiPort = Annotated[int | None, typer.Option(help="The port of the HTTP API.", **PORT)]
ReceiverPort = Annotated[
    int | None, typer.Option(help="The port of the receiver, which systems call.", **PORT)
]


def up(
    state: DirectoryOption = DEFAULT_STATE,
    detach: Annotated[
        bool, typer.Option("--detach", help="Return when the stack is ready, and leave it running.")
    ] = False,
    api_port: ApiPort = None,
    kafka_port: KafkaPort = None,
    postgres_port: PostgresPort = None,
    receiver_port: ReceiverPort = None,
) -> None:
    """Start PostgreSQL, Kafka and callfold's services on this machine.

    The first start creates the state directory and downloads Kafka. Later starts use the same data, ports
    and logs, even after a crash. A process that dies is restarted. Ctrl-C stops the stack; with --detach,
    `callfold down` stops it. If the stack already runs, this command attaches to it.

    Every process listens on 127.0.0.1 only. PostgreSQL and Kafka require no password: use the stack for
    development and evaluation.

    Exit status: 0 when the stack was started, and stopped by Ctrl-C; 1 when it cannot run or stops by itself.
    """
    with needs_extra("embedded", "This command", Failure):
        from services.ops.embedded import stack
    _on_end_signals(_interrupt)
    started: State | None = None
    try:
        started = stack.start(
            state.resolve(),
            postgres_port=postgres_port,
            kafka_port=kafka_port,
            api_port=api_port,
            receiver_port=receiver_port,
        )
        processes = [(each.name, each.pid, each.state) for each in stack.statuses(started)]
        _show(started, processes, detach)
        if detach:
            return
        stack.wait_until_gone(started)
    except KeyboardInterrupt:
        _on_end_signals(signal.SIG_IGN)
        if detach:
            raise Failure("Interrupted before the stack was ready.") from None
        if started is not None:
            stack.stop(started)
        typer.echo("Stopped.")
        return
    stack.stop(started)
    raise Failure(f"The supervisor was killed or stopped: see {started.log('supervisor')}.")


def _on_end_signals(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    """Handles every signal that ends a command in the foreground in one way. This also holds for a script's
    background job, where the shell ignores SIGINT."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def print_stack(state: State, processes: Sequence[tuple[str, int | None, str]]) -> None:
    """Prints the addresses of a stack, the states of its processes, the release of the time-zone rules, and
    the address of the operators' console with its token."""
    addresses = [("API", state.api_url), ("console", f"{state.api_url}/console/")]
    if state.receiver_url is not None:
        addresses.append(("receiver", state.receiver_url))
    addresses += [("Kafka", state.kafka), ("PostgreSQL", state.database_url)]
    addresses += [(f"metrics of {name}", url) for name, url in state.metrics.items() if url is not None]
    to = console()
    to.print(table(["", "address"], addresses))
    to.print()
    to.print(table(["process", "pid", "state"], processes))
    to.print()
    if state.console_url is not None:
        to.print(f"Operators' console: {state.console_url}", markup=False, soft_wrap=True)
    to.print(f"Time-zone rules: {RULES_VERSION}")


def _show(state: State, processes: list[tuple[str, int | None, str]], detached: bool) -> None:
    print_stack(state, processes)
    typer.echo(f"\nLogs are in {state.log('api').parent}.")
    typer.echo(f"{suggestion('down', state=state.directory)} stops it." if detached else "Ctrl-C stops it.")
