"""SIPp: callers and callees, started and stopped by a test, with its statistics and its log of messages."""

import csv
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.ops.embedded.state import free_ports

PROGRAM: Final = shutil.which("sipp", path="/usr/bin:/usr/local/bin")
STOP_SECONDS: Final = 10


@dataclass(frozen=True)
class Message:
    """One line of SIPp's log of messages."""

    instant: float
    """Seconds since 1970."""
    is_sent: bool
    cseq: str
    """The number and the method, such as `1 INVITE`."""
    first_line: str

    @property
    def code(self) -> int | None:
        """The code of a response; None for a request."""
        return int(self.first_line.split()[1]) if self.first_line.startswith("SIP/2.0") else None


@dataclass(frozen=True)
class Statistics:
    """The figures of a caller at its end, and the messages of each of its calls by Call-ID."""

    created: int
    successful: int
    failed: int
    calls: dict[str, list[Message]]


class Caller:
    """A SIPp that makes calls by one scenario, and then ends."""

    def __init__(self, directory: Path, scenario: str, proxy_port: int, *, name: str, number: str) -> None:
        self._directory, self.name, self.number = directory, name, number
        self._scenario, self._proxy_port = scenario, proxy_port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, calls: int) -> None:
        """Begins to make this many calls, 20 per second."""
        files = {kind: self._directory / f"{self.name}.{kind}" for kind in ("messages", "statistics")}
        (self._directory / f"{self.name}.xml").write_text(self._scenario)
        port = udp_port()
        self._process = _start(
            [
                f"127.0.0.1:{self._proxy_port}",
                *("-sf", f"{self.name}.xml", "-s", self.number, "-i", "127.0.0.1", "-p", str(port)),
                *("-m", str(calls), "-r", "20", "-timeout", "30s", "-timeout_error"),
                *("-trace_shortmsg", "-shortmessage_file", str(files["messages"])),
                *("-trace_stat", "-stf", str(files["statistics"])),
            ],
            self._directory,
            self.name,
        )

    def errors(self) -> str:
        """SIPp's reports of faults, for the message of a test."""
        files = [self._directory / f"{self.name}.{kind}" for kind in ("errors", "log")]
        return "\n".join(file.read_text(errors="replace")[-2_000:] for file in files if file.exists())

    @property
    def has_ended(self) -> bool:
        """Whether all calls have ended."""
        return self._process is not None and self._process.poll() is not None

    def statistics(self) -> Statistics:
        """What SIPp counted. Call it after the end."""
        text = (self._directory / f"{self.name}.statistics").read_text()
        last = list(csv.DictReader(text.splitlines(), delimiter=";"))[-1]
        calls: dict[str, list[Message]] = {}
        for line in (self._directory / f"{self.name}.messages").read_text().splitlines():
            _, _, instant, way, call_id, cseq, first_line = line.split("\t")
            message = Message(float(instant), way == "S", cseq.removeprefix("CSeq:"), first_line)
            calls.setdefault(call_id, []).append(message)
        return Statistics(
            created=int(last["TotalCallCreated"]),
            successful=int(last["SuccessfulCall(C)"]),
            failed=int(last["FailedCall(C)"]),
            calls=calls,
        )

    def kill(self) -> None:
        """Ends it if it still runs."""
        if self._process is not None:
            stop(self._process)


@contextmanager
def callee(directory: Path, scenario: str, name: str, port: int) -> Iterator[None]:
    """A SIPp that takes calls at this port by one scenario, until the end of the block."""
    (directory / f"{name}.xml").write_text(scenario)
    # A call that is refused may come again with the same Call-ID.
    process = _start(
        ["-sf", f"{name}.xml", "-i", "127.0.0.1", "-p", str(port), "-deadcall_wait", "0"], directory, name
    )
    try:
        yield
    finally:
        stop(process)


_TAKEN: Final[set[int]] = set()


def udp_port() -> int:
    """A free UDP port that no other call has returned. A SIPp that starts slowly has not bound its port."""
    while True:
        (port,) = free_ports(1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in _TAKEN:
            _TAKEN.add(port)
            return port


def _start(arguments: list[str], directory: Path, name: str) -> subprocess.Popen[bytes]:
    with (directory / f"{name}.log").open("ab") as log:
        return subprocess.Popen(
            [str(PROGRAM), "-nostdin", "-trace_err", "-error_file", f"{name}.errors", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=directory,
        )


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a process, gently at first."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_SECONDS)
