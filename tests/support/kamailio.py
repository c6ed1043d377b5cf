"""Kamailio with the configuration that the documentation recommends, if Kamailio and SIPp are installed."""

import asyncio
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.support import sipp
from tests.support.processes import until
from tests.support.repository import ROOT

PROGRAM: Final = shutil.which("kamailio", path="/usr/sbin:/usr/local/sbin")
CONFIGURATION: Final = ROOT / "deploy" / "kamailio" / "kamailio.cfg"
MODULES: Final = ("jansson", "uuid", "http_client")
"""The modules that Debian keeps in packages of their own."""

ASKS: Final = (
    "OPTIONS sip:127.0.0.1:{port} SIP/2.0\r\n"
    "Via: SIP/2.0/UDP 127.0.0.1:{own_port};branch=z9hG4bK{own_port}\r\n"
    "From: <sip:test@127.0.0.1>;tag=1\r\n"
    "To: <sip:127.0.0.1>\r\n"
    "Call-ID: ready-{own_port}\r\n"
    "CSeq: 1 OPTIONS\r\n"
    "Max-Forwards: 70\r\n"
    "Content-Length: 0\r\n\r\n"
)


def missing() -> list[str]:
    """The programs and modules that the test needs and this machine lacks."""
    modules = [name for name in MODULES if not any(Path("/usr").glob(f"lib*/**/kamailio/modules/{name}.so"))]
    programs = {"kamailio": PROGRAM, "sipp": sipp.PROGRAM}
    return [name for name, path in programs.items() if path is None] + (modules if PROGRAM else [])


needs_kamailio = pytest.mark.skipif(bool(missing()), reason=f"not installed: {', '.join(missing())}")


@dataclass(frozen=True)
class Kamailio:
    """A proxy that runs."""

    log: Path

    def said(self, text: str) -> bool:
        """Whether the log contains this text."""
        return text in self.log.read_text(errors="replace")


@asynccontextmanager
async def kamailio(directory: Path, port: int, **values: str) -> AsyncIterator[Kamailio]:
    """Kamailio at this port, with these values of its configuration. A value is a number, or text in
    quotation marks."""
    given = {"LISTEN": f"udp:127.0.0.1:{port}", **values}
    command = [
        *(str(PROGRAM), "-f", str(CONFIGURATION), "-DD", "-E", "-m", "64", "-Y", str(directory)),
        *(word for name, value in given.items() for word in ("-A", f"{name}={value}")),
    ]

    log = directory / "kamailio.log"
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        await until(lambda: _answers(port), "Kamailio to answer")
        yield Kamailio(log)
    finally:
        sipp.stop(process)


async def _answers(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.setblocking(False)
        asking.connect(("127.0.0.1", port))
        own_port = asking.getsockname()[1]
        try:
            asking.send(ASKS.format(port=port, own_port=own_port).encode())
            answer = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(asking, 4096), 0.5)
        except (OSError, TimeoutError):
            return False
    return answer.startswith(b"SIP/2.0 200 ")
