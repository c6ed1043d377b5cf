"""The processes of a contender, each with its descendants: paused, killed, started again, and weighed."""

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from typing import IO

import psutil

from benchmarks.peers.contenders import Command


class Processes:
    """Running processes. The caller kills them at the end."""

    def __init__(self, commands: Sequence[Command], log: IO[bytes]) -> None:
        self.peak_memory_mb = 0.0
        self._log = log
        self._running = [(command, self._started(command)) for command in commands]

    def weigh(self) -> None:
        """Raises the peak to the resident memory of all processes, if it is higher."""
        resident = 0
        for process in self._trees():
            with contextlib.suppress(psutil.NoSuchProcess):
                resident += process.memory_info().rss
        self.peak_memory_mb = max(self.peak_memory_mb, resident / 1024**2)

    @property
    def roots(self) -> Sequence[subprocess.Popen[bytes]]:
        """The processes themselves."""
        return [process for _, process in self._running]

    def have_exited(self) -> bool:
        """Whether any of them has exited by itself."""
        return any(process.poll() is not None for process in self.roots)

    def pause(self) -> None:
        """Stops them as SIGSTOP does."""
        for process in self._trees():
            process.suspend()

    def resume(self) -> None:
        """Continues them."""
        for process in self._trees():
            process.resume()

    def kill(self) -> None:
        """Kills all of them with SIGKILL, and waits until they are gone."""
        _kill(self.roots)

    def kill_and_start_again(self) -> None:
        """The same with those that a kill is for, which then start again."""
        _kill([process for command, process in self._running if command.is_killed])
        self._running = [
            (command, self._started(command) if command.is_killed else process)
            for command, process in self._running
        ]

    def _started(self, command: Command) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command.arguments,
            env=command.environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            cwd=command.folder,
            start_new_session=True,
        )

    def _trees(self) -> Iterator[psutil.Process]:
        for process in self.roots:
            yield from _tree(process)


def _tree(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    try:
        root = psutil.Process(process.pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _kill(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    members = [member for process in processes for member in _tree(process)]
    for member in members:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    for process in processes:
        process.wait()
    psutil.wait_procs(members, timeout=10)
