"""The processes of a stack, found by their command lines and environments, even when the supervisor is
dead."""

import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from services.ops.embedded.state import State
from services.ops.terminal.failure import Failure
from services.ops.terminal.waiting import attempts

SUPERVISOR = "supervisor"
END_SECONDS = 30
KILL_SECONDS = 10


@dataclass(frozen=True)
class Owned:
    name: str
    process: psutil.Process


def owned(state: State) -> list[Owned]:
    """Every live process of this stack, and of no other stack."""
    found = []
    for process in psutil.process_iter():
        try:
            name = _name(process, state)
        except psutil.Error:  # It exited meanwhile, is a zombie, or belongs to another user.
            continue
        if name is not None:
            found.append(Owned(name, process))
    return found


def supervisor(state: State) -> psutil.Process | None:
    return next((each.process for each in owned(state) if each.name == SUPERVISOR), None)


def is_gone(process: psutil.Process) -> bool:
    """Whether it exited. A zombie (in a container without an init process) also counts as exited."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until_gone(processes: Iterable[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Waits for at most `seconds`. Returns the processes that still run."""
    left = list(processes)
    for pause in attempts(seconds):
        left = [process for process in left if not is_gone(process)]
        if not left:
            break
        time.sleep(pause)
    return left


def end(targets: list[Owned]) -> None:
    """Asks each to exit, kills those that do not, and returns when all have exited. Raises Failure
    otherwise."""
    families = {each.process for each in targets}
    # The supervisor first, so that it does not restart the others.
    for each in sorted(targets, key=lambda target: target.name != SUPERVISOR):
        try:
            families.update(each.process.children(recursive=True))
            each.process.send_signal(signal.SIGINT if each.name == "postgres" else signal.SIGTERM)
        except psutil.NoSuchProcess:
            continue
    left = wait_until_gone(families, END_SECONDS)
    for process in left:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    left = wait_until_gone(left, KILL_SECONDS)
    if left:
        raise Failure(f"These processes can't be stopped: {', '.join(str(process.pid) for process in left)}.")


def _name(process: psutil.Process, state: State) -> str | None:
    """The name of the stack's program that this process runs; None for any other process."""
    line = process.cmdline()
    if not line:
        return None
    program = Path(line[0]).name
    if program in ("postgres", "initdb"):
        directory = state.postgres_directory
        return "postgres" if {str(directory), f"{directory}.new"} & set(line) else None
    if program == "java":
        return "kafka" if str(state.kafka_directory / "server.properties") in line else None
    if "supervisor.supervisord" in line:
        return SUPERVISOR if str(state.directory / "supervisord.conf") in line else None
    variables = process.environ()
    if variables.get("CALLFOLD_STATE") != str(state.directory):
        return None
    # Only the supervisor sets this variable. A shell or command that uses this stack lacks it.
    return variables.get("SUPERVISOR_PROCESS_NAME")
